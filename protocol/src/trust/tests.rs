//! Each rule of the walk has an attack that breaks it.

use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};

use super::*;
use crate::canonical;
use crate::digest::Digest;
use crate::keys::PublicKey;
use crate::roles::Target;

const FAR: &str = "2030-01-01T00:00:00Z";
const PAST: &str = "2020-01-01T00:00:00Z";

fn now() -> Now {
    Now { wall: "2026-11-24T08:00:00Z".parse().unwrap(), boot: std::time::Duration::ZERO, trusted: true }
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn public(number: u8) -> PublicKey {
    PublicKey::ed25519(key(number).verifying_key().as_bytes())
}

fn id(number: u8) -> String {
    public(number).key_id().to_string()
}

/// Signs `signed` with the keys of these numbers.
fn sign(signed: &Value, keys: &[u8]) -> Vec<u8> {
    let message = canonical::to_vec(signed).unwrap();
    let signature = |number: &u8| {
        let bytes = key(*number).sign(&message).to_bytes();
        json!({"keyid": id(*number), "sig": data_encoding::HEXLOWER.encode(&bytes)})
    };
    let signatures: Vec<Value> = keys.iter().map(signature).collect();
    serde_json::to_vec(&json!({"signatures": signatures, "signed": signed})).unwrap()
}

fn head(kind: &str, version: u64) -> Value {
    json!({"_type": kind, "spec_version": "1.0.34", "version": version, "expires": FAR, "x-unknown": ["kept", 1]})
}

fn keys(numbers: &[u8]) -> Value {
    numbers.iter().map(|number| (id(*number), serde_json::to_value(public(*number)).unwrap())).collect()
}

fn signers(numbers: &[u8], threshold: u32) -> Value {
    json!({"keyids": numbers.iter().map(|number| id(*number)).collect::<Vec<_>>(), "threshold": threshold})
}

/// Root with keys 1–3 (two needed), timestamp 4, snapshot 5, targets 6.
fn root(version: u64) -> Value {
    let mut root = head("root", version);
    root["consistent_snapshot"] = json!(true);
    root["keys"] = keys(&[1, 2, 3, 4, 5, 6]);
    root["roles"] = json!({"root": signers(&[1, 2, 3], 2), "timestamp": signers(&[4], 1),
        "snapshot": signers(&[5], 1), "targets": signers(&[6], 1)});
    root
}

fn meta(version: u64, bytes: &[u8]) -> Value {
    json!({"version": version, "length": bytes.len(), "hashes": {"sha256": Digest::of(bytes).to_string()}})
}

fn timestamp(version: u64, snapshot: u64, bytes: &[u8]) -> Value {
    let mut timestamp = head("timestamp", version);
    timestamp["meta"] = json!({"snapshot.json": meta(snapshot, bytes)});
    timestamp
}

fn snapshot(version: u64, entries: &[(&str, u64, &[u8])]) -> Value {
    let mut snapshot = head("snapshot", version);
    snapshot["meta"] = entries
        .iter()
        .map(|(role, version, bytes)| (format!("{role}.json"), meta(*version, bytes)))
        .collect();
    snapshot
}

fn targets(version: u64, names: &[&str]) -> Value {
    let mut targets = head("targets", version);
    let target =
        |name: &&str| (name.to_string(), serde_json::to_value(Target::new(1, Digest::of(b"x"))).unwrap());
    targets["targets"] = names.iter().map(target).collect();
    targets
}

/// A delegation to `name`, signed by the key of that number.
fn delegation(name: &str, number: u8, paths: &[&str]) -> Value {
    json!({"name": name, "keyids": [id(number)], "threshold": 1, "terminating": false, "paths": paths})
}

fn delegating(mut targets: Value, roles: &[Value]) -> Value {
    targets["delegations"] = json!({"keys": keys(&[10, 11, 12, 13]), "roles": roles});
    targets
}

fn rooted() -> Rooted {
    Roots::begin(&sign(&root(1), &[1, 2]), now()).unwrap().settle().unwrap()
}

/// The state in which a snapshot of these bytes is wanted.
fn fresh(bytes: &[u8], version: u64) -> Fresh {
    rooted().timestamp(None, &sign(&timestamp(1, version, bytes), &[4])).unwrap()
}

/// Everything in force, with `targets` at the top and these delegated roles in the snapshot.
fn trusted(targets: &Value, roles: &[(&str, Vec<u8>)]) -> Trusted {
    let top = sign(targets, &[6]);
    let mut entries = vec![("targets", 1, &*top)];
    entries.extend(roles.iter().map(|(name, bytes)| (*name, 1, &**bytes)));
    let snapshot = sign(&snapshot(1, &entries), &[5]);
    fresh(&snapshot, 1).snapshot(None, &snapshot).unwrap().targets(&top).unwrap()
}

/// Walks a search; gives the roles it asked for, in order, and its end.
fn search(
    trusted: &Trusted,
    name: &str,
    roles: &[(&str, Vec<u8>)],
) -> (Vec<String>, Result<Option<String>, Error>) {
    let mut search = trusted.search(name);
    let mut asked = Vec::new();
    let mut walk = || loop {
        match search.step()? {
            Step::Found { role, .. } => return Ok(Some(role)),
            Step::Nowhere => return Ok(None),
            Step::Role(wanted) => {
                asked.push(wanted.role.clone());
                search.accept(&roles.iter().find(|(role, _)| *role == wanted.role).unwrap().1)?;
            }
        }
    };
    let end = walk();
    (asked, end)
}

fn changed(mut value: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut value);
    value
}

#[test]
fn a_root_needs_its_threshold_of_different_keys() {
    let begin = |signed: &Value, keys: &[u8]| Roots::begin(&sign(signed, keys), now());
    assert!(begin(&root(1), &[1, 2]).is_ok());
    assert!(begin(&root(1), &[3, 1, 9]).is_ok(), "an unknown signature counts for nothing and does no harm");
    assert!(matches!(begin(&root(1), &[1]), Err(Error::Threshold { valid: 1, needed: 2, .. })));
    assert!(
        matches!(begin(&root(1), &[1, 4]), Err(Error::Threshold { valid: 1, .. })),
        "a key of another role"
    );
    assert!(matches!(begin(&root(1), &[1, 2, 2]), Err(Error::SignedTwice { .. })));
    let many: Vec<u8> = (1..=65).collect();
    assert!(matches!(begin(&root(1), &many), Err(Error::TooManySignatures { found: 65, .. })));
    assert!(begin(&root(1), &many[..64]).is_ok());
}

#[test]
fn one_key_under_two_ids_counts_once() {
    let twice = changed(root(1), |root| {
        root["keys"]["alias"] = serde_json::to_value(public(1)).unwrap();
        root["roles"]["root"]["keyids"] = json!([id(1), "alias"]);
    });
    let mut envelope: Value = serde_json::from_slice(&sign(&twice, &[1])).unwrap();
    let mut alias = envelope["signatures"][0].clone();
    alias["keyid"] = json!("alias");
    envelope["signatures"].as_array_mut().unwrap().push(alias);
    let found = Roots::begin(&serde_json::to_vec(&envelope).unwrap(), now());
    assert!(matches!(found, Err(Error::Threshold { valid: 1, needed: 2, .. })));
}

#[test]
fn the_next_root_is_signed_by_old_and_new_and_is_exactly_one_on() {
    let start = Roots::begin(&sign(&root(1), &[1, 2]), now()).unwrap();
    assert_eq!((start.wanted().version, start.wanted().role.as_str()), (2, "root"));
    let accept = |signed: &Value, keys: &[u8]| {
        let mut roots = start.clone();
        let end = roots.accept(&sign(signed, keys));
        assert_eq!(roots.version(), if end.is_ok() { 2 } else { 1 });
        end
    };
    let moved = changed(root(2), |root| {
        root["keys"] = keys(&[3, 4, 5, 6, 7, 8]);
        root["roles"]["root"] = signers(&[3, 7, 8], 2);
    });
    assert!(accept(&moved, &[1, 3, 7]).is_ok());
    assert!(matches!(accept(&moved, &[3, 7]), Err(Error::Threshold { valid: 1, .. })), "old threshold");
    assert!(matches!(accept(&moved, &[1, 2, 3]), Err(Error::Threshold { valid: 1, .. })), "new threshold");
    for version in [1, 3] {
        let found = accept(&root(version), &[1, 2]);
        assert!(matches!(found, Err(Error::Version { expected: 2, .. })), "{version}");
    }
    let expired = changed(root(2), |root| root["expires"] = json!(PAST));
    assert!(accept(&expired, &[1, 2]).is_ok(), "an intermediate root may have expired");
}

#[test]
fn the_last_root_must_be_in_force_and_of_a_consistent_repository() {
    let settle = |root: &Value| Roots::begin(&sign(root, &[1, 2]), now()).unwrap().settle();
    let expired = changed(root(1), |root| root["expires"] = json!(PAST));
    assert!(settle(&expired).unwrap_err().is_expiry());
    let this_second = changed(root(1), |root| root["expires"] = json!("2026-11-24T08:00:00Z"));
    assert!(settle(&this_second).unwrap_err().is_expiry(), "it ends at that second, not after it");
    let flat = changed(root(1), |root| root["consistent_snapshot"] = json!(false));
    assert!(matches!(settle(&flat), Err(Error::Inconsistent)));
}

#[test]
fn a_root_of_another_form_is_refused() {
    type Change = fn(&mut Value);
    let changes: [Change; 9] = [
        |root| root["version"] = json!(0),
        |root| root["version"] = json!(-1),
        |root| drop(root.as_object_mut().unwrap().remove("version")),
        |root| root["_type"] = json!("timestamp"),
        |root| root["spec_version"] = json!("2.0.0"),
        |root| root["expires"] = json!("tomorrow"),
        |root| root["roles"]["targets"]["threshold"] = json!(0),
        |root| drop(root["roles"].as_object_mut().unwrap().remove("snapshot")),
        |root| root["x-unknown"] = json!(1.5),
    ];
    for change in changes {
        let root = changed(root(1), change);
        let text = serde_json::to_vec(&root).unwrap();
        // A number with a fraction has no canonical form: nothing can sign it.
        let bytes = if canonical::of(&text).is_ok() {
            sign(&root, &[1, 2])
        } else {
            [b"{\"signatures\":[],\"signed\":", &*text, b"}"].concat()
        };
        let found = Roots::begin(&bytes, now());
        assert!(matches!(found, Err(Error::Unreadable { .. } | Error::Malformed { .. })), "{found:?}");
    }
    assert!(matches!(Roots::begin(&[b' '; 70_000], now()), Err(Error::TooLong { limit: 65_536, .. })));
}

#[test]
fn a_timestamp_may_not_fall_and_the_stored_one_is_kept_when_equal() {
    let take =
        |stored: &Value, offered: &Value| rooted().timestamp(Some(&sign(stored, &[4])), &sign(offered, &[4]));
    let at = |version, snapshot| timestamp(version, snapshot, b"");
    assert!(take(&at(1, 1), &at(2, 1)).unwrap().is_news());
    let kept = take(&at(2, 7), &at(2, 9)).unwrap();
    assert!(!kept.is_news());
    assert_eq!(kept.wanted().unwrap().version, 7);
    let found = take(&at(2, 1), &at(1, 1));
    assert!(matches!(found, Err(Error::Rollback { found: 1, stored: 2, .. })));
    let found = take(&at(1, 5), &at(2, 4));
    assert!(matches!(found, Err(Error::Rollback { role, found: 4, stored: 5 }) if role == "snapshot"));
    let old = changed(at(2, 1), |timestamp| timestamp["expires"] = json!(PAST));
    assert!(take(&old, &at(2, 1)).unwrap_err().is_expiry(), "the stored one is kept, and it has expired");
    assert!(take(&old, &at(3, 1)).is_ok());
    assert!(take(&at(1, 1), &old).unwrap_err().is_expiry());
}

#[test]
fn a_stored_timestamp_of_a_rotated_key_counts_for_nothing() {
    let stored = sign(&timestamp(99, 99, b""), &[9]);
    assert!(!rooted().vouches_for_timestamp(&stored));
    assert!(rooted().timestamp(Some(&stored), &sign(&timestamp(1, 1, b""), &[4])).unwrap().is_news());
    assert!(rooted().vouches_for_timestamp(&sign(&timestamp(1, 1, b""), &[4])));
    assert!(matches!(rooted().timestamp(None, &stored), Err(Error::Threshold { .. })));
}

#[test]
fn a_timestamp_names_the_snapshot_alone() {
    for meta in [json!({}), json!({"snapshot.json": {"version": 1}, "targets.json": {"version": 1}})] {
        let odd = changed(timestamp(1, 1, b""), |timestamp| timestamp["meta"] = meta);
        assert!(matches!(rooted().timestamp(None, &sign(&odd, &[4])), Err(Error::Malformed { .. })));
    }
}

#[test]
fn the_root_that_a_timestamp_names_must_have_been_seen() {
    let named = |version: u64| {
        let naming = changed(timestamp(1, 1, b""), |timestamp| timestamp["x-tidelock-root"] = json!(version));
        rooted().timestamp(None, &sign(&naming, &[4])).unwrap().check_newest_root()
    };
    assert!(named(0).is_ok() && named(1).is_ok());
    let withheld = named(2).unwrap_err();
    assert!(matches!(withheld, Error::RootWithheld { named: 2, seen: 1 }) && !withheld.is_expiry());
    assert!(fresh(b"", 1).check_newest_root().is_ok(), "foreign repositories name none");
}

#[test]
fn a_snapshot_is_the_one_that_the_timestamp_names() {
    let good = sign(&snapshot(3, &[("targets", 1, b"")]), &[5]);
    assert!(fresh(&good, 3).snapshot(None, &good).is_ok());
    let longer = [&*good, b" "].concat();
    assert!(matches!(fresh(&good, 3).snapshot(None, &longer), Err(Error::TooLong { .. })));
    let other = sign(&changed(snapshot(3, &[("targets", 2, b"")]), |_| ()), &[5]);
    assert!(matches!(fresh(&good, 3).snapshot(None, &other), Err(Error::Digest { .. })), "mix and match");
    assert!(matches!(
        fresh(&good, 4).snapshot(None, &good),
        Err(Error::Version { found: 3, expected: 4, .. })
    ));
    let unsigned = sign(&snapshot(3, &[("targets", 1, b"")]), &[4]);
    assert!(matches!(fresh(&unsigned, 3).snapshot(None, &unsigned), Err(Error::Threshold { .. })));
    let empty = sign(&snapshot(3, &[]), &[5]);
    assert!(matches!(fresh(&empty, 3).snapshot(None, &empty), Err(Error::Malformed { .. })));
    let old = sign(&changed(snapshot(3, &[("targets", 1, b"")]), |s| s["expires"] = json!(PAST)), &[5]);
    assert!(fresh(&old, 3).snapshot(None, &old).unwrap_err().is_expiry());
    assert!(fresh(&old, 3).keep_snapshot(&old).is_err());
    assert!(fresh(&good, 3).keep_snapshot(&good).is_ok());
    assert!(fresh(&good, 3).keep_snapshot(&other).is_err());
}

#[test]
fn no_entry_of_a_snapshot_may_vanish_or_fall_even_against_an_expired_one() {
    let stored = changed(snapshot(1, &[("targets", 5, b""), ("a", 2, b"")]), |s| s["expires"] = json!(PAST));
    let stored = sign(&stored, &[5]);
    let take = |entries: &[(&str, u64, &[u8])]| {
        let offered = sign(&snapshot(2, entries), &[5]);
        fresh(&offered, 2).snapshot(Some(&stored), &offered)
    };
    assert!(take(&[("targets", 5, b""), ("a", 3, b""), ("b", 1, b"")]).is_ok());
    assert!(matches!(take(&[("targets", 5, b"")]), Err(Error::Vanished { role }) if role == "a"));
    let found = take(&[("targets", 4, b""), ("a", 2, b"")]);
    assert!(matches!(found, Err(Error::Rollback { role, found: 4, stored: 5 }) if role == "targets"));
    let rotated = sign(&snapshot(1, &[("targets", 99, b"")]), &[9]);
    let offered = sign(&snapshot(2, &[("targets", 1, b"")]), &[5]);
    assert!(fresh(&offered, 2).snapshot(Some(&rotated), &offered).is_ok(), "its key was rotated");
}

#[test]
fn targets_are_those_that_the_snapshot_names() {
    let good = sign(&targets(2, &["f"]), &[6]);
    let coherent = |version, bytes: &[u8]| {
        let snapshot = sign(&snapshot(1, &[("targets", version, bytes)]), &[5]);
        fresh(&snapshot, 1).snapshot(None, &snapshot).unwrap()
    };
    assert!(coherent(2, &good).targets(&good).is_ok());
    assert!(coherent(2, &good).keep_targets(&good).is_ok());
    let other = sign(&targets(2, &["g"]), &[6]);
    assert!(matches!(coherent(2, &good).targets(&other), Err(Error::Digest { .. })));
    assert!(coherent(2, &good).keep_targets(&other).is_err());
    assert!(matches!(coherent(3, &good).targets(&good), Err(Error::Version { .. })));
    let unsigned = sign(&targets(2, &["f"]), &[5]);
    assert!(matches!(coherent(2, &unsigned).targets(&unsigned), Err(Error::Threshold { .. })));
    let old = sign(&changed(targets(2, &[]), |t| t["expires"] = json!(PAST)), &[6]);
    assert!(coherent(2, &old).targets(&old).unwrap_err().is_expiry());
}

#[test]
fn a_search_asks_the_roles_in_order_and_ends_at_a_terminating_one() {
    let leaf = |names: &[&str], number| sign(&targets(1, names), &[number]);
    let (a, b, c, d) = (
        delegation("a", 10, &["*"]),
        delegation("b", 11, &["*"]),
        delegation("c", 12, &["*"]),
        delegation("d", 13, &["x*"]),
    );
    let roles = vec![
        ("a", sign(&delegating(targets(1, &[]), &[c.clone(), d]), &[10])),
        ("b", leaf(&["in-b", "x-b"], 11)),
        ("c", leaf(&["in-c"], 12)),
        ("d", leaf(&["x-d", "in-d"], 13)),
    ];
    let top = delegating(targets(1, &["top"]), &[a.clone(), b.clone()]);
    let world = trusted(&top, &roles);
    let asked = |name: &str| {
        let (asked, end) = search(&world, name, &roles);
        (asked.join(" "), end.unwrap())
    };
    assert_eq!(asked("top"), (String::new(), Some("targets".into())));
    assert_eq!(asked("in-c"), ("a c".into(), Some("c".into())));
    assert_eq!(asked("in-b"), ("a c b".into(), Some("b".into())));
    assert_eq!(asked("x-d"), ("a c d".into(), Some("d".into())));
    assert_eq!(asked("in-d"), ("a c b".into(), None), "d may not name what its delegator does not give it");
    let terminating = changed(a.clone(), |a| a["terminating"] = json!(true));
    let world = trusted(&delegating(targets(1, &[]), &[terminating, b.clone()]), &roles);
    let (asked, end) = search(&world, "in-b", &roles);
    assert_eq!((asked.join(" "), end.unwrap()), ("a c".into(), None));
    let circle = vec![
        ("a", sign(&delegating(targets(1, &[]), &[a.clone(), b.clone()]), &[10])),
        ("b", sign(&delegating(targets(1, &[]), std::slice::from_ref(&a)), &[11])),
    ];
    let world = trusted(&delegating(targets(1, &[]), &[a, b]), &circle);
    let (asked, end) = search(&world, "nowhere", &circle);
    assert_eq!((asked.join(" "), end.unwrap()), ("a b".into(), None));
}

#[test]
fn a_role_is_verified_against_the_delegator_that_the_search_came_through() {
    let (a, b) = (delegation("a", 10, &["a.*"]), delegation("b", 11, &["b.*"]));
    let release = sign(&targets(1, &["a.file", "b.file"]), &[12]);
    let roles = vec![
        ("a", sign(&delegating(targets(1, &[]), &[delegation("release", 12, &["*"])]), &[10])),
        ("b", sign(&delegating(targets(1, &[]), &[delegation("release", 13, &["*"])]), &[11])),
        ("release", release.clone()),
    ];
    let world = trusted(&delegating(targets(1, &[]), &[a, b]), &roles);
    assert_eq!(search(&world, "a.file", &roles).1.unwrap().as_deref(), Some("release"));
    let (_, end) = search(&world, "b.file", &roles);
    assert!(matches!(end, Err(Error::Threshold { role, .. }) if role == "release"));
    let mut search = world.search("b.file");
    assert!(matches!(search.step(), Ok(Step::Role(_))));
    assert!(search.keep(&roles[1].1));
    assert!(matches!(search.step(), Ok(Step::Role(wanted)) if wanted.role == "release"));
    assert!(!search.keep(&release), "stored bytes inherit nothing from another path");
    assert!(
        matches!(search.step(), Ok(Step::Role(wanted)) if wanted.role == "release"),
        "it still waits for it"
    );
}

#[test]
fn a_delegated_role_is_the_one_that_the_snapshot_names() {
    let a = delegation("a", 10, &["*"]);
    let top = delegating(targets(1, &[]), &[a]);
    let good = sign(&targets(1, &["f"]), &[10]);
    let with = |listed: &[u8], given: Vec<u8>| {
        search(&trusted(&top, &[("a", listed.to_vec())]), "f", &[("a", given)]).1
    };
    assert!(with(&good, good.clone()).is_ok());
    assert!(matches!(with(&good, sign(&targets(1, &["g"]), &[10])), Err(Error::Digest { .. })));
    let second = sign(&targets(2, &["f"]), &[10]);
    assert!(matches!(with(&second, second.clone()), Err(Error::Version { .. })));
    let old = sign(&changed(targets(1, &["f"]), |t| t["expires"] = json!(PAST)), &[10]);
    assert!(with(&old, old.clone()).unwrap_err().is_expiry());
    let (asked, end) = search(&trusted(&top, &[]), "f", &[]);
    assert!(asked.is_empty() && matches!(end, Err(Error::Unlisted { role }) if role == "a"));
}

#[test]
fn a_search_through_roles_without_end_is_ended() {
    let names: Vec<String> = (0..40).map(|number| format!("r{number:02}")).collect();
    let top = delegating(
        targets(1, &[]),
        &names.iter().map(|name| delegation(name, 10, &["*"])).collect::<Vec<_>>(),
    );
    let leaf = sign(&targets(1, &[]), &[10]);
    let roles: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), leaf.clone())).collect();
    let (asked, end) = search(&trusted(&top, &roles), "f", &roles);
    assert!(matches!(end, Err(Error::TooManyRoles { limit: 32, .. })));
    assert_eq!(asked.len(), 32);
}

#[test]
fn a_file_is_as_long_as_stated_and_has_every_stated_digest() {
    let target =
        |hashes: Value| serde_json::from_value::<Target>(json!({"length": 4, "hashes": hashes})).unwrap();
    let sha256 = Digest::of(b"file").to_string();
    let sha512 = data_encoding::HEXLOWER.encode(&<sha2::Sha512 as sha2::Digest>::digest(b"file"));
    let both = target(json!({"sha256": sha256, "sha512": sha512, "blake3": "?"}));
    assert!(check_target("f", &both, b"file").is_ok());
    assert!(matches!(check_target("f", &both, b"filed"), Err(Error::TooLong { limit: 4, .. })));
    assert!(matches!(check_target("f", &both, b"fil"), Err(Error::Length { found: 3, stated: 4, .. })));
    assert!(matches!(check_target("f", &both, b"life"), Err(Error::Digest { .. })));
    let second = target(json!({"sha256": sha256, "sha512": "00"}));
    assert!(matches!(check_target("f", &second, b"file"), Err(Error::Digest { algorithm: "sha512", .. })));
    assert!(check_target("f", &target(json!({"sha512": sha512})), b"file").is_ok());
    let unknown = target(json!({"blake3": sha256}));
    assert!(matches!(check_target("f", &unknown, b"file"), Err(Error::NoKnownDigest { .. })));
}

#[test]
fn time_rises_to_the_signature_but_never_past_what_offline_keys_allow() {
    let top = sign(&changed(targets(1, &[]), |t| t["expires"] = json!("2028-01-01T00:00:00Z")), &[6]);
    let snapshot = sign(&snapshot(1, &[("targets", 1, &top)]), &[5]);
    let passed = |signed_at: Value| {
        let timestamp = changed(timestamp(1, 1, &snapshot), |t| t["x-tidelock-signed-at"] = signed_at);
        let fresh = rooted().timestamp(None, &sign(&timestamp, &[4])).unwrap();
        let trusted = fresh.snapshot(None, &snapshot).unwrap().targets(&top).unwrap();
        assert_eq!(trusted.believed_until().to_string(), "2028-01-01T00:00:00Z");
        trusted.has_passed().map(|time| time.to_string())
    };
    assert_eq!(passed(json!("2026-11-24T07:00:00Z")).as_deref(), Some("2026-11-24T07:00:00Z"));
    assert_eq!(passed(json!("2099-01-01T00:00:00Z")).as_deref(), Some("2028-01-01T00:00:00Z"));
    assert_eq!(trusted(&targets(1, &[]), &[]).has_passed(), None);
}
