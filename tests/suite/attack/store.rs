//! The trust store: what it remembers, what it reports when it is lost, and when the entity tag may be used.

use tidelock_protocol::digest::Digest;
use tidelock_protocol::trust::Error;

use super::*;

attacks! {
    the_manifest_survives_a_restart_without_a_network(world) {
        assert_eq!(world.restart(), Found::Known);
        world.site.lie("", Reply::Status(500));
        assert_eq!(world.update().unwrap_err().kind(), Kind::Unreachable);
        assert_eq!(world.believes(), "1");
    }

    a_lost_file_is_reported_until_the_next_complete_walk(world) {
        for lost in ["root.json", "timestamp.json", "snapshot.json", "targets.json", "walk"] {
            std::fs::remove_file(world.scratch.join("trust").join(lost)).unwrap();
            assert_eq!((world.restart(), world.trust.is_lost()), (Found::Lost, true), "{lost}");
            world.site.lie("env.prod", Reply::Status(500));
            world.update().unwrap_err();
            assert!(world.trust.is_lost(), "half a walk mends nothing");
            assert_eq!((world.restart(), world.trust.is_lost()), (Found::Known, true), "{lost}");
            world.site.repent();
            world.update().unwrap();
            assert_eq!((world.restart(), world.trust.is_lost()), (Found::Known, false), "{lost}");
        }
    }

    a_cut_off_file_is_a_lost_one(world) {
        for lost in ["root.json", "snapshot.json", "walk"] {
            let path = world.scratch.join("trust").join(lost);
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            assert_eq!(world.restart(), Found::Lost, "{lost}");
            world.update().unwrap();
        }
    }

    altered_bytes_are_never_believed(world) {
        let path = world.scratch.join("trust/env.prod.json");
        let altered = std::fs::read_to_string(&path).unwrap().replace(r#""version":1"#, r#""version":9"#);
        std::fs::write(&path, altered).unwrap();
        assert_eq!(world.believes(), "1", "the last complete walk is remembered");
        let desired = world.scratch.join("trust/desired");
        let altered = std::fs::read_to_string(&desired).unwrap().replace(r#""serial":1"#, r#""serial":9"#);
        std::fs::write(&desired, altered).unwrap();
        assert_eq!(world.trust.manifest(&prod()), None);
        world.update().unwrap();
        assert_eq!(world.trust.manifest(&prod()).unwrap().desired.serial, 1);
    }

    another_root_in_etc_begins_trust_anew_and_says_so(world) {
        let other = Repository::tidelock();
        let root = other.files["metadata/1.root.json"].clone();
        let (trust, found) = Trust::open(&world.scratch.join("trust"), Some(&root), floor()).unwrap();
        assert_eq!(found, Found::Moved);
        assert!(trust.manifest(&prod()).is_none());
        world.trust = trust;
        *world.site.repository() = other;
        world.update().unwrap();
        assert!(!world.trust.is_lost());
    }

    an_idle_poll_writes_nothing(world) {
        world.update().unwrap();
        let before = listed(&world);
        world.update().unwrap();
        assert_eq!(listed(&world), before);
    }
}

/// The store's files and when they were written.
fn listed(world: &World) -> Vec<(std::ffi::OsString, std::time::SystemTime)> {
    let entries = std::fs::read_dir(world.scratch.join("trust")).unwrap().map(Result::unwrap);
    let mut files: Vec<_> =
        entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap())).collect();
    files.sort();
    files
}

#[test]
fn the_tag_is_used_only_after_a_complete_walk() {
    let mut world = World::new(Order::TimestampFirst);
    world.site.lie("2.env.prod", Reply::Status(503));
    world
        .after(|repository| {
            repository.release("2");
            repository.publish_release();
        })
        .unwrap_err();
    assert_eq!(world.version("timestamp"), 2, "the new timestamp is stored");
    world.site.repent();
    world.site.take_asked();
    world.restart();
    world.update().unwrap();
    let asked = world.site.take_asked().join(" ");
    assert!(asked.contains("2.env.prod env.prod.desired.json") && !asked.contains('='), "{asked}");
    assert_eq!(world.believes(), "2");
    world.update().unwrap();
    assert_eq!(world.site.take_asked().join(" "), "timestamp=");
}

#[test]
fn a_walk_whose_record_was_cut_is_walked_to_its_end() {
    for tags in [true, false] {
        let mut world = World::new(Order::TimestampFirst);
        world.site.tag(tags);
        let record = world.scratch.join("trust/walk");
        let before = std::fs::read(&record).unwrap();
        world
            .after(|repository| {
                repository.release("2");
                repository.publish_release();
            })
            .unwrap();
        // As a cut before the last rename leaves it: all that was verified is there, and the record is the old one.
        std::fs::rename(&record, world.scratch.join("trust/walk.new")).unwrap();
        std::fs::write(&record, before).unwrap();
        world.restart();
        world.update().unwrap();
        assert!(!world.scratch.join("trust/walk.new").exists());
        world.site.take_asked();
        world.update().unwrap();
        assert_eq!(world.site.take_asked().join(" "), if tags { "timestamp=" } else { "timestamp" });
    }
}

#[test]
fn the_tag_of_bytes_that_are_no_longer_stored_is_never_sent() {
    let mut world = World::new(Order::TimestampFirst);
    let old = world.site.repository().clone();
    world.site.repository().publish(&["timestamp"]);
    let newer = world.site.repository().files["metadata/timestamp.json"].clone();
    // As a cut between a new timestamp and the record of its walk leaves it.
    std::fs::write(world.scratch.join("trust/timestamp.json"), newer).unwrap();
    *world.site.repository() = old;
    disbelieved!(world.update(), Error::Rollback { found: 1, stored: 2, .. });
    assert!(!world.site.take_asked().join(" ").contains('='));
}

#[test]
fn the_tag_of_bytes_that_were_not_stored_is_never_sent() {
    let mut world = World::new(Order::TimestampFirst);
    world.site.repository()["timestamp"]["x-other"] = Value::Bool(true);
    world.site.repository().publish_again("timestamp");
    for _ in 0..2 {
        world.update().unwrap();
        assert!(!world.site.take_asked().join(" ").contains('='), "same version, other words");
    }
}

#[test]
fn a_server_without_tags_is_polled_as_well() {
    let mut world = World::new(Order::TimestampFirst);
    world.site.tag(false);
    world.after(|repository| repository.publish(&["timestamp"])).unwrap();
    world.site.take_asked();
    world.update().unwrap();
    assert_eq!(world.site.take_asked().join(" "), "timestamp");
}

#[test]
fn a_lying_not_modified_gives_nothing_but_the_stored_bytes() {
    let mut world = World::new(Order::TimestampFirst);
    world.site.repository()["timestamp"]["expires"] = day(7);
    world.after(|repository| repository.publish(&["timestamp"])).unwrap();
    world.site.lie("timestamp", Reply::Status(304));
    world.reading = reading(0);
    world.update().unwrap();
    world.reading = reading(8);
    assert!(world.update().is_err(), "it expired, whatever the server says");
}

#[test]
fn join_finds_the_published_root_of_a_digest() {
    let mut repository = Repository::tidelock();
    repository.rotate("root");
    repository.publish(&["root", "root"]);
    let wanted = repository.files["metadata/2.root.json"].clone();
    let site = Site::serve(repository);
    let http = client(&site.url());
    let find = |digest: &Digest| tidelock::io::refresh::find_root(&http, digest);
    assert_eq!(find(&Digest::of(&wanted)).unwrap(), wanted);
    assert_eq!(site.take_asked().join(" "), "1.root 2.root");
    assert!(matches!(find(&Digest::of(b"")), Err(Failure::NoSuchRoot { last: 3, .. })));
    site.lie("2.root", Reply::Status(500));
    assert_eq!(find(&Digest::of(&wanted)).unwrap_err().kind(), Kind::Unreachable);
}

/// What a walk may break off at, when everything changed.
const STEPS: [&str; 6] =
    ["timestamp", "2.snapshot", "2.targets", "2.env.prod", "env.prod.desired.json", "nothing"];

#[test]
fn half_a_walk_takes_nothing_away_wherever_it_ends() {
    for step in STEPS {
        let mut world = World::new(Order::TimestampFirst);
        world.site.lie(step, Reply::Status(503));
        let answer = world.after(|repository| {
            repository.release("2");
            repository.publish(&["app.web", "env.prod", "targets", "snapshot", "timestamp"]);
        });
        let expected = if step == "nothing" { "2" } else { "1" };
        assert_eq!((answer.is_ok(), &*world.believes()), (step == "nothing", expected), "{step}");
        world.restart();
        assert_eq!(world.believes(), expected, "{step}");
        world.site.repent();
        world.update().unwrap();
        assert_eq!(world.believes(), "2", "{step}");
    }
}

#[test]
fn a_change_is_asked_for_in_the_order_of_the_specification() {
    for (order, first) in
        [(Order::RootFirst, "2.root timestamp"), (Order::TimestampFirst, "timestamp 2.root")]
    {
        let mut world = World::new(order);
        let change = |repository: &mut Repository| {
            repository.release("2");
            repository.publish(&["app.web", "env.prod", "targets", "snapshot", "timestamp"]);
        };
        world.after(change).unwrap();
        let asked = world.site.take_asked().join(" ");
        assert_eq!(asked, format!("{first} 2.snapshot 2.targets 2.env.prod env.prod.desired.json"));
    }
}
