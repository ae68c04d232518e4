//! A clean Debian to install packages in, and the packages.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};
use tidelock_protocol::digest::Digest;
use tidelock_tests::program::{Running, bounded, find, output, run, until};
use tidelock_tests::programs::Ours;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::Ran;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packages/root");
/// Two versions, the older first.
pub(crate) const VERSIONS: [&str; 2] = ["7.0", "7.1"];

/// In namespaces of its own, with nothing of this machine but its devices: no network, no process, no mount of it is seen.
const ENTER: &str = r#"
ip link set lo up
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
for place in proc sys dev; do mount --rbind "/$place" "$2/root/$place"; done
mount -t proc proc "$2/root/proc"
for place in run tmp; do mount -t tmpfs "$place" "$2/root/$place"; done
mkdir "$2/root/tmp/packages" && mount --bind "$3" "$2/root/tmp/packages"
touch "$2/ready"
# A first process that takes leave of the dead, as any system has.
exec chroot "$2/root" sh -c 'sleep 800 & wait'
"#;

/// A clean system, entered; gone on drop.
pub(crate) struct Root {
    inside: String,
    place: Scratch,
    _running: Running,
}

impl Root {
    pub(crate) fn new(name: &str) -> Self {
        let packages = packages();
        let place = Scratch::new(&format!("packages-{name}"));
        for directory in ["upper", "work", "root"] {
            fs::create_dir(place.join(directory)).unwrap();
        }
        let clean = clean();
        let words =
            ["--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "--propagation", "private"];
        let script = ["sh", "-ec", ENTER, "enter"].map(AsRef::as_ref);
        let places = [clean.as_os_str(), place.path().as_os_str(), packages.as_os_str()];
        let arguments: Vec<_> = words.map(AsRef::as_ref).into_iter().chain(script).chain(places).collect();
        let mut running = Running::start(&find("unshare"), &arguments, &place.join("log"));
        assert!(running.until("enter", || place.join("ready").exists()), "{}", running.said());
        // `timeout`, below it `unshare`, below it the first process of the namespace.
        let inside = child(&child(&running.id().to_string()));
        let root = Self { inside, place, _running: running };
        until("it is entered", || root.run("test -e /tmp/packages").code == 0);
        root
    }

    /// Runs a command of its shell to its end.
    pub(crate) fn run(&self, command: &str) -> Ran {
        let mut enter = Command::new(find("nsenter"));
        enter.args(["--target", &self.inside, "--mount", "--pid", "--net", "--ipc", "--root"]);
        enter.args([
            "/usr/bin/env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        Ran::of(&bounded(enter.args(["/bin/sh", "-c", &format!("cd / && {command}")])))
    }

    /// The same, and it must end well; what it printed.
    pub(crate) fn says(&self, command: &str) -> String {
        self.run(command).well().stdout
    }

    /// Where something of it is for this machine.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.inside))
    }

    /// Installs one version of a package by apt.
    pub(crate) fn install(&self, package: &str, version: &str) -> Ran {
        self.run(&format!(
            "apt-get install --yes --no-install-recommends --allow-downgrades /tmp/packages/{package}_{version}_*.deb"
        ))
    }

    /// Every file and directory that was changed, made or removed below its root; what belongs to nobody's packages.
    pub(crate) fn changed(&self) -> Vec<String> {
        let upper = self.place.join("upper");
        let listed =
            run("find", &[upper.to_str().unwrap(), "-mindepth", "1", "!", "-type", "d", "-printf", "%P\n"]);
        let ours = |path: &&str| {
            let passing = [
                "var/lib/dpkg/",
                "var/log/",
                "var/cache/",
                "var/lib/apt/",
                "etc/ld.so.cache",
                "etc/.pwd.lock",
            ];
            !passing.iter().any(|passing| path.starts_with(passing))
        };
        let mut changed: Vec<_> = listed.lines().filter(ours).map(str::to_owned).collect();
        changed.sort();
        changed
    }

    /// Whether a name is there, a link to nowhere included.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.run(&format!("[ -e {path} ] || [ -L {path} ]")).code == 0
    }
}

fn child(id: &str) -> String {
    let found = std::cell::RefCell::new(String::new());
    until("it has a child", || {
        let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        found.replace(list.trim().to_owned());
        !found.borrow().is_empty()
    });
    found.into_inner()
}

/// Made once per recipe, and kept.
fn clean() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let all = kept();
        let lock = File::create(all.join("lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let mut key = Digest::of(&fs::read(RECIPE).unwrap()).to_string();
        key.truncate(12);
        let directory = all.join(key);
        for old in fs::read_dir(&all).unwrap().map(|entry| entry.unwrap().path()) {
            if old.is_dir() && old != directory && old.file_name().unwrap() != "made" {
                fs::remove_dir_all(old).unwrap();
            }
        }
        output(Command::new(RECIPE).arg(&directory));
        directory
    };
    MADE.get_or_init(make).clone()
}

/// Both packages in both versions, of the programs as they are: `cross/package` makes them as it does of what is released.
/// The agent is the small and fast one, since the virtual machine installs it too.
pub(crate) fn packages() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let made = kept().join("made");
        drop(fs::remove_dir_all(&made));
        for version in VERSIONS {
            let place = made.join(version);
            fs::create_dir_all(&place).unwrap();
            for (name, ours) in [("tidelock", Ours::AgentAsShipped), ("tidelock-server", Ours::Server)] {
                let to = place.join(format!("{name}-x86_64"));
                run("strip", &["-o", to.to_str().unwrap(), ours.path().to_str().unwrap()]);
            }
            let mut package = Command::new(format!("{HERE}/cross/package"));
            // The bytes do not matter here, and the time does.
            let quick: BTreeMap<_, _> = [("TYPE", "gzip"), ("LEVEL", "1")].into();
            for (key, value) in quick {
                package.env(format!("DPKG_DEB_COMPRESSOR_{key}"), value);
            }
            output(package.arg("--from").arg(&place).args(["--version", version, "x86_64"]));
            for file in fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()) {
                if file.extension().is_some_and(|extension| extension == "deb") {
                    fs::rename(&file, made.join(file.file_name().unwrap())).unwrap();
                }
            }
        }
        made
    };
    MADE.get_or_init(make).clone()
}

pub(crate) fn kept() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    // The program lies in `debug/deps` of it.
    let target = own.ancestors().nth(3).unwrap();
    let kept = target.join("tests-run/packages");
    fs::create_dir_all(&kept).unwrap();
    kept
}

/// The packages, as files.
pub(crate) fn files() -> Vec<PathBuf> {
    let listed = fs::read_dir(packages()).unwrap().map(|entry| entry.unwrap().path());
    listed.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect()
}

/// What `dpkg-deb` says of one.
pub(crate) fn told(package: &Path, what: &str) -> String {
    run("dpkg-deb", &[what, package.to_str().unwrap()])
}
