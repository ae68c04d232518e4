//! A fleet that is published by the server's library, and a device that judges what was published.
//!
//! Never here: what is expected of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidelock_protocol::desired::Desired;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::EnvironmentName;
use tidelock_protocol::release::{Named, ReleaseTargets, agree, files_of};
use tidelock_protocol::roles::Target;
use tidelock_protocol::time::{Now, Timestamp};
use tidelock_protocol::trust::{Error, Roots, Step, Trusted, check_target};
use tidelock_server::keys::Secret;
use tidelock_server::look;
use tidelock_server::turn::{self, Outcome, Settings};

use crate::scratch::Scratch;
use crate::world::Fleet;

/// A fleet made by `init`, in a directory of the test's own.
#[derive(Debug)]
pub struct Room {
    /// Gone when the test is.
    pub scratch: Scratch,
    /// Repository, keys, what is published.
    pub fleet: Fleet,
}

impl Room {
    /// Makes one.
    ///
    /// # Panics
    /// When `init` fails.
    pub fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let fleet = Fleet::init(&scratch.join("f"));
        Self { scratch, fleet }
    }

    /// The turn's settings for this fleet.
    ///
    /// # Panics
    /// When its path is not UTF-8.
    pub fn settings(&self) -> Settings {
        Settings {
            fleet: self.fleet.repository().to_str().unwrap().to_owned(),
            branch: "main".into(),
            keys: self.fleet.keys(),
            out: self.fleet.out(),
            state: self.fleet.state(),
            accept_rewrite: None,
            signers: None,
            require_sync: false,
        }
    }

    /// One turn.
    ///
    /// # Errors
    /// The turn's own.
    pub fn publish(&self) -> Result<Outcome, turn::Error> {
        turn::once(&self.settings())
    }

    /// One turn that must leave nothing undone, and a repository that a device believes.
    ///
    /// # Panics
    /// When it does not.
    pub fn published(&self) -> Outcome {
        let outcome = self.publish().unwrap();
        assert!(outcome.waiting.is_empty() && outcome.missing.is_empty(), "{outcome}");
        Device::read(&self.fleet.out()).unwrap();
        outcome
    }

    /// What a device that knows the first root believes now.
    ///
    /// # Panics
    /// When it believes nothing.
    pub fn device(&self) -> Device {
        Device::read(&self.fleet.out()).unwrap()
    }

    /// The problems of a turn that must fail with some, as they are printed.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub fn problems(&self) -> String {
        match self.publish() {
            Err(turn::Error::Problems(problems)) => problems.to_string(),
            other => panic!("expected problems, found {other:?}"),
        }
    }

    /// Replaces a key file and its public half in `fleet.toml`, and commits that.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn rotate(&self, file: &str, old: Old) {
        let path = self.fleet.keys().join(file);
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        match old {
            Old::Gone => fs::remove_file(&path).unwrap(),
            Old::AtHand => fs::rename(&path, path.with_file_name(format!("{name}-old.pem"))).unwrap(),
        }
        let secret = Secret::generate().unwrap();
        secret.write_new(&path).unwrap();
        let rules = fs::read_to_string(self.fleet.repository().join("fleet.toml")).unwrap();
        let changed = |line: &str| match line.strip_prefix(&format!("{name} = \"ed25519:")) {
            Some(_) => format!("{name} = \"{}\"\n", secret.public_text()),
            None => format!("{line}\n"),
        };
        self.fleet.write("fleet.toml", rules.lines().map(changed).collect::<String>());
        self.fleet.commit(&format!("another {name} key"));
    }
}

/// What becomes of a key that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// Nobody has it any more.
    Gone,
    /// It still signs, beside the new one.
    AtHand,
}

/// What a device that knows the first root believes of the repository now.
#[derive(Debug)]
pub struct Device {
    trusted: Trusted,
    out: PathBuf,
}

impl Device {
    /// Walks the repository in `out` at the time of this machine.
    ///
    /// # Errors
    /// What a device refuses.
    pub fn read(out: &Path) -> Result<Self, Error> {
        Self::read_at(out, look::clock().now)
    }

    /// The same at another time.
    ///
    /// # Errors
    /// What a device refuses.
    pub fn read_at(out: &Path, wall: Timestamp) -> Result<Self, Error> {
        let now = Now { wall, boot: Duration::ZERO, trusted: true };
        let file = |name: String| fs::read(out.join("metadata").join(name)).unwrap_or_default();
        let mut roots = Roots::begin(&file("1.root.json".into()), now)?;
        loop {
            let next = file(format!("{}.root.json", roots.version() + 1));
            if next.is_empty() {
                break;
            }
            roots.accept(&next)?;
        }
        let fresh = roots.settle()?.timestamp(None, &file("timestamp.json".into()))?;
        fresh.check_newest_root()?;
        let wanted = fresh.wanted()?;
        let coherent = fresh.snapshot(None, &file(format!("{}.snapshot.json", wanted.version)))?;
        let wanted = coherent.wanted()?;
        let trusted = coherent.targets(&file(format!("{}.targets.json", wanted.version)))?;
        Ok(Self { trusted, out: out.to_owned() })
    }

    /// The target `name`, and the role that names it.
    ///
    /// # Errors
    /// A role on the way that is refused.
    pub fn find(&self, name: &str) -> Result<Option<(String, Target)>, Error> {
        let mut search = self.trusted.search(name);
        loop {
            match search.step()? {
                Step::Role(wanted) => {
                    let path =
                        self.out.join("metadata").join(format!("{}.{}.json", wanted.version, wanted.role));
                    search.accept(&fs::read(path).unwrap_or_default())?;
                }
                Step::Found { role, target, .. } => return Ok(Some((role, target))),
                Step::Nowhere => return Ok(None),
            }
        }
    }

    /// The bytes of the target `name`, checked.
    ///
    /// # Panics
    /// When they are missing or refused.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let (_, target) = self.find(name).unwrap().unwrap_or_else(|| panic!("no {name}"));
        let path = self.out.join("targets").join(format!("{}.{name}", target.sha256().unwrap()));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        check_target(name, &target, &bytes).unwrap();
        bytes
    }

    /// What an environment wants; every build that it names is agreed on by its app's role, and its files are there.
    ///
    /// # Panics
    /// When that is not so.
    pub fn desired(&self, environment: &str) -> Desired {
        let name: EnvironmentName = environment.parse().unwrap();
        let desired = Desired::parse(&self.bytes(&format!("env.{name}.desired.json")), &name).unwrap();
        for (app, choices) in &desired.apps {
            for choice in choices {
                assert!(!choice.stable.platforms.is_empty(), "{app}");
                for (platform, build) in &choice.stable.platforms {
                    let (index, bundle) = files_of(app, &choice.stable.version, platform, build).unwrap();
                    let found = [&index, &bundle].map(|name| self.find(name).unwrap().unwrap());
                    let named = |name, (role, target): &'_ (String, Target)| -> (String, String, Target) {
                        (String::clone(name), role.clone(), target.clone())
                    };
                    let (index, bundle) = (named(&index, &found[0]), named(&bundle, &found[1]));
                    let as_named = |(name, role, target)| Named { name, role, target };
                    let index = as_named((&index.0, &index.1, &index.2));
                    let bundle = as_named((&bundle.0, &bundle.1, &bundle.2));
                    let agreed = agree(app, &choice.stable.version, build, index, bundle).unwrap();
                    self.check_files(&agreed);
                }
            }
        }
        desired
    }

    fn check_files(&self, agreed: &ReleaseTargets) {
        let index = self.bytes(&agreed.index.name);
        let bundle = self.bytes(&agreed.bundle.name);
        tidelock_server::bundle::check(&index, bundle.as_slice(), &agreed.tree).unwrap();
    }

    /// The version of an app's first choice.
    ///
    /// # Panics
    /// When the environment does not want it.
    pub fn version(&self, environment: &str, app: &str) -> String {
        self.desired(environment).apps[&app.parse().unwrap()][0].stable.version.to_string()
    }
}

/// Every file below a directory: its bytes' digest, inode, and mtime to the nanosecond.
///
/// # Panics
/// When one cannot be read.
pub fn listing(directory: &Path) -> BTreeMap<String, (Digest, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(listing(&path));
        } else {
            let metadata = fs::metadata(&path).unwrap();
            let facts = (
                Digest::of(&fs::read(&path).unwrap()),
                metadata.ino(),
                metadata.mtime(),
                metadata.mtime_nsec(),
            );
            found.insert(path.display().to_string(), facts);
        }
    }
    found
}
