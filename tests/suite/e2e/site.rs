//! One fleet, its servers and one device, as each test of this suite needs them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tidelock_tests::authority::Authority;
use tidelock_tests::faults::Proxy;
use tidelock_tests::nginx::{self, Config, Nginx};
use tidelock_tests::programs::Ours;
use tidelock_tests::relay::Relay;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::{Device, Fleet, Ran};

/// Everything between a commit and a device.
pub(super) struct Site {
    pub(super) device: Device,
    pub(super) fleet: Fleet,
    pub(super) relay: Relay,
    pub(super) proxy: Proxy,
    pub(super) authority: Authority,
    pub(super) tls: Nginx,
    pub(super) room: Scratch,
    _plain: Nginx,
    _git: Nginx,
}

/// What stands between nginx and the device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Front {
    /// nginx speaks TLS itself; a relay counts and cuts.
    Nginx,
    /// nginx speaks TLS itself and lets in only clients with a certificate.
    NginxForClients,
    /// A proxy that breaks answers speaks TLS for it.
    Faults,
}

/// What a site is to be, where it is not the usual one.
pub(super) struct Plan<'a> {
    pub(super) name: &'a str,
    pub(super) front: Front,
    pub(super) agent: Ours,
    /// The agent, where it was made elsewhere.
    pub(super) program: Option<PathBuf>,
    /// Where the device lives.
    pub(super) root: Option<&'a Path>,
    /// What stands in its test clock, and how many times faster its time passes.
    pub(super) clock: Option<(&'a str, u32)>,
    /// Whether it is a machine that systemd runs.
    pub(super) machine: bool,
}

impl<'a> Plan<'a> {
    pub(super) fn new(name: &'a str) -> Self {
        Self {
            name,
            front: Front::Nginx,
            agent: Ours::Agent,
            program: None,
            root: None,
            clock: None,
            machine: false,
        }
    }

    pub(super) fn front(self, front: Front) -> Self {
        Self { front, ..self }
    }

    pub(super) fn build(self) -> Site {
        let room = Scratch::new(&format!("e2e-{}", self.name));
        let fleet = Fleet::init(&room.join("server"));
        fs::create_dir(room.join("git")).unwrap();
        nginx::bare_repository(&room.join("git"), "fleet.git");
        let git = Config::git(&room.join("git")).start();
        let fleet = fleet.hosted_at(&format!("{}/fleet.git", git.url()));
        fleet.write("apps/files/app.toml", "path = \"apps/files/tree\"\n");
        fleet.write("apps/files/tree/release.toml", "format = 1\n");
        fleet.want(&["files"]);
        let authority = Authority::new(&room.join("ca"));
        let server = authority.server("server");
        fs::create_dir_all(fleet.out()).unwrap();
        let files = Config::files(&fleet.out());
        let guarded = match self.front {
            Front::NginxForClients => files.clone().only_clients_of(authority.certificate()),
            _ => files.clone(),
        };
        let (plain, tls) = (files.start(), guarded.tls(server.clone()).start());
        let relay = Relay::to(tls.address());
        let proxy = Proxy::before(plain.address(), Some(&server));
        let root = self.root.map_or_else(|| room.join("device"), Path::to_owned);
        let agent = self.program.unwrap_or_else(|| self.agent.path());
        let mut device = Device::new(&root, agent);
        if let Some((clock, speed)) = self.clock {
            fs::write(room.join("clock"), format!("{clock}\n")).unwrap();
            device = device.with("TIDELOCK_TEST_CLOCK", room.join("clock").display().to_string());
            device = device.with("TIDELOCK_TEST_SPEED", speed.to_string());
        }
        let device = if self.machine { device.as_machine() } else { device };
        device.trusts(&authority.certificate());
        let site = Site { device, fleet, relay, proxy, authority, tls, room, _plain: plain, _git: git };
        site.publish("version", "1");
        if self.front != Front::NginxForClients {
            let url = if self.front == Front::Faults { site.proxy.url() } else { site.url() };
            site.device.join(&url, &site.fleet);
        }
        site
    }
}

impl Site {
    /// A fleet with one app `files`, whose release is only files, published and joined, not yet installed.
    pub(super) fn new(name: &str) -> Self {
        Plan::new(name).build()
    }

    /// Where nginx is reached, through the relay.
    pub(super) fn url(&self) -> String {
        format!("https://{}", self.relay.address())
    }

    /// Commits one more file of the app and publishes it.
    pub(super) fn publish(&self, path: &str, contents: impl AsRef<[u8]>) {
        self.fleet.write(&format!("apps/files/tree/{path}"), contents);
        self.fleet.commit(path);
        self.fleet.publish().well();
    }

    /// The app's tree as it lies in the repository.
    pub(super) fn committed(&self) -> BTreeMap<PathBuf, Entry> {
        tree(&self.fleet.repository().join("apps/files/tree"))
    }

    /// The app's tree as it is live on the device.
    pub(super) fn live(&self) -> BTreeMap<PathBuf, Entry> {
        tree(&self.device.app("files").join("current/tree"))
    }

    /// Updates, and sees that the device has exactly what was committed.
    pub(super) fn arrives(&self) -> Ran {
        let ran = self.device.update().well();
        self.is_there();
        ran
    }

    /// The device has exactly what was committed, and says so.
    pub(super) fn is_there(&self) {
        assert!(self.live() == self.committed(), "what is live is not what was committed");
        assert_eq!(self.device.state("files"), "Synced Healthy");
        self.device.run(&["verify"]).well();
    }

    /// Updates, which must fail and leave everything as it was; what it said.
    pub(super) fn stays(&self) -> String {
        let (before, tree) = (self.device.live("files"), self.live());
        let ran = self.device.update();
        assert_ne!(ran.code, 0, "{}", ran.said());
        assert!(!ran.said().contains("panicked"), "{}", ran.said());
        assert_eq!(self.device.live("files"), before, "{}", ran.said());
        assert!(self.live() == tree, "the live tree changed");
        ran.said()
    }
}

/// An entry of a tree: what can be in a release, and nothing else.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    File { executable: bool, contents: Vec<u8> },
    Link(PathBuf),
}

/// Everything below `root`, which may itself be reached through a link.
pub(super) fn tree(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(root.join(&directory)) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            let kind = entry.file_type().unwrap();
            let value = if kind.is_dir() {
                left.push(path.clone());
                Entry::Directory
            } else if kind.is_symlink() {
                Entry::Link(fs::read_link(entry.path()).unwrap())
            } else {
                let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
                Entry::File { executable, contents: fs::read(entry.path()).unwrap() }
            };
            found.insert(path, value);
        }
    }
    found
}

/// Bytes that nothing compresses, always the same for one seed.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
