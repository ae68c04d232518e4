//! A machine with the agent as a package would install it, and a fleet that it has joined: one app, `web`.

use std::fs;
use std::path::Path;

use tidelock_tests::authority::Authority;
use tidelock_tests::machine::{Item, Machine};
use tidelock_tests::programs::Ours;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::served::Served;
use tidelock_tests::world::{Fleet, Ran};

/// A machine and its fleet.
pub(super) struct Stage {
    pub(super) machine: Machine,
    pub(super) fleet: Fleet,
    pub(super) authority: Authority,
    pub(super) room: Scratch,
    served: Served,
}

/// What is special about a release of `web`; the usual one runs until it is stopped.
#[derive(Clone, Copy)]
pub(super) struct Made<'a> {
    /// What its service does, once it has said which version it is.
    pub(super) service: &'a str,
    /// Whom it runs as.
    pub(super) user: &'a str,
    /// Its start hook; empty: it has none.
    pub(super) hook: &'a str,
    /// Seconds that the hook may take.
    pub(super) timeout: u32,
    /// What its check asks, once a second.
    pub(super) check: &'a str,
    /// How often in a row it must pass.
    pub(super) successes: u32,
    /// Seconds until it must have.
    pub(super) deadline: u32,
}

pub(super) const GOOD: Made<'_> = Made {
    service: "exec sleep infinity",
    user: "web",
    hook: "",
    timeout: 60,
    check: RUNS,
    successes: 2,
    deadline: 120,
};

/// Whether its service runs.
const RUNS: &str = "unit = \"web.service\"";

/// The service of `web`, as the agent calls it.
pub(super) const SERVICE: &str = "tidelock-app-web.web.service";

impl Stage {
    /// A machine that has joined; `web` is published in version 1, and not installed yet.
    pub(super) fn new(name: &str) -> Self {
        let stage = Self::blank(name);
        stage.machine.bring(&package(&stage.authority));
        let (url, hash) = (stage.url(), stage.fleet.root_sha256());
        stage.tidelock(&format!("join {url} --root-sha256 {hash} --env staging")).well();
        stage
    }

    /// A machine without anything of ours, beside its fleet; `web` is published in version 1.
    pub(super) fn blank(name: &str) -> Self {
        Self::beside(name, Machine::restored(name))
    }

    /// The same, with this machine.
    pub(super) fn beside(name: &str, machine: Machine) -> Self {
        let room = Scratch::new(&format!("vm-{name}-fleet"));
        let fleet = Fleet::init(&room.join("server"));
        let authority = Authority::new(&room.join("ca"));
        fs::create_dir_all(fleet.out()).unwrap();
        let served = Served::start(&fleet.out(), Some(&authority.server("server"))).unwrap();
        machine.run("echo web:x:990:990::/:/usr/sbin/nologin >>/etc/passwd").well();
        fleet.want(&["web"]);
        let stage = Self { machine, fleet, authority, room, served };
        stage.publish(1, GOOD);
        stage
    }

    /// Where the fleet is published, as the machine calls it.
    pub(super) fn url(&self) -> String {
        format!("https://10.0.2.2:{}", self.served.address().port())
    }

    /// Publishes a version of `web`.
    pub(super) fn publish(&self, version: u32, made: Made<'_>) {
        let Made { service, user, hook, timeout, check, successes, deadline } = made;
        let hooks = match hook {
            "" => String::new(),
            hook => format!("[hooks]\nstart = \"{hook}\"\ntimeout = {timeout}\n"),
        };
        let recipe = format!(
            "format = 1
user = \"{user}\"
units = [\"web.service\"]
{hooks}
[[check]]
name = \"runs\"
{check}
interval = 1
deadline = {deadline}
successes = {successes}
"
        );
        // The unit changes with every version: what systemd knows of it is compared as well.
        let unit = format!(
            "[Unit]
Description=web in version {version}

[Service]
ExecStart=/var/lib/tidelock/apps/web/current/tree/bin/web
EnvironmentFile=/var/lib/tidelock/apps/web/current/release.env
WorkingDirectory=/var/lib/tidelock/apps/web/current/tree
RuntimeDirectory=web
Restart=always
RestartSec=1s

[Install]
WantedBy=multi-user.target
"
        );
        let program = format!("#!/bin/sh\ncat version >/run/web/version\n{service}\n");
        let files = [("release.toml", recipe), ("web.service", unit), ("bin/web", program)];
        self.fleet.write("apps/web/app.toml", "path = \"apps/web/tree\"\n");
        self.fleet.write("apps/web/tree/version", format!("{version}\n"));
        for (path, text) in files {
            self.fleet.write(&format!("apps/web/tree/{path}"), text);
        }
        make_executable(&self.fleet.repository().join("apps/web/tree/bin/web"));
        self.fleet.commit(&format!("Version {version}"));
        self.fleet.publish().well();
    }

    /// Publishes `app` as a tree of `files` and nothing else; what lies in `bin/` can be run.
    pub(super) fn put(&self, app: &str, files: &[(&str, &str)]) {
        let tree = format!("apps/{app}/tree");
        drop(fs::remove_dir_all(self.fleet.repository().join(&tree)));
        self.fleet.write(&format!("apps/{app}/app.toml"), format!("path = \"{tree}\"\n"));
        for (path, text) in files {
            self.fleet.write(&format!("{tree}/{path}"), text);
            if path.starts_with("bin/") {
                make_executable(&self.fleet.repository().join(&tree).join(path));
            }
        }
        self.fleet.commit(&format!("Another {app}"));
        self.fleet.publish().well();
    }

    /// What a command of the guest's shell printed; it must end well.
    pub(super) fn says(&self, command: &str) -> String {
        self.machine.run(command).well().stdout
    }

    /// Runs a command of the agent, when the daemon is not at work.
    pub(super) fn tidelock(&self, arguments: &str) -> Ran {
        self.machine.run(&format!("tidelock --wait 300 {arguments}"))
    }

    /// Updates by hand, and sees `version` running.
    pub(super) fn arrives(&self, version: u32) {
        self.tidelock("update").well();
        self.runs(version, "Synced Healthy");
    }

    /// Updates by hand, which refuses what is published: `version` runs as before.
    pub(super) fn refuses(&self, version: u32) {
        let ran = self.tidelock("update");
        assert_eq!(ran.code, 3, "{}", ran.said());
        self.runs(version, "OutOfSync Healthy");
    }

    /// `web` runs in `version`, and its state is `state`.
    pub(super) fn runs(&self, version: u32, state: &str) {
        let found = self.machine.run(&is_running(version));
        assert_eq!(
            found.code,
            0,
            "{version} does not run: {}; {}",
            found.said(),
            self.tidelock("why").said()
        );
        assert_eq!(self.state(), state, "{}", self.tidelock("why").said());
    }

    /// Starts the daemon, now and at each boot, and has it ask the server at once.
    pub(super) fn start_daemon(&self) {
        self.machine.run("systemctl enable --now tidelock.service tidelock-guard.service").well();
        self.poke();
    }

    /// Has the daemon ask the server at once.
    pub(super) fn poke(&self) {
        self.machine.run("systemctl kill --kill-whom=main --signal=USR1 tidelock.service").well();
    }

    /// Waits until the daemon has got `web` to run in `version`, committed or not.
    pub(super) fn comes_to(&self, version: u32) {
        self.machine.until(&format!("version {version} runs"), &is_running(version));
    }

    /// Waits until the state of `web` is `state`.
    pub(super) fn becomes(&self, state: &str) {
        let (sync, health) = state.split_once(' ').unwrap();
        let asked = format!("tidelock status | grep -E '^web +{sync} +{health} '");
        self.machine.until(state, &asked);
    }

    /// Nothing on the machine has failed.
    pub(super) fn is_well(&self) {
        let said = self.machine.run("systemctl is-system-running; systemctl list-units --failed --plain");
        assert!(said.stdout.starts_with("running\n"), "{}", said.said());
    }

    /// Sync and health.
    fn state(&self) -> String {
        let status = self.status();
        let word = |key: &str| status["apps"]["web"][key].as_str().unwrap_or("none").to_owned();
        format!("{} {}", word("sync"), word("health"))
    }

    /// The version of `web` that is live, as people name it.
    pub(super) fn version(&self) -> String {
        self.status()["apps"]["web"]["current"]["version"].as_str().unwrap().to_owned()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.tidelock("status --json").stdout).unwrap()
    }
}

/// What a package installs, and what the owner of the device sets.
fn package(authority: &Authority) -> Vec<Item> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let file = |path: &str, mode, contents| Item { path: path.into(), mode, contents };
    let unit = |name: &str| {
        let contents = fs::read(repository.join("systemd").join(name)).unwrap();
        file(&format!("/usr/lib/systemd/system/{name}"), 0o644, contents)
    };
    vec![
        file("/usr/bin/tidelock", 0o755, fs::read(Ours::AgentAsShipped.path()).unwrap()),
        unit("tidelock.service"),
        unit("tidelock-guard.service"),
        file("/etc/tidelock/ca.pem", 0o644, fs::read(authority.certificate()).unwrap()),
        file(
            "/etc/tidelock/config.d/owner.toml",
            0o644,
            b"ca_file = \"/etc/tidelock/ca.pem\"\nallow_root_apps = [\"web\"]\n".to_vec(),
        ),
    ]
}

/// A command that ends well where `web` runs in `version`: its service, its files, its unit.
fn is_running(version: u32) -> String {
    format!(
        "said=$(systemctl show --property=ActiveState,Description {SERVICE}; cat /run/web/version); echo \"$said\"; \
         [ \"$(echo \"$said\" | grep -cxE 'ActiveState=active|Description=web in version {version}|{version}')\" = 3 ]"
    )
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
