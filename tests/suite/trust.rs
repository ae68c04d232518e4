//! Each cell of `docs/trust.md`, profile solo: a thief with some keys forges what he can, and a device judges it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tidelock_protocol::canonical;
use tidelock_protocol::desired::Desired;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::keys::KeyId;
use tidelock_protocol::release::{Disagreement, Mark, Named, agree, files_of};
use tidelock_protocol::roles::{Signature, Target};
use tidelock_protocol::time::Now;
use tidelock_protocol::trust::{Error, Roots};
use tidelock_server::keys::{Keyring, Secret};
use tidelock_server::look;
use tidelock_tests::publisher::{Device, Old, Room};

const ONLINE: [&str; 2] = ["online/snapshot.pem", "online/timestamp.pem"];

/// Somebody who can write to the published directory, and has some keys.
struct Thief {
    out: PathBuf,
    keyring: Keyring,
    /// What he signs with where he may choose the key: his own.
    own: Secret,
}

impl Thief {
    fn with(room: &Room, stolen: &[&str]) -> Self {
        let loot = room.scratch.join("loot");
        fs::remove_dir_all(&loot).ok();
        fs::create_dir_all(&loot).unwrap();
        for (n, file) in stolen.iter().enumerate() {
            // A copy keeps the mode.
            fs::copy(room.fleet.keys().join(file), loot.join(format!("{n}.pem"))).unwrap();
        }
        Self {
            out: room.fleet.out(),
            keyring: Keyring::read(&loot).unwrap(),
            own: Secret::from_seed(&[66; 32]),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.out.join("metadata").join(name)
    }

    fn read(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// The published file of a role: its version and its signed part.
    fn role(&self, role: &str) -> Value {
        let version = match role {
            "timestamp" => return self.read("timestamp.json")["signed"].clone(),
            "snapshot" => self.role("timestamp")["meta"]["snapshot.json"]["version"].clone(),
            _ => self.role("snapshot")["meta"][format!("{role}.json")]["version"].clone(),
        };
        self.read(&format!("{version}.{role}.json"))["signed"].clone()
    }

    /// Signs with every key he has, and with his own.
    fn file(&self, signed: &Value, ids: &[String]) -> Vec<u8> {
        let message = canonical::to_vec(signed).unwrap();
        let ids = ids.iter().map(|id| KeyId::from(id.clone()));
        let mut signatures: Vec<Signature> =
            ids.filter_map(|id| self.keyring.find(&id)).map(|secret| secret.sign(&message)).collect();
        signatures.push(self.own.sign(&message));
        serde_json::to_vec(&json!({ "signatures": signatures, "signed": signed })).unwrap()
    }

    /// The ids of everybody's keys; he signs with those that he has.
    fn ids(&self) -> Vec<String> {
        let of = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        [of(&self.read("1.root.json")["signed"]["keys"]), of(&self.role("targets")["delegations"]["keys"])]
            .concat()
    }

    /// Publishes a changed role, and snapshot and timestamp above it, all of them signed as well as he can.
    fn forge(&self, role: &str, change: impl FnOnce(&mut Value)) {
        let mut signed = self.role(role);
        change(&mut signed);
        let meta = self.put(role, signed);
        let mut snapshot = self.role("snapshot");
        snapshot["meta"][format!("{role}.json")] = meta;
        self.forge_above(snapshot);
    }

    fn forge_above(&self, snapshot: Value) {
        let meta = self.put("snapshot", snapshot);
        let mut timestamp = self.role("timestamp");
        timestamp["meta"]["snapshot.json"] = meta;
        self.forge_timestamp(timestamp, 1);
    }

    fn forge_timestamp(&self, mut timestamp: Value, step: u64) {
        timestamp["version"] = json!(timestamp["version"].as_u64().unwrap() + step);
        fs::write(self.path("timestamp.json"), self.file(&timestamp, &self.ids())).unwrap();
    }

    /// Writes the next version of a role, and what the role above says of it.
    fn put(&self, role: &str, mut signed: Value) -> Value {
        let version = 1000 + signed["version"].as_u64().unwrap();
        signed["version"] = json!(version);
        let bytes = self.file(&signed, &self.ids());
        fs::write(self.path(&format!("{version}.{role}.json")), &bytes).unwrap();
        json!({ "version": version, "length": bytes.len(), "hashes": { "sha256": Digest::of(&bytes).to_string() } })
    }

    /// Puts a file into `targets/`; how a role names it.
    fn target(&self, name: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.out.join("targets").join(format!("{digest}.{name}")), bytes).unwrap();
        serde_json::to_value(Target::new(bytes.len() as u64, digest)).unwrap()
    }

    /// Makes an environment want what he changes of its manifest.
    fn want(&self, environment: &str, before: Desired, change: impl FnOnce(&mut Desired)) {
        let mut desired = before;
        change(&mut desired);
        let name = format!("env.{environment}.desired.json");
        let target = self.target(&name, &serde_json::to_vec(&desired).unwrap());
        self.forge(&format!("env.{environment}"), |signed| signed["targets"][&name] = target);
    }
}

/// A fleet with two releases, the second live.
fn fleet(name: &str) -> Room {
    let room = Room::new(name);
    room.published();
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.commit("second");
    room.published();
    room
}

/// What a device of `prod` reads, if it believes it.
fn manifest(room: &Room) -> Result<Desired, Error> {
    let device = Device::read(&room.fleet.out())?;
    device.find("env.prod.desired.json")?;
    Ok(Desired::parse(&device.bytes("env.prod.desired.json"), &"prod".parse().unwrap()).unwrap())
}

/// Whether a device takes the build that `prod` wants of hello.
fn build(room: &Room) -> Result<(), Disagreement> {
    let device = room.device();
    let desired = manifest(room).unwrap();
    let app = "hello".parse().unwrap();
    let stable = &desired.apps[&app][0].stable;
    let (platform, build) = stable.platforms.iter().next().unwrap();
    let (index, bundle) = files_of(&app, &stable.version, platform, build)?;
    let find = |name: &String| {
        let found = device.find(name).unwrap();
        found.ok_or_else(|| Disagreement::Missing { name: name.clone() })
    };
    let ((index_role, index_target), (bundle_role, bundle_target)) = (find(&index)?, find(&bundle)?);
    let index = Named { name: &index, role: &index_role, target: &index_target };
    let bundle = Named { name: &bundle, role: &bundle_role, target: &bundle_target };
    agree(&app, &stable.version, build, index, bundle).map(drop)
}

/// Sends prod to the first release of hello again.
fn downgrade(thief: &Thief, room: &Room) {
    let before = manifest(room).unwrap();
    let role = thief.role("app.hello");
    let targets = role["targets"].as_object().unwrap();
    let old = targets.iter().find_map(|(name, target)| {
        let target: Target = serde_json::from_value(target.clone()).unwrap();
        let mark = Mark::of(&target).filter(|mark| mark.counter == 1 && name.ends_with(".index"))?;
        Some((name.clone(), target, mark))
    });
    let (name, target, mark) = old.unwrap();
    thief.want("prod", before, |desired| {
        let stable = &mut desired.apps.get_mut(&"hello".parse().unwrap()).unwrap()[0].stable;
        stable.version = mark.version.clone();
        let build = stable.platforms.values_mut().next().unwrap();
        build.tree = mark.tree;
        build.index.name = name;
        build.index.length = target.length;
        build.index.sha256 = target.sha256().unwrap();
    });
}

/// Gives hello's live version another index and tree, in the app's role.
fn replace_release(thief: &Thief, room: &Room) -> (Digest, u64, Digest) {
    let version = room.device().version("prod", "hello");
    let (index, bundle) =
        (format!("app.hello.{version}.any.index"), format!("app.hello.{version}.any.tar.gz"));
    let tree = Digest::of(b"evil");
    let mark = Mark { tree, version: version.parse().unwrap(), counter: 9, source: String::new() };
    let target = |name: &str| {
        let mut target = thief.target(name, b"evil");
        target["custom"] = mark.to_custom();
        target
    };
    let (as_index, as_bundle) = (target(&index), target(&bundle));
    thief.forge("app.hello", |signed| {
        signed["targets"][&index] = as_index;
        signed["targets"][&bundle] = as_bundle;
    });
    (tree, 4, Digest::of(b"evil"))
}

#[test]
fn the_offline_key_alone_is_everything() {
    let room = fleet("offline");
    let before = manifest(&room).unwrap();
    let thief = Thief::with(&room, &["offline/offline.pem"]);
    // His own key for every role, in a root that the stolen key signs.
    let key = serde_json::to_value(thief.own.public()).unwrap();
    let id = thief.own.id().as_str().to_owned();
    let mut root = thief.read("1.root.json")["signed"].clone();
    root["version"] = json!(2);
    root["keys"][&id] = key.clone();
    for role in ["root", "targets", "snapshot", "timestamp"] {
        root["roles"][role]["keyids"] = json!([&id]);
    }
    fs::write(thief.path("2.root.json"), thief.file(&root, &thief.ids())).unwrap();
    thief.forge("targets", |signed| {
        signed["delegations"]["keys"][&id] = key;
        for role in signed["delegations"]["roles"].as_array_mut().unwrap() {
            if role["name"] == "env.prod" {
                role["keyids"] = json!([&id]);
            }
        }
    });
    thief.want("prod", before, |desired| desired.serial = 666);
    assert_eq!(manifest(&room).unwrap().serial, 666);
}

#[test]
fn the_owners_key_alone_is_nothing_and_with_both_online_keys_sends_devices_to_registered_releases_only() {
    let room = fleet("owner");
    downgrade(&Thief::with(&room, &["owner/owner.pem"]), &room);
    assert!(manifest(&room).is_err());

    let room = fleet("owner-online");
    let thief = Thief::with(&room, &["owner/owner.pem", ONLINE[0], ONLINE[1]]);
    downgrade(&thief, &room);
    assert_eq!(build(&room), Ok(()), "an old release, with the hole that it has");
    // Code that the builder did not sign.
    thief.want("prod", manifest(&room).unwrap(), |desired| {
        let stable = &mut desired.apps.get_mut(&"hello".parse().unwrap()).unwrap()[0].stable;
        stable.platforms.values_mut().next().unwrap().tree = Digest::of(b"evil");
    });
    assert!(matches!(build(&room), Err(Disagreement::Differ { .. })));
    thief.want("prod", manifest(&room).unwrap(), |desired| desired.apps.clear());
    assert!(manifest(&room).unwrap().apps.is_empty());
}

#[test]
fn the_builders_key_alone_is_nothing_and_with_both_online_keys_enters_no_device() {
    let room = fleet("builder");
    replace_release(&Thief::with(&room, &["builder/builder.pem"]), &room);
    assert!(manifest(&room).is_err());

    let room = fleet("builder-online");
    let thief = Thief::with(&room, &["builder/builder.pem", ONLINE[0], ONLINE[1]]);
    replace_release(&thief, &room);
    assert!(matches!(build(&room), Err(Disagreement::Differ { .. })));
    thief.forge("app.hello", |signed| signed["targets"] = json!({}));
    assert!(
        matches!(build(&room), Err(Disagreement::Missing { .. })),
        "what runs runs on; nothing new is installed"
    );
}

#[test]
fn owner_builder_and_both_online_keys_are_any_code() {
    let room = fleet("both");
    let thief = Thief::with(&room, &["owner/owner.pem", "builder/builder.pem"]);
    replace_release(&thief, &room);
    assert!(manifest(&room).is_err(), "without the online keys it is nothing");

    let room = fleet("both-online");
    let before = manifest(&room).unwrap();
    let thief = Thief::with(&room, &["owner/owner.pem", "builder/builder.pem", ONLINE[0], ONLINE[1]]);
    let (tree, length, sha256) = replace_release(&thief, &room);
    thief.want("prod", before, |desired| {
        let stable = &mut desired.apps.get_mut(&"hello".parse().unwrap()).unwrap()[0].stable;
        let build = stable.platforms.values_mut().next().unwrap();
        (build.tree, build.index.length, build.index.sha256) = (tree, length, sha256);
    });
    assert_eq!(build(&room), Ok(()));
}

#[test]
fn the_rollout_key_names_nothing_outside_its_own_role() {
    let claim = |thief: &Thief| {
        let name = "env.prod.desired.json";
        let target = thief.target(name, b"{}");
        thief.forge("rollout.prod", |signed| signed["targets"][name] = target);
    };
    let room = fleet("rollout");
    claim(&Thief::with(&room, &["online/rollout.pem"]));
    assert!(manifest(&room).is_err());

    let room = fleet("rollout-online");
    let before = manifest(&room).unwrap();
    claim(&Thief::with(&room, &["online/rollout.pem", ONLINE[0], ONLINE[1]]));
    assert_eq!(manifest(&room).unwrap(), before);
    assert_eq!(build(&room), Ok(()));
}

#[test]
fn the_snapshot_key_alone_is_nothing() {
    let room = fleet("snapshot");
    let thief = Thief::with(&room, &[ONLINE[0]]);
    thief.forge_above(thief.role("snapshot"));
    assert!(manifest(&room).is_err());
}

#[test]
fn both_online_keys_mix_old_versions_for_new_devices_and_no_content_of_their_own() {
    let room = fleet("mix");
    let thief = Thief::with(&room, &ONLINE);
    let mut snapshot = thief.role("snapshot");
    let old = fs::read(thief.path("1.env.prod.json")).unwrap();
    snapshot["meta"]["env.prod.json"] = json!({ "version": 1, "length": old.len() });
    thief.forge_above(snapshot);
    assert_eq!(manifest(&room).unwrap().serial, 1);
    thief.want("prod", manifest(&room).unwrap(), |desired| desired.serial = 666);
    assert!(manifest(&room).is_err());
}

/// The roots of `out` as a device has them, and its `Now`.
fn rooted(out: &Path) -> tidelock_protocol::trust::Rooted {
    let now =
        Now { wall: look::clock().now.after(Duration::from_secs(5)), boot: Duration::ZERO, trusted: true };
    let mut roots = Roots::begin(&fs::read(out.join("metadata/1.root.json")).unwrap(), now).unwrap();
    while let Ok(next) = fs::read(out.join(format!("metadata/{}.root.json", roots.version() + 1))) {
        roots.accept(&next).unwrap();
    }
    roots.settle().unwrap()
}

#[test]
fn the_timestamp_key_alone_holds_devices_and_its_rotation_frees_them() {
    let room = fleet("timestamp");
    let real = fs::read(room.fleet.out().join("metadata/timestamp.json")).unwrap();
    let thief = Thief::with(&room, &[ONLINE[1]]);
    thief.forge_timestamp(thief.role("timestamp"), 1_000_000);
    manifest(&room).unwrap();
    let held = fs::read(room.fleet.out().join("metadata/timestamp.json")).unwrap();
    assert!(rooted(&room.fleet.out()).timestamp(Some(&held), &real).is_err(), "the real one looks old now");
    // Another snapshot than a published one is nothing he can make devices read.
    thief.forge_above(thief.role("snapshot"));
    assert!(manifest(&room).is_err());

    fs::write(room.fleet.out().join("metadata/timestamp.json"), &real).unwrap();
    room.rotate(ONLINE[1], Old::Gone);
    room.published();
    let new = fs::read(room.fleet.out().join("metadata/timestamp.json")).unwrap();
    let rooted = rooted(&room.fleet.out());
    assert!(!rooted.vouches_for_timestamp(&held));
    rooted.timestamp(None, &new).unwrap();
}

#[test]
fn whoever_may_only_write_to_the_published_directory_is_refused_by_devices_and_by_the_publisher() {
    let room = fleet("writer");
    let thief = Thief::with(&room, &[]);
    downgrade(&thief, &room);
    assert!(manifest(&room).is_err());
    assert!(room.publish().is_err(), "nothing is built on what was changed");
}

#[test]
fn whoever_may_push_is_every_key_of_the_publisher_and_leaves_a_name_and_rewrites_nothing() {
    let room = fleet("push");
    let thief = Thief::with(&room, &[]);
    let rules = fs::read_to_string(room.fleet.repository().join("fleet.toml")).unwrap();
    let named = rules.replace("[keys]\n", &format!("[keys]\nmallory = \"{}\"\n", thief.own.public_text()));
    let wide = named.replace("keys = [\"owner\"]", "keys = [\"owner\", \"mallory\"]");
    let wide = wide.replace("keys = [\"timestamp\"]", "keys = [\"timestamp\", \"mallory\"]");
    room.fleet.write("fleet.toml", wide);
    room.fleet.write("apps/hello/tree/greeting.txt", "evil\n");
    room.fleet.git(&[
        "commit",
        "--quiet",
        "--all",
        "--author",
        "Mallory <m@example.org>",
        "--message",
        "tidy",
    ]);
    room.published();
    let taken = manifest(&room).unwrap();
    assert_eq!(build(&room), Ok(()), "any release");
    let id = json!(thief.own.id().as_str());
    let has = |keys: &Value| keys.as_array().unwrap().contains(&id);
    let targets = thief.role("targets");
    let mut roles = targets["delegations"]["roles"].as_array().unwrap().iter();
    assert!(has(&roles.find(|role| role["name"] == "env.prod").unwrap()["keyids"]), "his key for a role");
    assert!(has(&thief.read("2.root.json")["signed"]["roles"]["timestamp"]["keyids"]), "and for any other");
    assert_eq!(taken.source.author, "Mallory <m@example.org>");
    assert_eq!(taken.source.commit, room.fleet.git(&["rev-parse", "HEAD"]));

    room.fleet.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    room.fleet.write("apps/hello/tree/greeting.txt", "nobody was here\n");
    room.fleet.commit("second again");
    assert_eq!(room.publish().unwrap().stopped.len(), 2);
    assert_eq!(manifest(&room).unwrap(), taken, "it stays until somebody says why it was rewritten");
}

#[test]
fn whoever_may_write_to_the_state_directory_has_nothing_signed_that_is_not_in_the_repository() {
    let room = fleet("state");
    let packed = room.fleet.state().join("packed");
    let tree = |commit: &str| room.fleet.git(&["rev-parse", &format!("{commit}:apps/hello/tree")]);
    let record = |commit: &str| packed.join(format!("{}.json", tree(commit)));
    room.fleet.write("apps/hello/tree/greeting.txt", "third\n");
    room.fleet.commit("third");
    // The next tree was packed long ago, as one with a hole; and another wish waits for prod.
    let old = fs::read_to_string(record("HEAD~2")).unwrap();
    fs::write(record("HEAD"), &old).unwrap();
    let mut wish = manifest(&room).unwrap();
    wish.serial = 666;
    wish.apps.clear();
    let pending = json!({ "format": 1, "since": "2026-01-01T00:00:00Z", "missing": [], "desired": wish });
    fs::create_dir_all(room.fleet.state().join("pending")).unwrap();
    fs::write(room.fleet.state().join("pending/prod.json"), pending.to_string()).unwrap();
    room.published();
    let taken = manifest(&room).unwrap();
    let build = taken.apps[&"hello".parse().unwrap()][0].stable.platforms.values().next().unwrap();
    assert_eq!(taken.serial, 3);
    assert!(!old.contains(&build.tree.to_string()), "the old tree was signed under the name of the new one");
    assert!(!fs::read_to_string(record("HEAD")).unwrap().contains(&old), "and the record is not kept");
}

#[test]
fn whoever_may_write_there_and_push_does_not_have_a_rewritten_history_taken_without_a_reason() {
    let room = fleet("state-rewrite");
    room.fleet.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    room.fleet.write("apps/hello/tree/greeting.txt", "rewritten\n");
    room.fleet.commit("rewritten");
    assert_eq!(room.publish().unwrap().stopped.len(), 2);
    // As if prod had been accepted once, and waited for a signature since.
    let mut wish = manifest(&room).unwrap();
    wish.source.commit = room.fleet.git(&["rev-parse", "HEAD~1"]);
    let pending = json!({ "format": 1, "since": "2026-01-01T00:00:00Z", "missing": [], "desired": wish });
    fs::create_dir_all(room.fleet.state().join("pending")).unwrap();
    fs::write(room.fleet.state().join("pending/prod.json"), pending.to_string()).unwrap();
    let before = manifest(&room).unwrap();
    assert_eq!(room.publish().unwrap().stopped.len(), 2, "both still wait for somebody's reason");
    assert_eq!(manifest(&room).unwrap(), before);
}
