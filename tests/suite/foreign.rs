//! Clients that nobody here wrote read what `publish` and `serve` wrote: python-tuf and tuf-js. A missing one fails.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tidelock_protocol::canonical;
use tidelock_protocol::digest::Digest;
use tidelock_server::keys::Secret;
use tidelock_tests::program::{beside_python, output};
use tidelock_tests::programs::Ours;
use tidelock_tests::publisher::{Device, Old, Room};
use tidelock_tests::pushing::Stage;
use tidelock_tests::served::Served;
use tidelock_tests::world;

/// A repository with two releases and two rotations of the root, and the names of all its targets.
fn repository(name: &str) -> (Room, Vec<String>) {
    let room = Room::new(name);
    room.published();
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.commit("second");
    room.published();
    for file in ["online/timestamp.pem", "offline/offline.pem"] {
        room.rotate(file, Old::AtHand);
        room.published();
    }
    let names = targets(&room);
    (room, names)
}

/// The names of everything that lies in `targets/`.
fn targets(room: &Room) -> Vec<String> {
    let entries = fs::read_dir(room.fleet.out().join("targets")).unwrap();
    let all = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = all.map(|name| name.split_once('.').unwrap().1.to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

fn python() -> String {
    beside_python("python3").display().to_string()
}

/// What a program says that reads the repository.
fn said(room: &Room, names: &[String], program: &str, script: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(script);
    let mut client = Command::new(program);
    client.arg(script).arg(room.fleet.out()).arg(room.scratch.path()).args(names);
    String::from_utf8_lossy(&output(&mut client).stdout).into_owned()
}

/// python-tuf finds the repository whole, and in it what each environment wants.
pub(crate) fn verifies(room: &Room) {
    let device = Device::read(&room.fleet.out()).unwrap();
    let names = ["staging", "prod"].map(|environment| format!("env.{environment}.desired.json"));
    let names: Vec<String> = names.into_iter().filter(|name| device.find(name).unwrap().is_some()).collect();
    assert!(!names.is_empty());
    // A client that knows nothing: what was here before may have been newer.
    let _ = fs::remove_dir_all(room.scratch.join("python-metadata"));
    read(room, 1, &names, &python(), "read.py");
}

fn read(room: &Room, root: u64, names: &[String], program: &str, script: &str) {
    let said = said(room, names, program, script);
    assert!(said.contains(&format!("root {root}, {} targets", names.len())), "{said}");
}

#[test]
fn python_tuf_follows_the_roots_and_reads_every_target() {
    let (room, names) = repository("python");
    read(&room, 3, &names, &python(), "read.py");
}

#[test]
fn tuf_js_follows_the_roots_and_reads_every_target() {
    let (room, names) = repository("node");
    read(&room, 3, &names, "node", "read.js");
}

#[test]
fn both_read_what_pipelines_pushed_with_provenance_and_sbom() {
    let stage = Stage::new("foreign-push").serving();
    let files = stage.build("one", "hello");
    let sbom = files.join("release.toml");
    let more = ["--platform", "linux-arm64", "--sbom", sbom.to_str().unwrap(), "--env", "staging"];
    stage.push("1.0", &files, &more).well();
    stage.push("1.0", &files, &["--platform", "linux-armv7"]).well();
    stage.push("1.1", &stage.build("one", "again"), &["--env", "staging"]).well();
    let names: Vec<String> =
        targets(&stage.room).into_iter().filter(|name| name.starts_with("app.web.")).collect();
    assert_eq!(names.len(), 3 * 3 + 1, "{names:?}");
    let names = [names, vec!["env.staging.desired.json".to_owned()]].concat();
    read(&stage.room, 1, &names, &python(), "read.py");
    read(&stage.room, 1, &names, "node", "read.js");
}

#[test]
fn openssl_signs_the_role_of_an_app_as_the_command_of_a_pipeline() {
    let stage = Stage::new("openssl");
    stage.room.published();
    let key = stage.room.scratch.join("builder.pem");
    fs::rename(stage.room.fleet.keys().join("builder/builder.pem"), &key).unwrap();
    let stage = stage.serving();
    let id = serde_json::to_value(Secret::from_file(&key).unwrap().id()).unwrap();
    let (key, message) = (key.to_str().unwrap(), stage.room.scratch.join("message"));
    let command = format!(
        "cat >{0}; printf '%s ' {1}; openssl pkeyutl -sign -rawin -inkey {key} -in {0} | od -An -v -tx1 | tr -d ' \\n'",
        message.display(),
        id.as_str().unwrap(),
    );
    let files = stage.build("one", "hello");
    stage.push("1.0", &files, &["--env", "staging", "--signer", &command]).well();
    assert_eq!(stage.room.device().version("staging", "web"), "1.0");
    for (command, reason) in
        [("echo no; false", "failed"), ("echo 1", "it wrote \"1\""), ("echo x y", "failed")]
    {
        let ran = stage.push("1.1", &stage.build("two", "two"), &["--signer", command]);
        assert!(ran.code == 1 && ran.stderr.contains(reason), "{command}: {}", ran.said());
    }
}

/// The published metadata, and what somebody signs there who holds some of its keys.
struct Forger<'a> {
    room: &'a Room,
}

impl Forger<'_> {
    fn key(&self, file: &str) -> Secret {
        Secret::from_file(&self.room.fleet.keys().join(file)).unwrap()
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.room.fleet.out().join("metadata").join(file)
    }

    fn signed(&self, file: &str) -> Value {
        let text = fs::read(self.path(file)).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["signed"].clone()
    }

    /// Writes `signed` as a file that `key` signs; what the role above it says of it.
    fn write(&self, file: &str, signed: &Value, key: &Secret) -> Value {
        let signature = key.sign(&canonical::to_vec(signed).unwrap());
        let text = serde_json::to_vec(&json!({ "signatures": [signature], "signed": signed })).unwrap();
        fs::write(self.path(file), &text).unwrap();
        json!({ "version": signed["version"], "length": text.len(), "hashes": { "sha256": Digest::of(&text) } })
    }

    /// The next version of `role` as `change` makes it, signed by `key`, and named by the snapshot and the timestamp:
    /// the thief holds the online keys as well.
    fn publish(&self, role: &str, key: &Secret, change: impl FnOnce(&mut Value)) {
        let mut timestamp = self.signed("timestamp.json");
        let version = timestamp["meta"]["snapshot.json"]["version"].clone();
        let mut snapshot = self.signed(&format!("{version}.snapshot.json"));
        let version = snapshot["meta"][format!("{role}.json")]["version"].clone();
        let mut signed = self.signed(&format!("{version}.{role}.json"));
        for value in [&mut timestamp, &mut snapshot, &mut signed] {
            value["version"] = json!(value["version"].as_u64().unwrap() + 1);
        }
        change(&mut signed);
        let meta = self.write(&format!("{}.{role}.json", signed["version"]), &signed, key);
        snapshot["meta"][format!("{role}.json")] = meta;
        let file = format!("{}.snapshot.json", snapshot["version"]);
        timestamp["meta"]["snapshot.json"] = self.write(&file, &snapshot, &self.key("online/snapshot.pem"));
        self.write("timestamp.json", &timestamp, &self.key("online/timestamp.pem"));
    }
}

/// A fleet whose staging has a key of its own, a device of prod that took what prod wants, and that key.
fn two_owners(name: &str) -> (Room, Served, world::Device, Secret) {
    let room = Room::new(name);
    let thief = Secret::generate().unwrap();
    thief.write_new(&room.fleet.keys().join("owner/stager.pem")).unwrap();
    let rules = fs::read_to_string(room.fleet.repository().join("fleet.toml")).unwrap();
    let rules = rules.replace("[keys]\n", &format!("[keys]\nstager = \"{}\"\n", thief.public_text()));
    let staging = "[environments.staging]\nowner = \"git\"\nkeys = [\"";
    assert!(rules.contains(staging), "{rules}");
    room.fleet.write("fleet.toml", rules.replace(&format!("{staging}owner"), &format!("{staging}stager")));
    room.fleet.write("apps/web/app.toml", "path = \"apps/web/tree\"\n");
    room.fleet.write("apps/web/tree/release.toml", "format = 1\n");
    for environment in ["staging", "prod"] {
        room.fleet.write(&format!("environments/{environment}.toml"), "[apps]\nweb = \"follow\"\n");
    }
    room.fleet.commit("staging has a key of its own");
    room.published();
    let served = Served::start(&room.fleet.out(), None).unwrap();
    let device = world::Device::new(&room.scratch.join("device"), Ours::Agent);
    device.configure("test", "allow_root_apps = [\"web\"]\n");
    let hash = room.fleet.root_sha256();
    device.run(&["join", served.url(), "--root-sha256", &hash, "--env", "prod"]).well();
    device.update().well();
    assert_eq!(device.state("web"), "Synced Healthy");
    (room, served, device, thief)
}

#[test]
fn a_name_of_prod_that_the_key_of_staging_signs_is_nobodys_for_python_tuf_and_the_agent() {
    let (room, _served, device, thief) = two_owners("thief-name");
    let prod = "env.prod.desired.json".to_owned();
    let before = Digest::of(&room.device().bytes(&prod));
    let empty = r#"{"format":1,"environment":"prod","serial":9,"source":{},"prune":true,"apps":{}}"#;
    let digest = Digest::of(empty.as_bytes());
    fs::write(room.fleet.out().join(format!("targets/{digest}.{prod}")), empty).unwrap();
    let forged = json!({ "length": empty.len(), "hashes": { "sha256": digest } });
    Forger { room: &room }.publish("env.staging", &thief, |role| {
        role["targets"][&prod] = forged.clone();
        role["targets"]["env.prod.more.json"] = forged;
    });
    let names = [prod.clone(), "env.prod.more.json".to_owned(), "env.staging.desired.json".to_owned()];
    let seen = said(&room, &names, &python(), "seek.py");
    assert!(seen.contains(&format!("{prod}: {before}\nenv.prod.more.json: nothing\n")), "{seen}");
    let (role, target) = room.device().find(&prod).unwrap().unwrap();
    assert_eq!((role.as_str(), target.sha256()), ("env.prod", Some(before)));
    let link = device.live("web");
    device.update().well();
    assert_eq!((device.live("web"), device.state("web")), (link, "Synced Healthy".into()));
}

#[test]
fn the_role_of_prod_that_the_key_of_staging_signs_is_refused_by_python_tuf_and_the_agent() {
    let (room, _served, device, thief) = two_owners("thief-role");
    let prod = "env.prod.desired.json".to_owned();
    Forger { room: &room }.publish("env.prod", &thief, |role| role["targets"] = json!({}));
    let seen = said(&room, std::slice::from_ref(&prod), &python(), "seek.py");
    assert!(seen.contains(&format!("{prod}: UnsignedMetadataError")), "{seen}");
    Device::read(&room.fleet.out()).unwrap().find(&prod).unwrap_err();
    let ran = device.update();
    assert!(ran.code != 0 && ran.said().contains("env.prod"), "{}", ran.said());
    assert!(device.state("web").ends_with("Healthy"), "{}", device.state("web"));
}
