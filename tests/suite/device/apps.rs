//! What becomes of releases: good ones, bad ones, and those that a person takes back.

use std::fs;

use tidelock_tests::authority::Authority;
use tidelock_tests::served::Served;

use super::stage::Stage;

#[test]
fn a_commit_becomes_a_running_release_and_a_change_costs_only_what_changed() {
    let stage = Stage::web("device-install");
    assert_eq!(stage.device.state("web"), "none none", "{:?}", stage.device.status());
    assert_eq!(stage.device.run(&["check"]).code, 10);
    assert_eq!(stage.device.state("web"), "OutOfSync Missing");
    stage.update(0);
    assert_eq!((stage.device.state("web").as_str(), stage.page().as_str()), ("Synced Healthy", "one"));
    assert_eq!(stage.story("web"), "start");
    assert_eq!(stage.device.run(&["check"]).code, 0);
    let first = stage.device.live("web").unwrap();
    stage.change("web", "page", Some("two"));
    let said = stage.update(0).said();
    assert!(said.contains("of 2 files 1 were here"), "{said}");
    assert_eq!((stage.page().as_str(), stage.story("web").as_str()), ("two", "start stop start"));
    assert_eq!(stage.update(0).stdout.lines().count(), 1);
    assert!(stage.device.app("web").join("releases").join(first).join("tree/page").exists(), "the way back");
}

#[test]
fn a_bad_release_goes_back_is_refused_and_not_tried_again_until_it_changes() {
    let stage = Stage::web("device-bad");
    stage.update(0);
    let good = stage.device.live("web").unwrap();
    stage.change("web", "good", None);
    let ran = stage.update(3);
    assert!(ran.stdout.starts_with("web: refused: "), "{}", ran.stdout);
    assert_eq!(stage.device.live("web").unwrap(), good);
    assert_eq!(stage.device.state("web"), "OutOfSync Healthy");
    assert_eq!(stage.story("web"), "start stop start stop start");
    let why = stage.device.run(&["why", "web"]).stdout;
    assert!(why.contains("check good failed") && why.contains("no file called good"), "{why}");
    stage.update(3);
    assert_eq!(stage.story("web"), "start stop start stop start", "a refused release is left alone");
    stage.fleet.git(&["revert", "--no-edit", "HEAD"]);
    stage.fleet.publish().well();
    stage.update(0);
    assert_eq!(stage.device.state("web"), "Synced Healthy");
    assert_eq!(stage.story("web"), "start stop start stop start", "it never left what is wanted again");
}

#[test]
fn a_check_asks_by_https_whatever_the_certificate_says_and_only_success_passes() {
    let stage = Stage::web("device-https");
    let authority = Authority::new(&stage.scratch.join("ca"));
    let served = Served::start(&stage.fleet.out(), Some(&authority.server("app"))).unwrap();
    let check = |path: &str| {
        let limits = "interval = 1\ndeadline = 1\n";
        format!("format = 1\n[[check]]\nname = \"answers\"\nhttp = \"{}{path}\"\n{limits}", served.url())
    };
    stage.change("web", "release.toml", Some(&check("/metadata/timestamp.json")));
    stage.update(0);
    stage.change("web", "release.toml", Some(&check("/metadata/nothing.json")));
    assert!(stage.update(3).stdout.contains("answered 404"));
}

#[test]
fn a_release_that_does_not_start_goes_back_too() {
    let stage = Stage::web("device-start");
    stage.update(0);
    stage.change("web", "fails-to-start", Some(""));
    stage.update(3);
    assert_eq!((stage.page().as_str(), stage.device.state("web").as_str()), ("one", "OutOfSync Healthy"));
    assert!(stage.device.run(&["why"]).stdout.contains("check start failed: ended with status 1"));
}

#[test]
fn a_first_install_that_fails_leaves_nothing_live_and_is_tried_again_later() {
    let stage = Stage::with("device-first", &[("web", &[("page", "one")])]);
    let ran = stage.update(1);
    assert!(ran.stdout.starts_with("web: backing-off: "), "{}", ran.stdout);
    assert_eq!((stage.device.live("web"), stage.story("web").as_str()), (None, "start stop"));
    stage.change("web", "good", Some(""));
    stage.update(0);
    assert_eq!(stage.device.state("web"), "Synced Healthy");
}

#[test]
fn a_person_goes_back_and_later_tries_again() {
    let stage = Stage::web("device-rollback");
    assert_eq!(stage.device.run(&["rollback", "web", "--reason", "x"]).code, 3, "nothing is installed");
    stage.update(0);
    let none = stage.device.run(&["rollback", "web", "--reason", "x"]);
    assert_eq!(none.code, 3, "{}", none.said());
    assert!(none.stderr.contains("nothing to go back to"), "{}", none.stderr);
    stage.change("web", "page", Some("two"));
    stage.update(0);
    let ran = stage.device.run(&["rollback", "web", "--reason", "too blue", "--owner", "anna"]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert_eq!(stage.page(), "one");
    assert!(stage.update(3).stdout.contains("anna went back from it: too blue"));
    assert_eq!(stage.page(), "one", "the next poll does not undo it");
    assert_eq!(stage.device.run(&["retry", "web"]).code, 0);
    assert_eq!((stage.page().as_str(), stage.device.state("web").as_str()), ("two", "Synced Healthy"));
}

#[test]
fn of_two_apps_one_fails_and_the_other_goes_on() {
    let stage = Stage::with("device-two", &[("api", &[]), ("web", &[("good", ""), ("page", "one")])]);
    let ran = stage.update(1);
    assert!(ran.stdout.contains("api: backing-off: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("web: synced: "), "{}", ran.stdout);
    assert_eq!(stage.device.state("api"), "OutOfSync Missing");
    assert_eq!(stage.device.state("web"), "Synced Healthy");
}

#[test]
fn a_recipe_that_cannot_be_used_is_refused_before_anything_stops() {
    let stage = Stage::web("device-recipe");
    stage.update(0);
    stage.device.configure("test", "");
    stage.change("web", "page", Some("two"));
    let said = stage.update(3).stdout;
    assert!(said.contains("allow_root_apps"), "{said}");
    assert_eq!((stage.page().as_str(), stage.story("web").as_str()), ("one", "start"));
}

#[test]
fn a_live_tree_that_somebody_changed_is_named_file_by_file() {
    let stage = Stage::web("device-verify");
    stage.update(0);
    assert_eq!(stage.device.run(&["verify"]).code, 0);
    let tree = stage.device.app("web").join("current/tree");
    fs::remove_file(tree.join("good")).unwrap();
    fs::remove_file(tree.join("page")).unwrap();
    fs::write(tree.join("page"), "owe").unwrap();
    fs::write(tree.join("extra"), "").unwrap();
    let ran = stage.device.run(&["verify"]);
    assert_eq!(ran.code, 10);
    for said in ["web: good is missing", "web: page has other content", "web: extra is not listed"] {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
    }
}
