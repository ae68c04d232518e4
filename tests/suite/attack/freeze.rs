//! News held back, clocks moved, and the floor of time that signatures give.

use serde_json::json;
use tidelock_protocol::trust::Error;

use super::*;

/// A board whose clock nobody has set: so many seconds after it started.
fn unsynchronised(boot: u64) -> Reading {
    Reading { civil: Timestamp::from_unix(10), boot: Duration::from_secs(boot), synchronised: false }
}

/// One more timestamp, signed on that day.
fn sign_on(repository: &mut Repository, days: i64) {
    repository.sign_at(reading(days).civil);
    repository.publish(&["timestamp"]);
}

attacks! {
    an_expired_role_is_refused_and_what_came_before_it_is_kept(world) {
        let kept = [("timestamp", [1, 1, 1, 1]), ("snapshot", [1, 3, 1, 1]), ("targets", [1, 4, 4, 1])];
        for (role, versions) in kept {
            let answer = world.after(|repository| {
                let expires = std::mem::replace(&mut repository[role]["expires"], day(-5));
                repository.publish(&["targets", "snapshot", "timestamp"]);
                repository[role]["expires"] = expires;
            });
            assert_eq!(answer.as_ref().unwrap_err().kind(), Kind::Expired);
            disbelieved!(answer, Error::Expired { .. });
            assert_eq!(world.versions(), versions, "{role}");
        }
        assert_eq!(world.version("env.prod"), 1);
    }

    an_expired_environment_is_refused(world) {
        let answer = world.after(|repository| {
            repository["env.prod"]["expires"] = day(-1);
            repository.publish_release();
        });
        disbelieved!(answer, Error::Expired { .. });
    }

    a_server_that_repeats_itself_is_believed_until_its_metadata_expires_and_no_longer(world) {
        world.after(|repository| {
            repository["timestamp"]["expires"] = day(7);
            repository.publish(&["timestamp"]);
        }).unwrap();
        world.reading = reading(6);
        world.update().unwrap();
        world.reading = reading(7);
        disbelieved!(world.update(), Error::Expired { .. });
        assert_eq!(world.believes(), "1", "what is installed is still known");
        let expires = world.trust.manifest(&prod()).unwrap().expires;
        assert_eq!(expires, reading(7).civil);
    }

    metadata_that_expired_here_is_healed_by_new_metadata(world) {
        world.after(|repository| {
            repository["timestamp"]["expires"] = day(7);
            repository.publish(&["timestamp"]);
        }).unwrap();
        world.reading = reading(18);
        world.after(|repository| {
            repository["timestamp"]["expires"] = day(21);
            repository.publish(&["targets", "snapshot", "timestamp"]);
        }).unwrap();
        assert_eq!(world.versions(), [1, 3, 2, 2]);
    }

    an_unsynchronised_clock_is_not_asked_and_expiry_is_judged_at_the_floor(world) {
        world.after(|repository| sign_on(repository, 0)).unwrap();
        world.reading = unsynchronised(2000);
        assert_eq!(world.trust.now(world.reading).wall.unix() - reading(0).civil.unix(), 1000);
        let answer = world.after(|repository| {
            repository["snapshot"]["expires"] = day(-1);
            repository.publish(&["snapshot", "timestamp"]);
        });
        disbelieved!(answer, Error::Expired { .. });
    }

    the_floor_outlives_a_restart_and_never_falls_with_an_older_signature(world) {
        world.after(|repository| sign_on(repository, 3)).unwrap();
        world.after(|repository| sign_on(repository, 1)).unwrap();
        world.restart();
        assert_eq!(world.trust.now(unsynchronised(1000)).wall, reading(3).civil);
        assert_eq!(world.trust.now(reading(0)).wall, reading(3).civil, "nor below it by a synchronised clock");
    }

    half_a_walk_teaches_nothing_about_time(world) {
        world.site.lie("2.targets", Reply::Status(503));
        world.after(|repository| {
            repository.sign_at(reading(3).civil);
            repository.publish(&["targets", "snapshot", "timestamp"]);
        }).unwrap_err();
        assert_eq!(world.version("timestamp"), 2);
        assert_eq!(world.trust.now(unsynchronised(1000)).wall.unix(), 1000);
        world.site.repent();
        world.update().unwrap();
        assert_eq!(world.trust.now(unsynchronised(1000)).wall, reading(3).civil);
    }

    a_stolen_timestamp_key_pushes_time_no_further_than_offline_keys_allow(world) {
        world.after(|repository| {
            repository["targets"]["expires"] = day(300);
            repository["root"]["expires"] = day(400);
            repository.publish(&["root", "targets", "snapshot"]);
            repository["timestamp"]["expires"] = json!("2099-01-01T00:00:00Z");
            sign_on(repository, 10_000);
        }).unwrap();
        assert_eq!(world.trust.now(unsynchronised(1000)).wall, reading(300).civil);
    }

    time_that_a_stolen_key_pushed_falls_with_that_key(world) {
        world.after(|repository| {
            repository["targets"]["expires"] = day(300);
            repository.publish(&["targets", "snapshot"]);
            sign_on(repository, 299);
        }).unwrap();
        world.reading = unsynchronised(1000);
        let walk = world.after(|repository| {
            repository.rotate("timestamp");
            repository["timestamp"]["expires"] = day(7);
            repository.publish(&["root"]);
            sign_on(repository, 0);
        });
        walk.unwrap();
        assert_eq!(world.trust.now(world.reading).wall, reading(0).civil);
        world.restart();
        assert_eq!(world.trust.now(world.reading).wall, reading(0).civil);
    }
}

#[test]
fn the_root_is_asked_for_daily_whatever_the_timestamp_says() {
    let mut world = World::new(Order::TimestampFirst);
    for (days, asked) in
        [(0, "timestamp="), (1, "2.root timestamp"), (1, "timestamp="), (2, "2.root timestamp")]
    {
        world.reading = reading(days);
        world.update().unwrap();
        assert_eq!(world.site.take_asked().join(" "), asked, "day {days}");
    }
    world.reading = reading(0);
    world.update().unwrap();
    assert_eq!(
        world.site.take_asked().join(" "),
        "2.root timestamp",
        "time went back: nobody knows how long ago it was"
    );
}

#[test]
fn a_revoked_key_is_noticed_within_a_day_though_the_timestamp_says_nothing() {
    let mut world = World::new(Order::TimestampFirst);
    world.site.repository().rotate("timestamp");
    world.site.repository().publish(&["root"]);
    world.update().unwrap();
    world.reading = reading(1);
    disbelieved!(world.update(), Error::Threshold { .. });
    assert_eq!(world.version("root"), 2);
}
