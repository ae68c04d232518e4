//! Our own programs, built by cargo when a suite asks for them: in the profile that the suite was built in, and the agent
//! also as it ships.
//!
//! Never here: programs of somebody else's (`program`).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A program of this workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ours {
    /// `tidelock`
    Agent,
    /// `tidelock`, small and fast, as devices get it.
    AgentAsShipped,
    /// `tidelock`, with a clock that is read from a file.
    AgentWithTestClock,
    /// `tidelock`, which writes down its durable effects.
    AgentWithTrace,
    /// `tidelock-server`; another file of it where `TIDELOCK_TEST_SERVER` names one.
    Server,
    /// `cargo demo`
    Demo,
    /// The app of the demo.
    DemoWeb,
}

impl From<Ours> for PathBuf {
    fn from(program: Ours) -> Self {
        program.path()
    }
}

impl Ours {
    /// Where it is, built from the sources as they were when it was first asked for in this process.
    ///
    /// # Panics
    /// When it does not compile; with what the compiler says.
    pub fn path(self) -> PathBuf {
        static BUILT: Mutex<BTreeMap<Ours, PathBuf>> = Mutex::new(BTreeMap::new());
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        built.entry(self).or_insert_with(|| self.build()).clone()
    }

    fn build(self) -> PathBuf {
        if let (Self::Server, Some(given)) = (self, std::env::var_os("TIDELOCK_TEST_SERVER")) {
            return given.into();
        }
        let (package, name, feature) = match self {
            Self::Agent | Self::AgentAsShipped => ("tidelock", "tidelock", None),
            Self::AgentWithTestClock => ("tidelock", "tidelock", Some("test-clock")),
            Self::AgentWithTrace => ("tidelock", "tidelock", Some("trace")),
            Self::Server => ("tidelock-server", "tidelock-server", None),
            Self::Demo => ("tidelock-tests", "demo", None),
            Self::DemoWeb => ("tidelock-tests", "demo-web", None),
        };
        let directory = match self {
            Self::AgentAsShipped => directory().with_file_name("agent"),
            _ => directory(),
        };
        std::fs::create_dir_all(&directory).unwrap();
        let kept = directory.join(format!("suite-{name}-{}", feature.unwrap_or("plain")));
        // Builds of one program with other features take the same name in turn: one at a time, each copied away.
        let lock = File::create(directory.join("suite-programs.lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        build(&directory, package, name, feature);
        let built = directory.join(name);
        if !same(&built, &kept) {
            // A new file under the old name: the old one may be running.
            let new = kept.with_extension("new");
            std::fs::copy(&built, &new).unwrap();
            std::fs::rename(&new, &kept).unwrap();
        }
        kept
    }
}

/// Where the suites keep what outlives them: disks and kernels of machines, their logs.
pub fn kept() -> PathBuf {
    directory().parent().unwrap().join("tests-run")
}

/// The directory that cargo puts programs of this profile in: where this very program lies.
pub(crate) fn directory() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let directory = own.parent().unwrap();
    let directory = if directory.ends_with("deps") { directory.parent().unwrap() } else { directory };
    directory.to_owned()
}

fn build(directory: &Path, package: &str, name: &str, feature: Option<&str>) {
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    cargo.args(["build", "--quiet", "--locked", "--manifest-path", manifest, "--profile", profile]);
    cargo.args(["--package", package, "--bin", name, "--target-dir"]).arg(directory.parent().unwrap());
    cargo.args(feature.iter().flat_map(|feature| ["--features", feature]));
    crate::program::output(&mut cargo);
}

fn same(one: &Path, other: &Path) -> bool {
    match (std::fs::read(one), std::fs::read(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
