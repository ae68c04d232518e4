//! A fleet repository behind SSH: a real `sshd` on 127.0.0.1 with keys of its own, reached as the person's own
//! GIT_SSH_COMMAND says.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tidelock_tests::program::{Running, find, free_address, run};
use tidelock_tests::programs::Ours;
use tidelock_tests::publisher::Room;
use tidelock_tests::world::Ran;

/// A room whose repository is pushed to a host that is reached by SSH.
struct Host {
    room: Room,
    address: SocketAddr,
    user: String,
    _sshd: Running,
}

impl Host {
    fn new(name: &str) -> Self {
        let room = Room::new(name);
        let at = |name: &str| room.scratch.join(name);
        for key in ["host", "person", "stranger"] {
            let file = at(key).display().to_string();
            run(find("ssh-keygen"), &["-q", "-t", "ed25519", "-N", "", "-f", &file]);
        }
        fs::copy(at("person.pub"), at("authorized")).unwrap();
        let address = free_address();
        let known = format!("[127.0.0.1]:{} {}", address.port(), fs::read_to_string(at("host.pub")).unwrap());
        fs::write(at("known"), known).unwrap();
        let config = format!(
            "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
            at("host").display(),
            at("authorized").display()
        );
        fs::write(at("sshd_config"), config).unwrap();
        if rustix::process::geteuid().is_root() {
            // Where sshd, as root, locks up its unprivileged half.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let file = at("sshd_config");
        let arguments = ["-D".as_ref(), "-e".as_ref(), "-f".as_ref(), file.as_os_str()];
        let mut sshd = Running::start(&find("sshd"), &arguments, &at("sshd.log"));
        assert!(sshd.listens_on(address), "{}", sshd.said());
        let host = Self { room, address, user: run("id", &["-un"]), _sshd: sshd };
        run("git", &["init", "--quiet", "--bare", host.bare().to_str().unwrap()]);
        host.push();
        host
    }

    fn bare(&self) -> std::path::PathBuf {
        self.room.scratch.join("fleet.git")
    }

    fn push(&self) {
        self.room.fleet.git(&["push", "--quiet", self.bare().to_str().unwrap(), "main"]);
    }

    fn url(&self) -> String {
        format!("ssh://{}@{}{}", self.user, self.address, self.bare().display())
    }

    /// `ssh` as somebody's GIT_SSH_COMMAND.
    fn ssh(&self, key: &str, known: &Path) -> String {
        format!(
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={} -i {}",
            known.display(),
            self.room.scratch.join(key).display()
        )
    }

    fn publish(&self, repository: &str, ssh: &str) -> Ran {
        let fleet = &self.room.fleet;
        let mut command = Command::new(Ours::Server.path());
        command.args(["publish", "--fleet", repository]).arg("--keys").arg(fleet.keys());
        command.arg("--out").arg(fleet.out()).arg("--state").arg(fleet.state());
        Ran::of(&command.env("GIT_SSH_COMMAND", ssh).output().unwrap())
    }
}

#[test]
fn commits_are_fetched_over_ssh_and_published() {
    let host = Host::new("ssh");
    let ssh = host.ssh("person", &host.room.scratch.join("known"));
    host.publish(&host.url(), &ssh).well();
    host.room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    let second = host.room.fleet.commit("second");
    host.push();
    host.publish(&host.url(), &ssh).well();
    assert_eq!(host.room.device().desired("prod").source.commit, second);
    let idle = host.publish(&host.url(), &ssh).well();
    assert!(idle.stdout.contains("nothing to publish"), "{}", idle.said());
    // The same in the short form, whose port only `ssh` can be told.
    let short = format!("{}@127.0.0.1:{}", host.user, host.bare().display());
    let idle = host.publish(&short, &format!("{ssh} -p {}", host.address.port())).well();
    assert!(idle.stdout.contains("nothing to publish"), "{}", idle.said());
}

#[test]
fn a_host_that_nobody_knows_and_a_key_that_it_does_not_let_in_are_said_and_nobody_is_asked() {
    let host = Host::new("ssh-refused");
    let nobody = host.room.scratch.join("nobody");
    fs::write(&nobody, "").unwrap();
    for (ssh, said) in [
        (host.ssh("person", &nobody), "Host key verification failed"),
        (host.ssh("stranger", &host.room.scratch.join("known")), "Permission denied"),
    ] {
        let ran = host.publish(&host.url(), &ssh);
        assert!(ran.code == 1 && ran.stderr.contains(said), "{}: {}", ran.code, ran.said());
        assert!(ran.stderr.contains("cannot fetch the branch"), "{}", ran.stderr);
        assert!(!host.room.fleet.out().join("metadata/timestamp.json").exists(), "nothing was published");
    }
}
