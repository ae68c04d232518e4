//! The commands of `docs/install.md`, run on the machine as they stand there: only names of files, addresses and the hash
//! are those of the test.

use std::fs;
use std::path::Path;

use tidelock_tests::machine::Item;

use super::stage::Stage;
use crate::packages::rig::{VERSIONS, files};

const PAGE: &str = include_str!("../../../docs/install.md");

pub(super) const INSTALL: &str = "apt-get install ./tidelock_0.1.0_armhf.deb";
pub(super) const JOIN: &str =
    "tidelock join https://fleet.example.org --root-sha256 HASH --env prod --label site=north";
pub(super) const STATUS: &str = "tidelock status";
pub(super) const ONE_LINE: &str = "curl -fsSL https://releases.example.org/tidelock/install.sh | sh -s -- -- \
    join https://fleet.example.org --root-sha256 HASH --env prod";
pub(super) const DRY: &str = "sh install.sh --from tidelock-armv6.tar.gz --dry-run";
pub(super) const OFFLINE: &str = "sh install.sh --from tidelock-armv6.tar.gz";
pub(super) const FILL: &str = "sed -i \"s|ROOT|$(gzip -9nc 1.root.json | base64 -w0)|\" user-data";
pub(super) const BY_HAND: &str = "install -m 755 tidelock-armv6 /usr/bin/tidelock";
pub(super) const GUARD: &str = "tidelock guard";
pub(super) const RUN: &str = "tidelock run";
pub(super) const REMOVE: &str = "apt-get remove tidelock";
pub(super) const PURGE: &str = "apt-get purge tidelock";
pub(super) const UNINSTALL: &str = "sh install.sh --uninstall";
pub(super) const UNINSTALL_ALL: &str = "sh install.sh --uninstall --purge";
pub(super) const DOWNGRADE: &str = "apt-get install --allow-downgrades ./tidelock_OLDER.deb";

/// Every command of the page, in its order; each is run by a test.
const ALL: [&str; 15] = [
    INSTALL,
    JOIN,
    STATUS,
    ONE_LINE,
    DRY,
    OFFLINE,
    FILL,
    BY_HAND,
    GUARD,
    RUN,
    REMOVE,
    PURGE,
    UNINSTALL,
    UNINSTALL_ALL,
    DOWNGRADE,
];

/// What stands in the blocks of a language.
fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{language}\n");
    let blocks: Vec<_> =
        PAGE.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    blocks.into_iter()
}

/// The configuration that the page has people write, for this fleet.
pub(super) fn configuration(stage: &Stage) -> String {
    let [block] = blocks("toml").collect::<Vec<_>>()[..] else { panic!("one example of a configuration") };
    let lines = block.lines().map(|line| format!("{}\n", line.trim()));
    stage.ours(&lines.collect::<String>())
}

#[test]
fn every_command_of_the_page_is_run_here() {
    let lines = blocks("sh").flat_map(str::lines).map(|line| line.split(" #").next().unwrap().trim());
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ALL);
}

impl Stage {
    /// A command of the page, as it is on this machine, in `/root`.
    pub(super) fn page(&self, command: &str) -> String {
        // Nobody is there to say yes, or to wait for what never ends.
        let alone = match command {
            RUN => "(tidelock run >/dev/null 2>&1 &)".into(),
            _ => command.replace("apt-get ", "apt-get --yes "),
        };
        format!("cd /root && {}", self.ours(&alone))
    }

    /// A text of the page with the names of this fleet and this machine.
    pub(super) fn ours(&self, text: &str) -> String {
        let old = VERSIONS[0];
        let ours = [
            ("tidelock_0.1.0_armhf.deb", format!("tidelock_{old}_amd64.deb")),
            ("tidelock_OLDER.deb", format!("tidelock_{old}_amd64.deb")),
            ("tidelock-armv6", "tidelock-x86_64".into()),
            ("https://fleet.example.org", self.url()),
            ("HASH", self.fleet.root_sha256()),
            ("--env prod", "--env staging".into()),
            ("environment = \"prod\"", "environment = \"staging\"".into()),
        ];
        ours.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
    }

    /// Lays files into the `/root` of the machine, and has it trust the authority of the fleet's server, as it does those
    /// of the world.
    pub(super) fn hand_over<'a>(&self, files: impl IntoIterator<Item = &'a Path>) {
        let item = |path: String, contents| Item { path, mode: 0o644, contents };
        let named = |path: &Path| format!("/root/{}", path.file_name().unwrap().to_str().unwrap());
        let mut items: Vec<_> =
            files.into_iter().map(|path| item(named(path), fs::read(path).unwrap())).collect();
        let trusted = fs::read(self.authority.certificate()).unwrap();
        items.push(item("/etc/ssl/certs/ca-certificates.crt".into(), trusted));
        self.machine.bring(&items);
    }

    /// The same with the packages of the agent, both versions.
    pub(super) fn hand_over_packages(&self) {
        let files = files();
        let agent = files.iter().filter(|path| !path.to_str().unwrap().contains("server"));
        self.hand_over(agent.map(|path| &**path));
    }
}
