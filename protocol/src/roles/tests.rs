//! Roles as they are written and read, and every shape that is not one.

use super::*;

fn delegation(paths: &[&str]) -> Delegation {
    Delegation {
        name: "a".into(),
        keyids: vec![],
        threshold: NonZeroU32::MIN,
        terminating: false,
        paths: Some(paths.iter().map(ToString::to_string).collect()),
        path_hash_prefixes: None,
    }
}

#[test]
fn patterns_match_as_a_shell_does_within_one_directory() {
    for (pattern, name) in [
        ("env.prod.*", "env.prod.desired.json"),
        ("*", ""),
        ("*.md", "README.md"),
        ("foo-?.tgz", "foo-1.tgz"),
        ("foo-?.tgz", "foo-é.tgz"),
        ("releases/*/*", "releases/x/x_v1"),
        ("*a*b*c", "xxaxbxbcxc"),
        ("a**b", "ab"),
    ] {
        assert!(delegation(&[pattern]).covers(name), "{pattern} {name}");
    }
    for (pattern, name) in [
        ("env.prod.*", "env.production.desired.json"),
        ("*", "a/b"),
        ("*.md", "dir/README.md"),
        ("*.md", "README.MD"),
        ("foo-?.tgz", "foo-alpha.tgz"),
        ("a?b", "a/b"),
        ("a", "aa"),
        ("aa", "a"),
        ("?", ""),
        ("[ab]", "a"),
    ] {
        assert!(!delegation(&[pattern]).covers(name), "{pattern} {name}");
    }
    assert!(!delegation(&[]).covers("a"));
}

/// One pattern with many stars must not take time that grows like a power of the name.
#[test]
fn a_hostile_pattern_is_matched_in_bounded_time() {
    let pattern = "*a".repeat(2_000) + "b";
    assert!(!delegation(&[&pattern]).covers(&"a".repeat(8_000)));
}

#[test]
fn hash_prefixes_are_those_of_the_name() {
    let digest = Digest::of(b"file").to_string();
    let mut role = delegation(&[]);
    role.paths = None;
    role.path_hash_prefixes = Some(vec!["zz".into(), digest[..3].into()]);
    assert!(role.covers("file"));
    assert!(!role.covers("other"));
}

#[test]
fn only_version_one_of_the_specification_is_read() {
    for good in ["1.0.34", "1.0", "1.9.1"] {
        assert!(SpecVersion::try_from(good.to_owned()).is_ok(), "{good}");
    }
    for bad in ["", "1", "2.0.0", "10.0.0", "1.0.0.0", "1.x", "1.", " 1.0"] {
        assert!(SpecVersion::try_from(bad.to_owned()).is_err(), "{bad}");
    }
}

#[test]
fn roles_that_break_a_rule_of_their_form_are_refused() {
    let targets = |delegations: &str| {
        let text = format!(
            r#"{{"_type":"targets","spec_version":"1.0.34","version":1,"expires":"2030-01-01T00:00:00Z",
               "targets":{{}},"delegations":{{"keys":{{}},"roles":[{delegations}]}}}}"#
        );
        serde_json::from_str::<Targets>(&text).map(|targets| targets.check())
    };
    let role = |name: &str, rest: &str| format!(r#"{{"name":"{name}","keyids":[],"threshold":1{rest}}}"#);
    let (a, b) =
        (role("a", r#","paths":["*"]"#), role("b", r#","terminating":true,"path_hash_prefixes":["0"]"#));
    assert_eq!(targets(&format!("{a},{b}")).unwrap(), Ok(()));
    assert_eq!(targets(&format!("{a},{a}")).unwrap(), Err(Malformed::DelegatedTwice("a".into())));
    assert_eq!(targets(&role("a", "")).unwrap(), Err(Malformed::DelegatedPaths("a".into())));
    for name in ["root", "targets", ""] {
        let named = role(name, r#","paths":["*"]"#);
        assert_eq!(targets(&named).unwrap(), Err(Malformed::DelegatedName(name.into())));
    }
    assert!(targets(&a.replace(r#""threshold":1"#, r#""threshold":0"#)).is_err());
    assert!(targets(&a.replace(r#""threshold":1"#, r#""threshold":-1"#)).is_err());
}
