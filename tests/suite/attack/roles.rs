//! Timestamp, snapshot, targets and what is below them: signatures, forms, digests, lengths, missing files.

use serde_json::json;
use tidelock_protocol::trust::Error;
use tidelock_tests::repository::{Secret, TOP};

use super::*;

/// Everything below the root, published anew.
const BELOW: [&str; 5] = ["app.web", "env.prod", "targets", "snapshot", "timestamp"];

/// Publishes version 3 of a role under the name of version 2.
fn misname(repository: &mut Repository, role: &str, above: &[&str]) {
    repository.detailed = false;
    repository.publish(&[role]);
    repository[role]["version"] = json!(3);
    let bytes = repository.signed(role);
    repository.files.insert(format!("metadata/2.{role}.json"), bytes);
    repository.publish(above);
}

attacks! {
    a_role_that_its_keys_did_not_sign_is_refused_and_what_came_before_it_is_kept(world) {
        let kept = [("timestamp", [1, 1, 1, 1]), ("snapshot", [1, 3, 1, 1]), ("targets", [1, 4, 4, 1])];
        for (role, versions) in kept {
            let answer = world.after(|repository| {
                let signers = std::mem::replace(repository.signers(role), vec![Secret::ed25519()]);
                repository.publish(&BELOW);
                *repository.signers(role) = signers;
            });
            disbelieved!(answer, Error::Threshold { valid: 0, needed: 1, .. });
            assert_eq!(world.versions(), versions, "{role}");
        }
        world.after(|repository| repository.publish(&BELOW)).unwrap();
    }

    a_delegated_role_that_its_keys_did_not_sign_is_refused(world) {
        let answer = world.after(|repository| {
            let signers = std::mem::replace(repository.signers("env.prod"), vec![Secret::ed25519()]);
            repository.release("2");
            repository.publish_release();
            *repository.signers("env.prod") = signers;
        });
        disbelieved!(answer, Error::Threshold { valid: 0, .. });
        assert_eq!(world.version("env.prod"), 1);
    }

    too_few_of_the_keys_are_not_enough(world) {
        world.after(|repository| {
            for _ in 0..2 {
                repository.add_key("snapshot", Secret::ed25519());
            }
            repository["root"]["roles"]["snapshot"]["threshold"] = json!(3);
            repository.publish(&["root", "snapshot", "timestamp"]);
        }).unwrap();
        let answer = world.after(|repository| {
            repository.signers("snapshot").pop();
            repository.publish(&["snapshot", "timestamp"]);
        });
        disbelieved!(answer, Error::Threshold { valid: 2, needed: 3, .. });
        assert_eq!(world.version("snapshot"), 2);
    }

    more_signatures_than_keys_can_never_reach_the_threshold(world) {
        let answer = world.after(|repository| {
            for _ in 0..4 {
                repository.add_key("snapshot", Secret::ed25519());
            }
            repository["root"]["roles"]["snapshot"]["threshold"] = json!(6);
            repository.publish(&["root", "snapshot", "timestamp"]);
        });
        disbelieved!(answer, Error::Threshold { valid: 5, needed: 6, .. });
        assert_eq!(world.versions()[..3], [2, 2, 1]);
    }

    two_signatures_of_one_key_id_are_refused_even_when_one_would_do(world) {
        let answer = world.after(|repository| {
            repository.publish(&["timestamp"]);
            repository.tamper("metadata/timestamp.json", |timestamp| {
                let first = timestamp["signatures"][0].clone();
                timestamp["signatures"].as_array_mut().unwrap().push(first);
            });
        });
        disbelieved!(answer, Error::SignedTwice { .. });
    }

    a_broken_signature_beside_a_good_one_does_no_harm(world) {
        for broken in ["", "zz", "00", &"ab".repeat(64)] {
            world.after(|repository| {
                let other = Secret::ed25519();
                let id = other.id();
                repository.add_key("timestamp", other);
                repository.publish(&["root", "timestamp"]);
                repository.tamper("metadata/timestamp.json", |timestamp| {
                    for signature in timestamp["signatures"].as_array_mut().unwrap() {
                        if signature["keyid"] == json!(id) {
                            signature["sig"] = json!(broken);
                        }
                    }
                });
            }).unwrap();
        }
    }

    a_changed_byte_breaks_the_signature(world) {
        let answer = world.after(|repository| {
            repository.publish(&["timestamp"]);
            repository.tamper("metadata/timestamp.json", |timestamp| timestamp["signed"]["version"] = json!(99));
        });
        disbelieved!(answer, Error::Threshold { valid: 0, .. });
    }

    one_role_does_not_pass_for_another(world) {
        let answer = world.after(|repository| {
            let timestamp = repository.signers("timestamp")[0].clone();
            repository.signers("snapshot").push(timestamp);
            repository["snapshot"]["meta"] = json!({"snapshot.json": {"version": 1}, "targets.json": {"version": 1}});
            repository.publish(&["snapshot"]);
            let disguised = repository.files["metadata/2.snapshot.json"].clone();
            repository.files.insert("metadata/timestamp.json".into(), disguised);
        });
        disbelieved!(answer, Error::Unreadable { .. });
        assert_eq!(world.version("timestamp"), 1);
    }

    a_snapshot_with_another_version_than_its_name_is_refused(world) {
        let answer = world.after(|repository| misname(repository, "snapshot", &["timestamp"]));
        disbelieved!(answer, Error::Version { found: 3, expected: 2, .. });
        assert_eq!(world.versions(), [1, 2, 1, 1]);
    }

    targets_with_another_version_than_their_name_are_refused(world) {
        let answer = world.after(|repository| misname(repository, "targets", &["snapshot", "timestamp"]));
        disbelieved!(answer, Error::Version { found: 3, expected: 2, .. });
        assert_eq!(world.versions(), [1, 2, 2, 1]);
    }

    a_snapshot_that_the_timestamp_does_not_mean_is_refused(world) {
        let answer = world.after(|repository| {
            repository.publish(&["snapshot"]);
            repository["timestamp"]["meta"]["snapshot.json"]["hashes"]["sha256"] = json!("00".repeat(32));
            repository.publish(&["timestamp"]);
        });
        disbelieved!(answer, Error::Digest { algorithm: "sha256", .. });
        assert_eq!(world.versions(), [1, 2, 1, 1]);
    }

    targets_that_the_snapshot_does_not_mean_are_refused(world) {
        let answer = world.after(|repository| {
            repository.publish(&["targets"]);
            repository["snapshot"]["meta"]["targets.json"]["hashes"]["sha256"] = json!("00".repeat(32));
            repository.publish(&["snapshot", "timestamp"]);
        });
        disbelieved!(answer, Error::Digest { algorithm: "sha256", .. });
        assert_eq!(world.versions(), [1, 2, 2, 1]);
    }

    a_digest_of_a_kind_that_nobody_knows_is_no_digest(world) {
        let answer = world.after(|repository| {
            repository.publish(&["snapshot"]);
            repository["timestamp"]["meta"]["snapshot.json"]["hashes"] = json!({"md5": "00"});
            repository.publish(&["timestamp"]);
        });
        disbelieved!(answer, Error::NoKnownDigest { .. });
    }

    files_without_stated_lengths_and_digests_are_read_too(world) {
        world.after(|repository| {
            repository.detailed = false;
            repository.release("2");
            repository.publish(&BELOW);
        }).unwrap();
        assert_eq!(world.believes(), "2");
    }

    a_file_longer_than_stated_is_not_read_to_its_end(world) {
        let answer = world.after(|repository| {
            repository.publish(&["snapshot", "timestamp"]);
            repository.files.get_mut("metadata/2.snapshot.json").unwrap().extend([b' '; 9]);
        });
        let error = answer.unwrap_err();
        assert!(format!("{error}").contains("longer than"), "{error}");
        assert_eq!(world.version("snapshot"), 1);
    }

    metadata_without_end_is_cut_at_the_limit_of_its_role(world) {
        for (file, role) in [("2.root", "root"), ("timestamp", "timestamp"), ("2.snapshot", "snapshot"), ("2.targets", "targets")] {
            world.site.repent();
            world.site.lie(file, Reply::Bytes(vec![b' '; 3 << 20]));
            let answer = world.after(|repository| {
                repository.detailed = false;
                if role != "root" {
                    repository["targets"]["version"] = json!(1);
                    repository["snapshot"]["version"] = json!(1);
                }
                repository.publish(&["targets", "snapshot", "timestamp"]);
            });
            let error = answer.unwrap_err();
            assert!(format!("{error}").contains("longer than"), "{role}: {error}");
        }
        assert_eq!(world.version("targets"), 1);
    }

    a_file_that_its_metadata_names_and_the_server_lacks_ends_the_walk_there(world) {
        for (role, versions) in [("snapshot", [1, 2, 1, 1]), ("targets", [1, 3, 3, 1])] {
            let answer = world.after(|repository| {
                repository.publish(&["targets", "snapshot", "timestamp"]);
                let version = repository[role]["version"].clone();
                repository.files.remove(&format!("metadata/{version}.{role}.json"));
            });
            let error = answer.unwrap_err();
            assert!(matches!(&error, Failure::Missing { path } if path.ends_with(&format!("{role}.json"))), "{error:?}");
            assert_eq!((world.versions(), error.kind()), (versions, Kind::Unreachable));
        }
        world.site.repository().unpublish("timestamp");
        assert!(matches!(world.update(), Err(Failure::Missing { path }) if path == "metadata/timestamp.json"));
    }

    an_update_that_was_cut_short_goes_on_where_it_ended(world) {
        world.site.lie("2.targets", Reply::Status(503));
        world.after(|repository| repository.publish(&["targets", "snapshot", "timestamp"])).unwrap_err();
        assert_eq!(world.versions(), [1, 2, 2, 1]);
        world.site.repent();
        world.site.take_asked();
        world.update().unwrap();
        assert_eq!(world.site.take_asked().join(" "), "2.root timestamp 2.targets");
        assert_eq!(world.versions(), [1, 2, 2, 2]);
    }

    what_is_stored_is_what_was_received(world) {
        world.after(|repository| {
            repository.publish(&["timestamp"]);
            repository.files.get_mut("metadata/timestamp.json").unwrap().extend(b" \n ");
        }).unwrap();
        let stored = std::fs::read(world.scratch.join("trust/timestamp.json")).unwrap();
        assert_eq!(stored, world.site.repository().files["metadata/timestamp.json"]);
    }

    a_form_that_is_not_tuf_is_refused_in_every_role(world) {
        type Change = fn(&mut Value);
        let changes: [Change; 7] = [
            |role| role["expires"] = json!("tomorrow"),
            |role| role["expires"] = json!("2040-01-01T00:00:00+00:00"),
            |role| role["spec_version"] = json!("2.0.0"),
            |role| role["version"] = json!("2"),
            |role| role["_type"] = json!("mirrors"),
            |role| drop(role.as_object_mut().unwrap().remove("meta")),
            |role| role["meta"]["snapshot.json"]["version"] = json!(0),
        ];
        for change in changes {
            let answer = world.after(|repository| {
                let mut timestamp = repository["timestamp"].clone();
                timestamp["version"] = json!(2);
                change(&mut timestamp);
                let bytes = repository.signed_as("timestamp", &timestamp);
                repository.files.insert("metadata/timestamp.json".into(), bytes);
            });
            disbelieved!(answer, Error::Unreadable { .. } | Error::Malformed { .. });
        }
        assert_eq!(world.version("timestamp"), 1);
    }

    keys_of_the_lower_roles_can_be_of_every_kind(world) {
        world.after(|repository| {
            for (role, secret) in [("timestamp", Secret::rsa()), ("snapshot", Secret::ecdsa()), ("targets", Secret::rsa())] {
                repository.signers(role).clear();
                repository["root"]["roles"][role]["keyids"] = json!([]);
                repository.add_key(role, secret);
            }
            repository.publish(&TOP);
        }).unwrap();
        assert_eq!(world.versions(), [2, 2, 2, 2]);
    }
}

/// Keys, threshold and signers that a role is given, as the root says, and whether that is enough.
#[test]
fn rotations_of_the_lower_roles_end_where_the_specification_says() {
    const ALL: &[usize] = &[0, 1, 2, 3, 4];
    let cases: [(&[usize], u64, &[usize], bool); 9] = [
        (&[2], 1, &[2], true),
        (&[1], 1, &[3, 1, 4], true),
        (&[2], 1, &[1, 3, 4], false),
        (&[0, 1, 3, 4, 5], 3, &[0, 2, 4], false),
        (&[0, 1, 3, 4, 5], 3, &[0, 4], false),
        (ALL, 3, &[0, 2, 4], true),
        (ALL, 3, &[0, 4, 1], true),
        (ALL, 3, &[1, 2, 3], true),
        (ALL, 3, &[2, 3, 4], true),
    ];
    for (role, (keys, threshold, signers, enough)) in
        ["timestamp", "snapshot", "targets"].into_iter().flat_map(|role| cases.map(|case| (role, case)))
    {
        let mut world = World::new(Order::TimestampFirst);
        let answer = world.after(|repository| {
            let secrets: Vec<Secret> = (0..6).map(|_| Secret::ed25519()).collect();
            repository["root"]["roles"][role] = json!({"keyids": [], "threshold": threshold});
            for key in keys {
                repository.add_key(role, secrets[*key].clone());
            }
            *repository.signers(role) = signers.iter().map(|signer| secrets[*signer].clone()).collect();
            repository.publish(&TOP);
        });
        assert_eq!(answer.is_ok(), enough, "{role} {keys:?} {threshold} {signers:?}");
        assert_eq!(world.version(role), if enough { 2 } else { 1 });
    }
}
