//! Commits signed by real ssh-keygen and gpg: whose count is taken and named in the manifest, all others stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidelock_server::git::Signers;
use tidelock_server::turn::{self, Cause, Error, Outcome, Settings};
use tidelock_tests::program::{find, output, run};
use tidelock_tests::publisher::{Room, listing};

/// A fleet of which only signed commits are published.
struct Signed {
    room: Room,
    signers: Signers,
}

impl Signed {
    /// The first commit is signed by anna's SSH key, which counts.
    fn ssh(name: &str) -> Self {
        let room = Room::new(name);
        let (anna, mallory) = (ssh_key(&room, "anna"), ssh_key(&room, "mallory"));
        assert!(mallory.exists());
        let public = fs::read_to_string(anna.with_extension("pub")).unwrap();
        let allowed = room.scratch.join("allowed");
        fs::write(&allowed, format!("anna@example.org namespaces=\"git\" {public}")).unwrap();
        let signed = Self { room, signers: Signers { allowed: Some(allowed), keyring: None } };
        signed.commit("first", Some("anna"));
        signed
    }

    fn commit(&self, text: &str, ssh: Option<&str>) -> String {
        self.room.fleet.write("apps/hello/tree/greeting.txt", format!("{text}\n"));
        self.room.fleet.git(&["add", "--all"]);
        let key = ssh.map(|name| format!("user.signingKey={}", self.room.scratch.join(name).display()));
        let sign = ["-c", "gpg.format=ssh", "-c", key.as_deref().unwrap_or("user.signingKey=none")];
        let commit =
            ["commit", "--quiet", "--message", text, if ssh.is_some() { "-S" } else { "--no-gpg-sign" }];
        self.room.fleet.git(&[&sign[..], &commit[..]].concat());
        self.room.fleet.git(&["rev-parse", "HEAD"])
    }

    fn settings(&self) -> Settings {
        Settings { signers: Some(self.signers.clone()), ..self.room.settings() }
    }

    fn publish(&self) -> Result<Outcome, Error> {
        turn::once(&self.settings())
    }

    /// Why both environments stop; nothing published has changed then.
    fn stops(&self) -> String {
        let before = listing(&self.room.fleet.out());
        let outcome = self.publish().unwrap();
        assert_eq!((outcome.stopped.len(), outcome.manifests.len()), (2, 0), "{outcome}");
        assert_eq!(listing(&self.room.fleet.out()), before);
        let Cause::Unsigned(reason) = &outcome.stopped[0].cause else { panic!("{outcome}") };
        reason.clone()
    }
}

fn ssh_key(room: &Room, name: &str) -> PathBuf {
    let path = room.scratch.join(name);
    run(find("ssh-keygen"), &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path.to_str().unwrap()]);
    path
}

#[test]
fn a_commit_signed_by_an_allowed_ssh_key_is_taken_and_the_manifest_names_the_signer() {
    let signed = Signed::ssh("sshsigned");
    signed.publish().unwrap();
    let source = signed.room.device().desired("prod").source;
    assert!(source.signer.starts_with("anna@example.org (SHA256:"), "{source:?}");
    let audit = fs::read_to_string(signed.room.fleet.state().join("audit.jsonl")).unwrap();
    assert!(audit.contains(&source.signer), "{audit}");
    assert!(signed.publish().unwrap().is_unchanged());
}

#[test]
fn an_unsigned_commit_and_one_of_a_stranger_stop_with_the_reason_until_a_signed_one_follows() {
    let signed = Signed::ssh("unsigned");
    signed.publish().unwrap();
    signed.commit("second", None);
    assert_eq!(signed.stops(), "it is not signed");
    signed.commit("third", Some("mallory"));
    assert_eq!(signed.stops(), "its key is not one of the allowed signers");
    // Nor may it say itself who may sign, or how that is verified.
    let config = ["config", "gpg.ssh.program", "/bin/true"];
    signed.room.fleet.git(&config);
    signed.room.fleet.git(&["config", "gpg.ssh.allowedSignersFile", "/dev/null"]);
    assert_eq!(signed.stops(), "its key is not one of the allowed signers");
    signed.room.fleet.git(&["config", "--unset", "gpg.ssh.program"]);
    let last = signed.commit("fourth", Some("anna"));
    signed.publish().unwrap();
    assert_eq!(signed.room.device().desired("prod").source.commit, last);
}

#[test]
fn a_signature_that_was_moved_to_another_commit_does_not_count() {
    let signed = Signed::ssh("moved");
    signed.publish().unwrap();
    let whole = signed.room.fleet.git(&["cat-file", "commit", "HEAD"]);
    let forged = signed.room.scratch.join("forged");
    fs::write(&forged, format!("{}\n", whole.replace("first", "forged"))).unwrap();
    let id = signed.room.fleet.git(&["hash-object", "-t", "commit", "-w", forged.to_str().unwrap()]);
    signed.room.fleet.git(&["update-ref", "refs/heads/main", &id]);
    let outcome =
        turn::once(&Settings { accept_rewrite: Some("let me in".into()), ..signed.settings() }).unwrap();
    assert_eq!(outcome.stopped.len(), 2, "{outcome}");
    assert!(
        matches!(&outcome.stopped[0].cause, Cause::Unsigned(reason) if reason.contains("other content")),
        "{outcome}"
    );
}

#[test]
fn nothing_begins_with_an_unsigned_commit_and_the_command_says_so() {
    let signed = Signed::ssh("nothing");
    signed.commit("second", None);
    let allowed = signed.signers.allowed.as_ref().unwrap().to_str().unwrap().to_owned();
    let ran =
        signed.room.fleet.server("publish", &["--require-signed-commits", "--allowed-signers", &allowed]);
    assert_eq!(ran.code, 3, "{}", ran.said());
    assert!(ran.said().contains("is not taken, because it is not signed"), "{}", ran.said());
    assert!(!signed.room.fleet.out().join("metadata/timestamp.json").exists());
}

/// A home of gpg with a key of `name`, made without a passphrase.
fn gpg_home(room: &Room, name: &str) -> PathBuf {
    let home = room.scratch.join(format!("gpg-{name}"));
    fs::create_dir(&home).unwrap();
    run("chmod", &["700", home.to_str().unwrap()]);
    let user = format!("{name} <{name}@example.org>");
    gpg(&home, &["--passphrase", "", "--quick-generate-key", &user, "ed25519", "sign", "never"]);
    home
}

fn gpg(home: &Path, arguments: &[&str]) -> Vec<u8> {
    output(Command::new(find("gpg")).args(["--batch", "--quiet", "--homedir"]).arg(home).args(arguments))
        .stdout
}

/// A commit signed by the OpenPGP key of `name`.
fn commit_with(room: &Room, text: &str, name: &str) {
    room.fleet.write("apps/hello/tree/greeting.txt", format!("{text}\n"));
    room.fleet.git(&["add", "--all"]);
    let program = room.scratch.join("gpg");
    let home = room.scratch.join(format!("gpg-{name}"));
    fs::write(&program, format!("#!/bin/sh\nexec gpg --homedir {} \"$@\"\n", home.display())).unwrap();
    run("chmod", &["755", program.to_str().unwrap()]);
    let (program, user) =
        (format!("gpg.program={}", program.display()), format!("user.signingKey={name}@example.org"));
    room.fleet.git(&["-c", &program, "-c", &user, "commit", "--quiet", "-S", "--message", text]);
}

#[test]
fn an_openpgp_signature_counts_when_its_key_is_in_the_keyring() {
    let room = Room::new("openpgp");
    let (anna, mallory) = (gpg_home(&room, "anna"), gpg_home(&room, "mallory"));
    let keyring = room.scratch.join("keyring.asc");
    fs::write(&keyring, gpg(&anna, &["--armor", "--export"])).unwrap();
    commit_with(&room, "first", "anna");
    let signed = Signed { room, signers: Signers { allowed: None, keyring: Some(keyring) } };
    signed.publish().unwrap();
    let signer = signed.room.device().desired("prod").source.signer;
    assert!(signer.starts_with("anna <anna@example.org> ("), "{signer}");
    commit_with(&signed.room, "second", "mallory");
    assert_eq!(signed.stops(), "its key is not in the keyring");
    for home in [anna, mallory] {
        Command::new("gpgconf").arg("--homedir").arg(home).args(["--kill", "all"]).output().unwrap();
    }
}
