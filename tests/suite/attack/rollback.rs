//! Old states offered as new, and how a repository recovers from numbers that were pushed too far.

use serde_json::json;
use tidelock_protocol::trust::Error;
use tidelock_tests::repository::TOP;

use super::*;

/// Publishes a role with this version.
fn set(repository: &mut Repository, role: &str, version: u64) {
    repository[role]["version"] = json!(version - 1);
    repository.publish(&[role]);
}

attacks! {
    an_older_timestamp_is_refused(world) {
        world.after(|repository| repository.publish(&["timestamp"])).unwrap();
        let answer = world.after(|repository| set(repository, "timestamp", 1));
        disbelieved!(answer, Error::Rollback { found: 1, stored: 2, .. });
        assert_eq!(world.version("timestamp"), 2);
    }

    a_timestamp_of_the_same_version_with_other_words_changes_nothing(world) {
        world.after(|repository| {
            repository["timestamp"]["meta"]["snapshot.json"]["version"] = json!(100);
            repository.publish_again("timestamp");
        }).unwrap();
        assert!(world.site.take_asked().iter().all(|asked| !asked.contains("snapshot")));
        assert_eq!(world.versions(), [1, 1, 1, 1]);
    }

    an_older_snapshot_is_refused_with_and_without_digests(world) {
        for detailed in [true, false] {
            world.after(|repository| {
                repository.detailed = detailed;
                repository.publish(&["snapshot", "timestamp"]);
            }).unwrap();
            let stored = world.version("snapshot");
            let answer = world.after(|repository| {
                set(repository, "snapshot", stored - 1);
                repository.publish(&["timestamp"]);
            });
            disbelieved!(answer, Error::Rollback { .. });
            assert_eq!(world.version("snapshot"), stored);
            world.site.repository()["snapshot"]["version"] = json!(stored);
        }
    }

    older_targets_are_refused_with_and_without_digests(world) {
        for detailed in [true, false] {
            world.after(|repository| {
                repository.detailed = detailed;
                repository.publish(&["targets", "snapshot", "timestamp"]);
            }).unwrap();
            let stored = world.version("targets");
            let answer = world.after(|repository| {
                set(repository, "targets", stored - 1);
                repository.publish(&["snapshot", "timestamp"]);
            });
            disbelieved!(answer, Error::Rollback { .. });
            assert_eq!(world.version("targets"), stored);
            world.site.repository()["targets"]["version"] = json!(stored);
        }
    }

    an_older_environment_is_refused(world) {
        world.after(|repository| {
            repository.release("2");
            repository.publish_release();
        }).unwrap();
        let answer = world.after(|repository| {
            repository.release("1");
            set(repository, "env.prod", 1);
            repository.publish(&["snapshot", "timestamp"]);
        });
        disbelieved!(answer, Error::Rollback { found: 1, stored: 2, .. });
        assert_eq!(world.version("env.prod"), 2);
    }

    a_role_may_not_vanish_from_the_snapshot(world) {
        let answer = world.after(|repository| {
            repository["snapshot"]["meta"].as_object_mut().unwrap().remove("app.web.json");
            repository.publish(&["snapshot", "timestamp"]);
        });
        disbelieved!(answer, Error::Vanished { .. });
        assert_eq!(world.version("snapshot"), 1);
    }

    an_old_snapshot_counts_as_memory_even_when_it_expired(world) {
        world.after(|repository| {
            repository["snapshot"]["expires"] = day(1);
            repository.publish(&["targets", "snapshot", "timestamp"]);
        }).unwrap();
        world.reading = reading(2);
        let answer = world.after(|repository| {
            repository["snapshot"]["expires"] = day(30);
            set(repository, "targets", 1);
            repository.publish(&["snapshot", "timestamp"]);
        });
        disbelieved!(answer, Error::Rollback { found: 1, stored: 2, .. });
    }

    going_back_to_an_older_release_is_a_change_like_any_other(world) {
        for version in ["2", "1"] {
            world.after(|repository| {
                repository.release(version);
                repository.publish_release();
            }).unwrap();
            assert_eq!(world.believes(), version);
        }
    }

    a_timestamp_pushed_too_far_is_recovered_by_a_new_key(world) {
        world.after(|repository| set(repository, "timestamp", 1_000_000)).unwrap();
        disbelieved!(world.after(|repository| set(repository, "timestamp", 3)), Error::Rollback { .. });
        world.after(|repository| {
            repository.rotate("timestamp");
            repository.publish(&["root"]);
            set(repository, "timestamp", 1);
        }).unwrap();
        assert_eq!(world.version("timestamp"), 1);
    }

    a_snapshot_pushed_too_far_is_recovered_by_new_keys(world) {
        world.after(|repository| {
            set(repository, "snapshot", 1_000_000);
            repository.publish(&["timestamp"]);
        }).unwrap();
        world.after(|repository| {
            repository.rotate("snapshot");
            repository.rotate("timestamp");
            repository.publish(&["root"]);
            set(repository, "snapshot", 1);
            repository.publish(&["timestamp"]);
        }).unwrap();
        assert_eq!(world.version("snapshot"), 1);
    }

    targets_pushed_too_far_are_recovered_by_a_new_snapshot_key(world) {
        world.after(|repository| {
            set(repository, "targets", 1_000_000);
            repository.publish(&["snapshot", "timestamp"]);
        }).unwrap();
        world.after(|repository| {
            repository.rotate("snapshot");
            repository.publish(&["root"]);
            set(repository, "targets", 1);
            repository["snapshot"]["meta"].as_object_mut().unwrap().remove("app.web.json");
            repository.publish(&["snapshot", "timestamp"]);
        }).unwrap();
        assert_eq!(world.version("targets"), 1);
    }

    a_rotated_key_signs_nothing_more(world) {
        world.after(|repository| {
            repository.rotate("timestamp");
            repository.publish(&TOP);
        }).unwrap();
        let old = Repository::tidelock();
        let answer = world.after(|repository| {
            *repository.signers("timestamp") = old.clone().signers("timestamp").clone();
            repository.publish(&["timestamp"]);
        });
        disbelieved!(answer, Error::Threshold { valid: 0, .. });
        assert_eq!(world.version("timestamp"), 2);
    }
}
