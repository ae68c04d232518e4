//! A history that was rewritten stops what was published from it, until somebody says why that is right.

use tidelock_server::turn::{self, Settings};
use tidelock_tests::publisher::{Room, listing};

/// A room that published two commits, and then lost the second.
fn rewritten(name: &str) -> (Room, String) {
    let room = Room::new(name);
    room.published();
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    let second = room.fleet.commit("second");
    room.published();
    room.fleet.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    (room, second)
}

#[test]
fn a_rewrite_stops_each_environment_and_the_audit_holds_why_it_was_taken() {
    let (room, second) = rewritten("rewrite");
    let before = listing(&room.fleet.out());
    let outcome = room.publish().unwrap();
    let stopped: Vec<_> = outcome.stopped.iter().map(|stopped| stopped.environment.to_string()).collect();
    assert_eq!(stopped, ["prod", "staging"]);
    assert_eq!(outcome.stopped[0].from, second);
    assert_eq!(listing(&room.fleet.out()), before);
    let ran = room.fleet.publish();
    assert_eq!(ran.code, 3, "{}", ran.said());

    let accepted =
        Settings { accept_rewrite: Some("the second commit held a secret".into()), ..room.settings() };
    let outcome = turn::once(&accepted).unwrap();
    assert!(outcome.stopped.is_empty());
    assert_eq!(outcome.manifests.len(), 2);
    assert_eq!(room.device().desired("prod").serial, 3);
    let audit = std::fs::read_to_string(room.fleet.state().join("audit.jsonl")).unwrap();
    let line = audit.lines().find(|line| line.contains("rewrite accepted")).unwrap();
    assert!(line.contains("held a secret") && line.contains(&second), "{line}");
    assert!(room.published().is_unchanged());
}

#[test]
fn whoever_rewrites_the_branch_cannot_name_other_keys() {
    let (room, _) = rewritten("takeover");
    let path = room.fleet.repository().join("fleet.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let stolen = text.replacen(
        "[environments.prod]\nowner = \"git\"\nkeys = [\"owner\"]",
        "[environments.prod]\nowner = \"git\"\nkeys = [\"rollout\"]",
        1,
    );
    assert_ne!(stolen, text);
    room.fleet.write("fleet.toml", stolen);
    room.fleet.commit("other keys");
    let before = listing(&room.fleet.out());
    assert_eq!(room.publish().unwrap().stopped.len(), 2);
    assert_eq!(listing(&room.fleet.out()), before);
}

#[test]
fn a_rewrite_whose_old_commit_is_gone_is_refused_whole() {
    let (room, second) = rewritten("gone");
    room.fleet.git(&["reflog", "expire", "--expire=now", "--all"]);
    room.fleet.git(&["gc", "--quiet", "--prune=now"]);
    match room.publish() {
        Err(turn::Error::Rewritten { from, .. }) => assert_eq!(from, second),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_environment_on_a_branch_of_its_own_stops_alone() {
    let room = Room::new("alone");
    room.fleet.git(&["branch", "release"]);
    room.fleet.write("environments/prod.toml", "branch = \"release\"\n");
    room.fleet.commit("prod has a branch");
    room.published();
    room.fleet.git(&["checkout", "--quiet", "--orphan", "other"]);
    room.fleet.git(&["commit", "--quiet", "--message", "another history"]);
    room.fleet.git(&["branch", "--force", "release", "other"]);
    room.fleet.git(&["checkout", "--quiet", "main"]);
    room.fleet.write("apps/hello/tree/greeting.txt", "new\n");
    room.fleet.commit("staging moves on");
    let outcome = room.publish().unwrap();
    assert_eq!(outcome.stopped.len(), 1);
    assert_eq!(outcome.stopped[0].environment.as_str(), "prod");
    assert_eq!(outcome.manifests.len(), 1);
    assert_eq!(room.device().desired("staging").serial, 2);
}

#[test]
fn a_rewrite_that_was_accepted_stays_accepted_while_a_signature_is_awaited() {
    let (room, _) = rewritten("awaited");
    let key = room.fleet.keys().join("owner/owner.pem");
    let elsewhere = room.scratch.join("owner.pem");
    std::fs::rename(&key, &elsewhere).unwrap();
    let accepted = Settings { accept_rewrite: Some("a secret".into()), ..room.settings() };
    assert_eq!(turn::once(&accepted).unwrap().waiting.len(), 2);
    assert_eq!(room.publish().unwrap().stopped, []);
    std::fs::rename(&elsewhere, &key).unwrap();
    assert_eq!(room.published().manifests.len(), 2);
    let audit = std::fs::read_to_string(room.fleet.state().join("audit.jsonl")).unwrap();
    assert_eq!(audit.matches("rewrite accepted").count(), 2, "once per environment");
}
