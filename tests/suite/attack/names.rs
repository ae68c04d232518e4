//! Role names that would like to be paths, and what they become in URLs and on the disk.

use tidelock_protocol::trust::Error;
use tidelock_tests::repository::encoded;

use super::*;

#[test]
fn a_role_name_is_one_component_of_url_and_file_whatever_it_says() {
    for role in ["?", "#", "/delegatedrole", "../delegatedrole", "..", "a b", "%2e", "é", "walk", "desired"]
    {
        let mut repository = Repository::new();
        repository.delegate("targets", role, &["*"]);
        repository.publish(&[role, "targets", "snapshot", "timestamp"]);
        let mut world = World::before_contact(Order::RootFirst, repository);
        let trusted = world.trust.refresh(&world.http, world.reading).unwrap();
        let stored = world.scratch.join("file");
        world.site.take_asked();
        let found = world.trust.file(&world.http, &trusted, "nowhere", &stored);
        assert!(matches!(found, Err(Failure::Nowhere { .. })), "{role} {found:?}");
        assert_eq!(world.site.take_asked(), [format!("1.{}", encoded(role))]);
        let mut names: Vec<_> = std::fs::read_dir(world.scratch.join("trust"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                !["root.json", "timestamp.json", "snapshot.json", "targets.json", "walk"]
                    .contains(&name.as_str())
            })
            .collect();
        assert_eq!(names.pop(), Some(format!("{}.json", encoded(role))));
        assert!(names.is_empty());
        assert_eq!(std::fs::read_dir(world.scratch.path()).unwrap().count(), 1, "nothing outside the store");
    }
}

#[test]
fn no_delegated_role_takes_the_place_of_a_top_level_one() {
    for role in ["root", "timestamp", "snapshot", "targets", ""] {
        let mut repository = Repository::new();
        repository.delegate("targets", "a", &["*"]);
        repository.delegation("targets", "a")["name"] = serde_json::json!(role);
        repository.publish(&["targets", "snapshot", "timestamp"]);
        let mut world = World::before_contact(Order::RootFirst, repository);
        let answer = world.trust.refresh(&world.http, world.reading);
        assert!(matches!(answer, Err(Failure::Trust { source: Error::Malformed { .. }, .. })), "{role:?}");
    }
}
