//! The chain of roots: thresholds of old and new keys, versions one by one, roots that are withheld.

use serde_json::json;
use tidelock_protocol::trust::Error;
use tidelock_tests::repository::{Repository, Secret};

use super::*;

attacks! {
    nothing_new_asks_for_as_little_as_it_can(world) {
        world.update().unwrap();
        let asked = world.site.take_asked().join(" ");
        assert_eq!(asked, if world.order == Order::RootFirst { "2.root timestamp" } else { "timestamp=" });
    }

    a_new_root_is_followed_and_stored_as_received(world) {
        world.after(|repository| {
            repository.publish(&["root", "timestamp"]);
            repository.files.get_mut("metadata/2.root.json").unwrap().push(b' ');
        }).unwrap();
        let stored = std::fs::read(world.scratch.join("trust/root.json")).unwrap();
        assert_eq!(stored, world.site.repository().files["metadata/2.root.json"]);
    }

    a_chain_of_roots_is_walked_in_one_go_and_none_is_skipped(world) {
        for _ in 0..5 {
            world.site.repository().rotate("root");
            world.site.repository().publish(&["root"]);
        }
        world.after(|repository| repository.publish(&["timestamp"])).unwrap();
        assert_eq!(world.version("root"), 6);
    }

    a_root_that_the_old_keys_did_not_sign_is_refused(world) {
        let answer = world.after(|repository| {
            repository.rotate("root");
            repository.signers("root").remove(0);
            repository.publish(&["root", "timestamp"]);
        });
        disbelieved!(answer, Error::Threshold { valid: 0, needed: 1, .. });
        assert_eq!(world.version("root"), 1);
    }

    a_root_that_its_own_new_keys_did_not_sign_is_refused(world) {
        let answer = world.after(|repository| {
            repository.rotate("root");
            repository.signers("root").pop();
            repository.publish(&["root", "timestamp"]);
        });
        disbelieved!(answer, Error::Threshold { valid: 0, needed: 1, .. });
        assert_eq!(world.version("root"), 1);
    }

    a_raised_threshold_counts_from_the_root_that_raises_it(world) {
        let answer = world.after(|repository| {
            repository.add_key("root", Secret::ed25519());
            repository["root"]["roles"]["root"]["threshold"] = json!(2);
            let second = repository.signers("root").pop().unwrap();
            repository.publish(&["root", "timestamp"]);
            repository.signers("root").push(second);
        });
        disbelieved!(answer, Error::Threshold { valid: 1, needed: 2, .. });
        world.after(|repository| repository.publish_again("root")).unwrap();
        let answer = world.after(|repository| {
            repository["root"]["roles"]["root"]["threshold"] = json!(1);
            let second = repository.signers("root").pop().unwrap();
            repository.publish(&["root", "timestamp"]);
            repository.signers("root").push(second);
        });
        disbelieved!(answer, Error::Threshold { valid: 1, needed: 2, .. });
        assert_eq!(world.version("root"), 2);
    }

    one_key_under_many_names_is_still_one_key(world) {
        let answer = world.after(|repository| {
            let secret = repository.signers("snapshot")[0].clone();
            for alias in ["a", "b", "c"] {
                repository["root"]["keys"][alias] = json!(secret.public());
                repository["root"]["roles"]["snapshot"]["keyids"].as_array_mut().unwrap().push(json!(alias));
            }
            repository["root"]["roles"]["snapshot"]["threshold"] = json!(3);
            repository.publish(&["root", "snapshot", "timestamp"]);
            let version = repository["snapshot"]["version"].clone();
            repository.tamper(&format!("metadata/{version}.snapshot.json"), |snapshot| {
                for alias in ["a", "b", "c"] {
                    let sig = snapshot["signatures"][0]["sig"].clone();
                    snapshot["signatures"].as_array_mut().unwrap().push(json!({"keyid": alias, "sig": sig}));
                }
            });
            repository.detailed = false;
            repository["timestamp"]["meta"]["snapshot.json"] = json!({"version": version});
            repository.publish_again("timestamp");
        });
        disbelieved!(answer, Error::Threshold { valid: 1, needed: 3, .. });
    }

    a_root_with_another_version_than_its_name_is_refused(world) {
        let answer = world.after(|repository| {
            repository["root"]["version"] = json!(3);
            let bytes = repository.signed("root");
            repository.files.insert("metadata/2.root.json".into(), bytes);
            repository.publish(&["timestamp"]);
        });
        disbelieved!(answer, Error::Version { found: 3, expected: 2, .. });
        assert_eq!(world.version("root"), 1);
    }

    an_expired_root_is_stored_and_nothing_below_it_is_believed(world) {
        let answer = world.after(|repository| {
            repository["root"]["expires"] = day(-1);
            repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        });
        disbelieved!(answer, Error::Expired { .. });
        assert_eq!(world.versions(), [2, 1, 1, 1]);
    }

    a_root_that_expired_here_is_healed_by_a_newer_one(world) {
        world.after(|repository| {
            repository["root"]["expires"] = day(7);
            repository.publish(&["root", "timestamp"]);
        }).unwrap();
        world.reading = reading(18);
        disbelieved!(world.update(), Error::Expired { .. });
        world.after(|repository| {
            repository["root"]["expires"] = day(21);
            repository.publish(&["root"]);
        }).unwrap();
        assert_eq!(world.version("root"), 3);
    }

    a_root_that_the_timestamp_names_and_the_server_withholds_is_missed(world) {
        let answer = world.after(|repository| {
            repository.publish(&["root"]);
            repository.sign_at(reading(0).civil);
            repository.publish(&["timestamp"]);
            repository.files.remove("metadata/2.root.json");
        });
        disbelieved!(answer, Error::RootWithheld { named: 2, seen: 1 });
        assert_eq!(world.version("timestamp"), 1);
    }

    a_root_status_that_is_neither_yes_nor_no_ends_the_walk(world) {
        world.site.lie("2.root", Reply::Status(500));
        let answer = world.after(|repository| repository.publish(&["timestamp"]));
        assert_eq!(answer.unwrap_err().kind(), Kind::Unreachable);
        assert_eq!(world.version("timestamp"), 1, "nothing is believed while a newer root may exist");
    }

    every_kind_of_key_can_be_needed(world) {
        for secret in [Secret::ecdsa(), Secret::rsa(), Secret::ed25519()] {
            world.after(|repository| {
                repository.add_key("root", secret);
                let threshold = repository["root"]["roles"]["root"]["threshold"].as_u64().unwrap() + 1;
                repository["root"]["roles"]["root"]["threshold"] = json!(threshold);
                repository.publish(&["root", "timestamp"]);
            }).unwrap();
        }
        let answer = world.after(|repository| {
            repository.publish(&["root", "timestamp"]);
            repository.tamper("metadata/5.root.json", |root| {
                let (first, second) = (root["signatures"][1]["sig"].clone(), root["signatures"][2]["sig"].clone());
                root["signatures"][1]["sig"] = second;
                root["signatures"][2]["sig"] = first;
            });
        });
        disbelieved!(answer, Error::Threshold { valid: 2, needed: 4, .. });
        assert_eq!(world.version("root"), 4);
    }

    unknown_members_and_unknown_keys_do_no_harm_and_are_signed(world) {
        world.after(|repository| {
            repository["root"]["x-custom"] = json!({"b": [1, null], "a": "\u{e9}\n"});
            repository["root"]["roles"]["root"]["x-custom"] = json!(true);
            repository["root"]["keys"]["pq"] = json!({"keytype": "ml-dsa", "scheme": "ml-dsa-65", "keyval": {"public": "00"}, "keyid_hash_algorithms": "md5"});
            repository["root"]["roles"]["root"]["keyids"].as_array_mut().unwrap().push(json!("pq"));
            repository.publish(&["root", "timestamp"]);
        }).unwrap();
        let answer = world.after(|repository| {
            repository.publish(&["root", "timestamp"]);
            repository.tamper("metadata/3.root.json", |root| root["signed"]["x-custom"]["b"][0] = json!(2));
        });
        disbelieved!(answer, Error::Threshold { valid: 0, .. });
    }
}

/// Each version of a root: keys, threshold, who signs it.
type Chain = &'static [(&'static [usize], u64, &'static [usize])];

#[test]
fn root_rotations_end_where_the_specification_says() {
    const ALL: &[usize] = &[0, 1, 2, 3, 4];
    const NEXT: &[usize] = &[0, 1, 3, 4, 5];
    let cases: [(&str, Chain, u64); 12] = [
        ("1 of 1", &[(&[1], 1, &[1]), (&[2], 1, &[2, 1]), (&[2], 1, &[2])], 3),
        (
            "signatures of nobody",
            &[(&[1], 1, &[3, 1, 4]), (&[2], 1, &[3, 2, 1, 4]), (&[2], 1, &[3, 2, 4])],
            3,
        ),
        ("3 of 5, other three", &[(ALL, 3, &[0, 2, 4]), (ALL, 3, &[0, 4, 1]), (ALL, 3, &[0, 1, 3])], 3),
        ("one of five", &[(ALL, 3, &[0, 2, 4]), (NEXT, 3, &[0, 4, 1])], 2),
        (
            "one of five, with a step",
            &[(ALL, 3, &[0, 2, 4]), (NEXT, 3, &[0, 2, 4, 5]), (NEXT, 3, &[0, 4, 5])],
            3,
        ),
        (
            "all five",
            &[
                (ALL, 3, &[0, 2, 4]),
                (&[5, 6, 7, 8, 9], 3, &[0, 2, 4, 5, 6, 7]),
                (&[5, 6, 7, 8, 9], 3, &[5, 6, 7]),
            ],
            3,
        ),
        ("threshold down", &[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1, 2]), (&[1, 2, 3], 1, &[1])], 3),
        ("not by the old", &[(&[1], 1, &[1]), (&[2], 1, &[2, 3, 4])], 1),
        ("not by the new", &[(&[1], 1, &[1]), (&[2], 1, &[1, 3, 4])], 1),
        ("two of three new", &[(ALL, 3, &[0, 2, 4]), (NEXT, 3, &[0, 2, 4])], 1),
        ("two of three old", &[(ALL, 3, &[0, 2, 4]), (NEXT, 3, &[0, 4, 5])], 1),
        ("down, by too few old", &[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1])], 1),
    ];
    for (name, chain, reached) in cases {
        let mut repository = Repository::tidelock();
        repository["root"]["version"] = json!(0);
        let secrets: Vec<Secret> = (0..10).map(|_| Secret::ed25519()).collect();
        for (keys, threshold, signers) in chain {
            repository["root"]["roles"]["root"] = json!({"keyids": [], "threshold": threshold});
            for key in *keys {
                repository.add_key("root", secrets[*key].clone());
            }
            *repository.signers("root") = signers.iter().map(|signer| secrets[*signer].clone()).collect();
            repository.publish(&["root"]);
        }
        let mut world = World::before_contact(Order::TimestampFirst, repository);
        assert_eq!(world.update().is_ok(), reached == chain.len() as u64, "{name}");
        assert_eq!(world.version("root"), reached, "{name}");
    }
}

#[test]
fn a_first_root_that_is_not_whole_is_refused_before_any_question() {
    let signed = Repository::tidelock().files["metadata/1.root.json"].clone();
    let changes: [fn(&mut Value); 3] = [
        |root| drop(root["signed"].as_object_mut().unwrap().remove("version")),
        |root| root["signatures"][0]["sig"] = json!("00"),
        |root| root["signatures"] = json!([]),
    ];
    for change in changes {
        let mut root: Value = serde_json::from_slice(&signed).unwrap();
        change(&mut root);
        let scratch = Scratch::new("root");
        let opened = Trust::open(scratch.path(), Some(root.to_string().as_bytes()), floor());
        let site = Site::serve(Repository::tidelock());
        let refused = opened.and_then(|(mut trust, _)| trust.poll(&client(&site.url()), &prod(), reading(0)));
        assert!(matches!(refused, Err(Failure::Trust { .. })), "{refused:?}");
        assert!(site.take_asked().is_empty());
    }
}
