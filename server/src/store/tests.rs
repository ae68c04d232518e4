//! The store by its promises: what is kept, what is forgotten, what a second program sees.

use std::path::PathBuf;

use tidelock_protocol::time::Timestamp;

use super::*;

fn state(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tidelock-store-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + second)
}

fn token(name: &str) -> NewToken {
    NewToken {
        name: name.into(),
        apps: Scope(vec!["web".parse().unwrap()]),
        environments: Scope(vec!["staging".parse().unwrap()]),
        expires: at(1000),
    }
}

#[test]
fn a_token_does_what_it_is_for_until_it_is_revoked_or_over_and_its_text_is_nowhere() {
    let state = state("tokens");
    let store = Store::open(&state).unwrap();
    let text = store.create_token(&token("ci"), &[7; 32], at(0)).unwrap();
    assert!(matches!(store.create_token(&token("ci"), &[8; 32], at(0)), Err(Error::NameTaken(_))));
    let (web, db) = ("web".parse().unwrap(), "db".parse().unwrap());
    let (staging, prod) = ("staging".parse().unwrap(), "prod".parse().unwrap());
    let admit = |text: &str, wants: Wants<'_>, second| store.admit(text, wants, at(second)).unwrap();
    assert_eq!(admit(&text, Wants::Move(&staging, &web), 1), Ok("ci".into()));
    assert_eq!(admit(&text, Wants::HandIn(&web), 2), Ok("ci".into()));
    assert!(matches!(admit(&text, Wants::HandIn(&db), 3), Err(Refusal::Scope { .. })));
    assert!(
        matches!(admit(&text, Wants::Move(&prod, &web), 3), Err(Refusal::Scope { what, .. }) if what.contains("prod"))
    );
    assert!(matches!(admit(&text, Wants::Move(&staging, &db), 3), Err(Refusal::Scope { .. })));
    assert_eq!(admit("tidelock_x", Wants::Look, 4), Err(Refusal::Unknown));
    assert!(matches!(admit(&text, Wants::Look, 1000), Err(Refusal::Expired { .. })));
    assert!(store.revoke_token("ci", at(5)).unwrap() && !store.revoke_token("ci", at(6)).unwrap());
    assert!(matches!(admit(&text, Wants::Look, 7), Err(Refusal::Revoked { .. })));
    assert_eq!(store.tokens().unwrap()[0].used, Some(at(1)));
    let bytes = std::fs::read(state.join("server.db")).unwrap();
    let secret = text.as_bytes();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    std::fs::remove_dir_all(&state).unwrap();
}

#[test]
fn the_newest_push_of_an_app_wins_and_those_of_others_wait_beside_it() {
    let state = state("pushes");
    let mut store = Store::open(&state).unwrap();
    let push = |app: &str, version: &str| NewPush {
        environment: "staging".parse().unwrap(),
        app: app.parse().unwrap(),
        version: version.parse().unwrap(),
        token: "ci".into(),
        pipeline: "run 1".into(),
    };
    let one = store.push(&push("web", "1"), at(0)).unwrap();
    assert_eq!(store.push(&push("web", "1"), at(0)).unwrap(), one, "the same again");
    let db = store.push(&push("db", "1"), at(1)).unwrap();
    let two = store.push(&push("web", "2"), at(2)).unwrap();
    let staging = "staging".parse().unwrap();
    let waiting: Vec<i64> = store.waiting(&staging).unwrap().iter().map(|push| push.id).collect();
    assert_eq!(waiting, [db, two]);
    assert_eq!(store.pushed(one).unwrap().unwrap().state, PushState::Superseded);
    store.settle_push(two, &PushState::Published(4), at(9)).unwrap();
    store.settle_push(db, &PushState::Refused("no".into()), at(9)).unwrap();
    assert_eq!(store.last_published(&staging).unwrap(), Some(at(9)));
    assert!(store.awaited().unwrap().is_empty());
    // Another process sees the same, and what has ended stays as it ended.
    let other = Store::open(&state).unwrap();
    other.settle_push(two, &PushState::Superseded, at(10)).unwrap();
    assert_eq!(other.pushed(two).unwrap().unwrap().state, PushState::Published(4));
    std::fs::remove_dir_all(&state).unwrap();
}

#[test]
fn a_store_of_a_newer_program_is_refused_and_left_alone() {
    let state = state("newer");
    let store = Store::open(&state).unwrap();
    store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let before = std::fs::read(state.join("server.db")).unwrap();
    assert!(matches!(Store::open(&state), Err(Error::Newer { found: 99, .. })));
    assert_eq!(std::fs::read(state.join("server.db")).unwrap(), before);
    assert!(Store::existing(&state.join("nowhere")).unwrap().is_none());
    std::fs::remove_dir_all(&state).unwrap();
}
