//! Keys that are missing, rotated, exposed; clocks; what is signed anew when.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tidelock_protocol::time::Timestamp;
use tidelock_server::keys::{Keyring, Secret};
use tidelock_server::look;
use tidelock_server::publish::{self, Directory, Effect, Input, Plan, Published, Rule, Rules};
use tidelock_server::turn;

use tidelock_tests::programs::Ours;
use tidelock_tests::publisher::{Device, Old, Room, listing};
use tidelock_tests::scratch::Scratch;

#[test]
fn an_environment_without_its_owners_key_waits_whole_and_says_who_is_missing() {
    let room = Room::new("pending");
    room.published();
    let key = room.fleet.keys().join("owner/owner.pem");
    let elsewhere = room.scratch.join("owner.pem");
    fs::rename(&key, &elsewhere).unwrap();
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    let second = room.fleet.commit("second");
    let ran = room.fleet.publish();
    assert_eq!(ran.code, 6, "{}", ran.said());
    assert!(
        ran.said().contains("env.prod is signed by 0 of the 1 it takes; still missing: owner"),
        "{}",
        ran.said()
    );
    assert_eq!(room.device().desired("prod").serial, 1);
    let waiting = fs::read_to_string(room.fleet.state().join("pending/prod.json")).unwrap();
    assert!(waiting.contains(&second), "{waiting}");

    let before = (listing(&room.fleet.out()), listing(&room.fleet.state()));
    let again = room.publish().unwrap();
    assert_eq!((again.is_unchanged(), again.waiting.len()), (true, 2));
    assert_eq!((listing(&room.fleet.out()), listing(&room.fleet.state())), before);

    fs::rename(&elsewhere, &key).unwrap();
    room.published();
    assert_eq!(room.device().desired("prod").source.commit, second);
    assert!(!room.fleet.state().join("pending/prod.json").exists());
}

#[test]
fn without_the_builders_key_a_new_release_waits_but_what_is_known_goes_on() {
    let room = Room::new("builder");
    room.published();
    let first = room.device().version("staging", "hello");
    fs::remove_file(room.fleet.keys().join("builder/builder.pem")).unwrap();
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet
        .write("environments/prod.toml", format!("[apps]\nhello = {{ release = \"{first}\", retry = 1 }}\n"));
    room.fleet.commit("second");
    let outcome = room.publish().unwrap();
    let waiting: Vec<_> =
        outcome.waiting.iter().map(|waiting| waiting.desired.environment.as_str()).collect();
    assert_eq!(waiting, ["staging"]);
    assert_eq!(outcome.waiting[0].missing[0].role, "app.hello");
    assert_eq!(room.device().desired("prod").serial, 2);
    assert_eq!(room.device().desired("staging").serial, 1);
}

#[test]
fn without_an_online_key_nothing_is_published_and_everything_waits() {
    let room = Room::new("online");
    room.published();
    fs::remove_file(room.fleet.keys().join("online/snapshot.pem")).unwrap();
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.commit("second");
    let before = listing(&room.fleet.out().join("metadata"));
    let outcome = room.publish().unwrap();
    assert_eq!(outcome.waiting.len(), 2);
    assert!(
        outcome.missing.iter().any(|missing| missing.role == "snapshot" && missing.people == ["snapshot"])
    );
    assert_eq!(listing(&room.fleet.out().join("metadata")), before);
    // The bundle is packed once, although nothing names it yet.
    let targets = listing(&room.fleet.out().join("targets"));
    room.publish().unwrap();
    assert_eq!(listing(&room.fleet.out().join("targets")), targets);
}

#[test]
fn a_new_environment_waits_for_the_offline_key_and_then_is_delegated_by_the_same_command() {
    let room = Room::new("delegate");
    room.published();
    let key = room.fleet.keys().join("offline/offline.pem");
    let elsewhere = room.scratch.join("offline.pem");
    fs::rename(&key, &elsewhere).unwrap();
    let rules = fs::read_to_string(room.fleet.repository().join("fleet.toml")).unwrap();
    room.fleet
        .write("fleet.toml", format!("{rules}\n[environments.lab]\nowner = \"git\"\nkeys = [\"owner\"]\n"));
    room.fleet.write("environments/lab.toml", "[apps]\nhello = \"follow\"\n");
    room.fleet.commit("a lab");
    let outcome = room.publish().unwrap();
    assert!(outcome.missing.iter().any(|missing| missing.role == "targets"), "{outcome}");
    assert_eq!(outcome.waiting.len(), 1);
    room.device().desired("prod");
    fs::rename(&elsewhere, &key).unwrap();
    room.published();
    assert_eq!(room.device().desired("lab").serial, 1);
}

#[test]
fn a_retired_environment_is_emptied_and_never_removed() {
    let room = Room::new("retire");
    room.published();
    let rules = fs::read_to_string(room.fleet.repository().join("fleet.toml")).unwrap();
    let (kept, _) = rules.split_once("[environments.prod]").unwrap();
    room.fleet.write("fleet.toml", kept);
    room.fleet.git(&["rm", "--quiet", "environments/prod.toml"]);
    room.fleet.commit("no prod");
    room.published();
    let device = room.device();
    assert!(device.find("env.prod.desired.json").unwrap().is_none());
    device.desired("staging");
    assert!(room.published().is_unchanged());
}

#[test]
fn each_key_is_rotated_while_devices_keep_the_first_root() {
    let room = Room::new("rotate");
    room.published();
    for file in ["owner/owner.pem", "builder/builder.pem", "online/rollout.pem"] {
        room.rotate(file, Old::Gone);
        room.published();
        room.device().desired("prod");
    }
    for file in ["online/snapshot.pem", "online/timestamp.pem", "offline/offline.pem"] {
        room.rotate(file, Old::AtHand);
        let outcome = room.published();
        assert!(outcome.signed.iter().any(|(role, _)| role == "root"), "{outcome}");
        room.device().desired("prod");
        assert!(room.published().is_unchanged());
    }
}

#[test]
fn a_lost_online_key_is_replaced_by_the_offline_key_alone() {
    let room = Room::new("lost");
    room.published();
    room.rotate("online/timestamp.pem", Old::Gone);
    room.published();
    room.device().desired("prod");
}

#[test]
fn a_root_without_the_old_offline_key_waits_and_everything_else_goes_on() {
    let room = Room::new("oldroot");
    room.published();
    room.rotate("offline/offline.pem", Old::Gone);
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.commit("second");
    let outcome = room.publish().unwrap();
    assert!(outcome.missing.iter().any(|missing| missing.role == "root"), "{outcome}");
    assert_eq!(room.device().desired("prod").serial, 2);
}

#[test]
fn an_exposed_key_and_a_damaged_repository_stop_everything() {
    let room = Room::new("exposed");
    room.published();
    let key = room.fleet.keys().join("online/timestamp.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = room.fleet.publish();
    assert!(
        ran.code == 1 && ran.stderr.contains("mode 0644") && ran.stderr.contains("chmod 600"),
        "{}",
        ran.said()
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let role = room.fleet.out().join("metadata/1.app.hello.json");
    let text = fs::read_to_string(&role).unwrap();
    fs::write(&role, text.replacen("\"length\":", "\"length\":1", 1)).unwrap();
    match room.publish() {
        Err(turn::Error::Look(look::Trouble::Published(publish::Error::Damaged { path, .. }))) => {
            assert_eq!(path, role)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_publisher_at_a_time() {
    let room = Room::new("busy");
    room.published();
    let lock = Directory::at(&room.fleet.out()).lock().unwrap();
    assert_eq!(room.fleet.publish().code, 5);
    drop(lock);
    assert_eq!(room.fleet.publish().code, 0);
}

/// A repository of the publish room alone, at times of the test's choosing.
struct Shelf {
    room: Scratch,
    keyring: Keyring,
    rules: Rules,
}

const DAY: u64 = 86_400;

impl Shelf {
    fn new(name: &str) -> Self {
        let secrets: Vec<Secret> = (1..=5).map(|n| Secret::from_seed(&[n; 32])).collect();
        let rule = |n: usize, days: u64| Rule {
            keys: BTreeMap::from([(format!("key{n}"), secrets[n].public())]),
            threshold: std::num::NonZeroU32::MIN,
            life: Duration::from_secs(days * DAY),
        };
        let rules = Rules {
            root: rule(0, 365),
            snapshot: rule(1, 30),
            timestamp: rule(2, 7),
            resign: Duration::from_secs(6 * 3600),
            rollout: rule(3, 365),
            environments: BTreeMap::from([("prod".parse().unwrap(), rule(4, 365))]),
            apps: BTreeMap::new(),
            retained: 20,
        };
        let keyring = secrets.into_iter().collect();
        Self { room: Scratch::new(name), keyring, rules }
    }

    fn publish(&self, now: Timestamp) -> Result<Plan, publish::Error> {
        let directory = Directory::at(self.room.path());
        let lock = directory.lock().unwrap();
        let published = Published::read(self.room.path()).unwrap();
        let plan = publish::plan(&Input {
            rules: &self.rules,
            published: &published,
            keyring: &self.keyring,
            now,
            wanted: &BTreeMap::new(),
            rebased: &BTreeSet::new(),
            registrations: &BTreeMap::new(),
            roles: &BTreeMap::new(),
        })?;
        plan.effects.iter().for_each(|effect| directory.apply(&lock, effect).unwrap());
        Ok(plan)
    }
}

#[test]
fn roles_are_signed_anew_at_half_their_life_and_the_timestamp_every_six_hours() {
    let shelf = Shelf::new("halves");
    let start = Timestamp::from_unix(1_800_000_000);
    let at = |seconds| start.after(Duration::from_secs(seconds));
    let names = |plan: &Plan| plan.signed.iter().map(|(role, _)| role.clone()).collect::<Vec<_>>();
    assert_eq!(names(&shelf.publish(start).unwrap()).len(), 6);
    assert_eq!(shelf.publish(at(6 * 3600 - 1)).unwrap().effects, []);
    assert_eq!(names(&shelf.publish(at(6 * 3600)).unwrap()), ["timestamp"]);
    assert_eq!(names(&shelf.publish(at(15 * DAY)).unwrap()), ["snapshot", "timestamp"]);
    let all = ["root", "targets", "env.prod", "rollout.prod", "snapshot", "timestamp"];
    assert_eq!(names(&shelf.publish(at(183 * DAY)).unwrap()), all);
    Device::read_at(shelf.room.path(), at(184 * DAY)).unwrap();
    assert!(Device::read_at(shelf.room.path(), at(190 * DAY + 1)).is_err(), "the timestamp has expired");
}

#[test]
fn a_clock_that_went_back_signs_nothing() {
    let shelf = Shelf::new("back");
    let start = Timestamp::from_unix(1_800_000_000);
    shelf.publish(start).unwrap();
    let error = shelf.publish(Timestamp::from_unix(1_799_999_999)).unwrap_err();
    assert!(matches!(error, publish::Error::ClockBehind { .. }), "{error}");
}

#[test]
fn a_rotated_online_key_is_bridged_so_that_old_and_new_roots_both_find_it_whole() {
    let mut shelf = Shelf::new("bridge");
    let start = Timestamp::from_unix(1_800_000_000);
    shelf.publish(start).unwrap();
    let new = Secret::from_seed(&[9; 32]);
    shelf.rules.timestamp.keys = BTreeMap::from([("new".to_owned(), new.public())]);
    shelf.keyring = (1..=5).map(|n| Secret::from_seed(&[n; 32])).chain([new]).collect();
    let directory = Directory::at(shelf.room.path());
    let published = Published::read(shelf.room.path()).unwrap();
    let later = start.after(Duration::from_secs(60));
    let (wanted, rebased, registrations) = Default::default();
    let plan = publish::plan(&Input {
        rules: &shelf.rules,
        published: &published,
        keyring: &shelf.keyring,
        now: later,
        wanted: &wanted,
        rebased: &rebased,
        registrations: &registrations,
        roles: &BTreeMap::new(),
    });
    let effects = plan.unwrap().effects;
    let timestamps = effects.iter().filter(|effect| matches!(effect, Effect::Timestamp { .. })).count();
    assert_eq!(timestamps, 2);
    let lock = directory.lock().unwrap();
    for effect in &effects {
        directory.apply(&lock, effect).unwrap();
        Device::read_at(shelf.room.path(), later).unwrap();
    }
}

#[test]
fn init_takes_a_relative_place_and_closes_only_the_keys_to_others() {
    let scratch = Scratch::new("init");
    let made = std::process::Command::new(Ours::Server.path())
        .args(["init", "below/f"])
        .current_dir(scratch.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mode = |path: &str| fs::metadata(scratch.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("below/f/keys"), 0o700);
    assert_eq!((mode("below/f") & 0o055, mode("below/f/fleet") & 0o055), (0o055, 0o055));
}
