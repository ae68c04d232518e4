//! Finding a file through delegations: order, patterns, terminating roles, circles, and whom a role is verified against.

use std::path::PathBuf;

use serde_json::json;
use tidelock_protocol::trust::Error;

use super::*;

/// Looks for files as any TUF client would, from the root down; gives the roles that were asked for, in order.
struct Seeker {
    world: World,
}

impl Seeker {
    fn new(build: impl FnOnce(&mut Repository)) -> Self {
        let mut repository = Repository::new();
        build(&mut repository);
        let roles: Vec<String> =
            repository["snapshot"]["meta"].as_object().unwrap().keys().cloned().collect();
        drop(roles);
        Self { world: World::before_contact(Order::RootFirst, repository) }
    }

    fn seek(&mut self, name: &str) -> (String, Result<Vec<u8>, Failure>) {
        let stored: PathBuf = self.world.scratch.join(name.replace('/', "-"));
        let trusted = self.world.trust.refresh(&self.world.http, self.world.reading).unwrap();
        self.world.site.take_asked();
        let found = self.world.trust.file(&self.world.http, &trusted, name, &stored);
        let asked = self.world.site.take_asked();
        let roles = asked.iter().filter_map(|asked| asked.strip_prefix("1.")).collect::<Vec<_>>().join(" ");
        (roles, found)
    }

    /// The roles that a search for `name` asks for when no role names it.
    fn visits(&mut self, name: &str) -> String {
        let (roles, found) = self.seek(name);
        assert!(matches!(found, Err(Failure::Nowhere { .. })), "{found:?}");
        roles
    }
}

/// Delegator, role, patterns; a `!` before the role: terminating.
type Graph<'a> = &'a [(&'a str, &'a str, &'a [&'a str])];

fn build(repository: &mut Repository, graph: Graph<'_>) {
    let mut roles: Vec<&str> = Vec::new();
    for (by, role, paths) in graph {
        let name = role.trim_start_matches('!');
        repository.delegate(by, name, paths);
        repository.delegation(by, name)["terminating"] = json!(name != *role);
        if !roles.contains(&name) {
            roles.push(name);
        }
    }
    repository.publish(&roles);
    repository.publish(&["targets", "snapshot", "timestamp"]);
}

#[test]
fn roles_are_asked_in_the_order_of_the_specification() {
    const ANY: &[&str] = &["*"];
    const PY: &[&str] = &["*.py"];
    let cases: [(Graph<'_>, &str); 12] = [
        (&[("targets", "A", ANY)], "A"),
        (&[("targets", "A", ANY), ("targets", "B", ANY)], "A B"),
        (&[("targets", "A", ANY), ("targets", "B", ANY), ("B", "C", ANY)], "A B C"),
        (&[("targets", "A", ANY), ("targets", "B", ANY), ("A", "C", ANY), ("A", "D", ANY)], "A C D B"),
        (&[("targets", "A", ANY), ("targets", "B", ANY), ("A", "C", ANY), ("C", "D", ANY)], "A C D B"),
        (&[("targets", "A", ANY), ("targets", "B", ANY), ("A", "!C", ANY), ("A", "D", ANY)], "A C"),
        (&[("targets", "A", ANY), ("targets", "B", ANY), ("A", "!C", ANY), ("C", "D", ANY)], "A C D"),
        (&[("targets", "A", PY), ("targets", "B", ANY), ("A", "C", ANY)], "B"),
        (&[("targets", "A", ANY), ("targets", "B", ANY), ("A", "C", PY), ("C", "D", ANY)], "A B"),
        (
            &[
                ("targets", "A", ANY),
                ("targets", "B", ANY),
                ("B", "C", ANY),
                ("C", "D", ANY),
                ("D", "B", ANY),
            ],
            "A B C D",
        ),
        (&[("targets", "A", ANY), ("targets", "B", ANY), ("B", "C", ANY), ("A", "C", ANY)], "A C B"),
        (&[("targets", "A", ANY), ("targets", "B", ANY), ("B", "C", ANY), ("A", "C", PY)], "A B C"),
    ];
    for (graph, expected) in cases {
        assert_eq!(
            Seeker::new(|repository| build(repository, graph)).visits("missing"),
            expected,
            "{graph:?}"
        );
    }
}

#[test]
fn a_file_is_found_only_where_every_delegator_allows_it() {
    let mut seeker = Seeker::new(|repository| {
        repository.target("targets", "targetfile", b"targetfile");
        let graph: Graph<'_> = &[
            ("targets", "A", &["*.doc", "*.md", "foo-?.tgz"]),
            ("targets", "B", &["releases/*/*"]),
            ("B", "C", &["releases/x/*"]),
            ("B", "D", &["releases/y/*.zip"]),
        ];
        for (by, role, paths) in graph {
            repository.delegate(by, role, paths);
        }
        for name in ["README.md", "releases/README.md", "foo-1.tgz", "foo-alpha.tgz"] {
            repository.target("A", name, name.as_bytes());
        }
        repository.target("C", "releases/x/x_v1", b"releases/x/x_v1");
        for name in ["releases/y/y_v1.zip", "releases/z/z_v1.zip"] {
            repository.target("D", name, name.as_bytes());
        }
        repository.publish(&["A", "C", "D", "B", "targets", "snapshot", "timestamp"]);
    });
    for name in ["targetfile", "README.md", "releases/x/x_v1", "releases/y/y_v1.zip", "foo-1.tgz"] {
        assert_eq!(seeker.seek(name).1.unwrap(), name.as_bytes());
    }
    for name in ["releases/z/z_v1.zip", "releases/README.md", "foo-alpha.tgz", "README.MD"] {
        seeker.visits(name);
    }
}

#[test]
fn a_role_that_one_delegator_vouches_for_is_not_vouched_for_by_another() {
    let mut seeker = Seeker::new(|repository| {
        repository.delegate("targets", "parent-a", &["a.*"]);
        repository.delegate("targets", "parent-b", &["b.*"]);
        repository.delegate("parent-a", "release", &["a.*"]);
        repository.delegate("parent-b", "release", &["b.*"]);
        repository.signers("release").truncate(1);
        repository.target("release", "a.file", b"trusted");
        repository.target("release", "b.file", b"malicious");
        repository.publish(&["release", "parent-a", "parent-b", "targets", "snapshot", "timestamp"]);
    });
    assert_eq!(seeker.seek("a.file").1.unwrap(), b"trusted");
    disbelieved!(seeker.seek("b.file").1, Error::Threshold { valid: 0, needed: 1, .. });
}

#[test]
fn a_delegated_role_that_is_not_in_the_snapshot_is_not_even_asked_for() {
    let mut seeker = Seeker::new(|repository| {
        build(repository, &[("targets", "A", &["*"])]);
        repository["snapshot"]["meta"].as_object_mut().unwrap().remove("A.json");
        repository.publish(&["snapshot", "timestamp"]);
        repository.files.insert("metadata/3.snapshot.json".into(), repository.signed("snapshot"));
    });
    let (asked, found) = seeker.seek("file");
    disbelieved!(found, Error::Unlisted { .. });
    assert_eq!(asked, "");
}

#[test]
fn hash_prefixes_lead_to_the_bin_of_a_name() {
    let mut seeker = Seeker::new(|repository| {
        for (bin, prefixes) in [("low", "01234567"), ("high", "89abcdef")] {
            repository.delegate("targets", bin, &[]);
            let delegation = repository.delegation("targets", bin);
            delegation.as_object_mut().unwrap().remove("paths");
            delegation["path_hash_prefixes"] = prefixes.chars().map(|digit| digit.to_string()).collect();
        }
        // SHA-256 of "file" begins with 3b9c, that of "other" with d929.
        repository.target("low", "file", b"file");
        repository.target("low", "other", b"not where it belongs");
        repository.publish(&["low", "high", "targets", "snapshot", "timestamp"]);
    });
    assert_eq!(seeker.seek("file").1.unwrap(), b"file");
    assert_eq!(seeker.visits("other"), "high");
}

#[test]
fn more_roles_than_anybody_needs_end_the_search() {
    let names: Vec<String> = (0..40).map(|number| format!("r{number:02}")).collect();
    let graph: Vec<(&str, &str, &[&str])> =
        names.iter().map(|name| ("targets", name.as_str(), &["*"][..])).collect();
    let mut seeker = Seeker::new(|repository| build(repository, &graph));
    disbelieved!(seeker.seek("missing").1, Error::TooManyRoles { limit: 32, .. });
}

#[test]
fn a_delegation_that_breaks_a_rule_of_its_form_spoils_its_delegator() {
    type Change = fn(&mut Value);
    let changes: [Change; 5] = [
        |roles| roles[1]["name"] = json!("A"),
        |roles| roles[1]["name"] = json!("root"),
        |roles| roles[1]["threshold"] = json!(0),
        |roles| roles[1]["path_hash_prefixes"] = json!(["0"]),
        |roles| drop(roles[1].as_object_mut().unwrap().remove("paths")),
    ];
    for change in changes {
        let mut repository = Repository::new();
        build(&mut repository, &[("targets", "A", &["a"]), ("targets", "B", &["b"])]);
        change(&mut repository["targets"]["delegations"]["roles"]);
        repository.publish(&["targets", "snapshot", "timestamp"]);
        let mut world = World::before_contact(Order::RootFirst, repository);
        let answer = world.trust.refresh(&world.http, world.reading);
        assert!(matches!(
            answer,
            Err(Failure::Trust { source: Error::Malformed { .. } | Error::Unreadable { .. }, .. })
        ));
    }
}

#[test]
fn a_file_that_is_not_the_named_one_is_not_kept_and_a_kept_one_is_not_fetched_again() {
    let mut seeker = Seeker::new(|repository| {
        repository.target("targets", "file", b"the right bytes");
        repository.publish(&["targets", "snapshot", "timestamp"]);
    });
    let stored = seeker.world.scratch.join("file");
    for wrong in ["the wrong bytes", "the right byte", "the right bytes!"] {
        seeker.world.site.lie(".file", Reply::Bytes(wrong.as_bytes().to_vec()));
        assert!(seeker.seek("file").1.is_err(), "{wrong}");
        assert!(!stored.exists());
    }
    seeker.world.site.repent();
    assert_eq!(seeker.seek("file").1.unwrap(), b"the right bytes");
    seeker.world.site.lie(".file", Reply::Status(500));
    assert_eq!(seeker.seek("file").1.unwrap(), b"the right bytes");
    std::fs::write(&stored, "altered").unwrap();
    assert!(seeker.seek("file").1.is_err());
}

#[test]
fn every_stated_digest_counts_and_one_must_be_known() {
    use sha2::Digest as _;
    let sha512 = data_encoding::HEXLOWER.encode(&sha2::Sha512::digest(b"bytes"));
    let cases = [
        (json!({"sha512": sha512}), true),
        (json!({"sha512": "00".repeat(64)}), false),
        (json!({"unknown": sha512}), false),
        (json!({}), false),
    ];
    for (hashes, found) in cases {
        let mut seeker = Seeker::new(|repository| {
            repository.target("targets", "file", b"bytes")["hashes"] = hashes.clone();
            repository.files.insert(format!("targets/{sha512}.file"), b"bytes".to_vec());
            repository.publish(&["targets", "snapshot", "timestamp"]);
        });
        assert_eq!(seeker.seek("file").1.is_ok(), found, "{hashes}");
    }
}
