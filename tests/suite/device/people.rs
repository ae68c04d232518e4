//! People and what the environment wants no more: held, pinned, orphaned, and what each command says of it.

use std::fs;

use tidelock_tests::program::until;
use tidelock_tests::world::Daemon;

use super::stage::Stage;

const FAIR: [&str; 4] = ["--reason", "the fair", "--owner", "anna"];

fn hold<'a>(what: &'a str, time: &'a str) -> Vec<&'a str> {
    [&["hold", what, "--for", time][..], &FAIR].concat()
}

#[test]
fn a_held_app_stays_what_it_is_says_by_whom_and_goes_on_when_it_is_let() {
    let stage = Stage::web("people-hold");
    stage.update(0);
    stage.change("web", "page", Some("two"));
    let said = stage.device.run(&hold("web", "1h")).well().stdout;
    assert!(said.contains("web is held until") && said.contains("tidelock resume web"), "{said}");
    let ran = stage.update(3);
    assert!(ran.stdout.contains("web: hold: anna holds it until ") && ran.stdout.contains(": the fair"));
    assert_eq!((stage.page().as_str(), stage.device.state("web").as_str()), ("one", "OutOfSync Suspended"));
    let status = stage.device.status();
    assert_eq!(status["apps"]["web"]["hold"]["owner"], "anna");
    assert_eq!(status["apps"]["web"]["hold"]["reason"], "the fair");
    assert!(stage.device.run(&["status"]).stdout.contains("  held until 2"), "{status}");
    assert!(stage.device.run(&["why", "web"]).stdout.contains(" by anna: the fair"));
    let said = stage.device.run(&["resume", "web"]).well().stdout;
    assert!(said.contains("web may go on"), "{said}");
    stage.update(0);
    assert_eq!((stage.page().as_str(), stage.device.state("web").as_str()), ("two", "Synced Healthy"));
}

#[test]
fn a_hold_of_everything_is_told_besides_and_ends_by_itself() {
    let stage = Stage::web("people-hold-all");
    stage.device.run(&hold("--all", "1h")).well();
    stage.update(3);
    assert_eq!(stage.device.live("web"), None, "nothing is entered");
    assert!(stage.device.run(&["status"]).stdout.contains("everything is held until"));
    stage.device.run(&hold("web", "1h")).well();
    let said = stage.device.run(&["resume", "--all"]).well().stdout;
    assert!(said.contains("web is still held by anna until"), "{said}");
    let said = stage.device.run(&hold("web", "1s")).well().stdout;
    assert!(said.contains("web is held until"), "{said}");
    until("the hold is over", || stage.device.update().code == 0);
    assert_eq!(stage.page(), "one");
    assert!(!stage.device.root().join("var/lib/tidelock/journal/web.hold.json").exists());
}

#[test]
fn the_daemon_hears_a_hold_a_pin_and_their_end_at_once() {
    let stage = Stage::web("people-daemon");
    stage.update(0);
    let first = stage.device.status()["apps"]["web"]["current"]["version"].as_str().unwrap().to_owned();
    let daemon = Daemon::start(&stage.device, &stage.scratch.join("log"));
    stage.device.run(&hold("web", "1h")).well();
    stage.change("web", "page", Some("two"));
    daemon.poke();
    until("the daemon knows the new wish", || stage.device.state("web") == "OutOfSync Suspended");
    assert_eq!(stage.page(), "one");
    stage.device.run(&["resume", "web"]).well();
    until("the new release is live", || {
        stage.page() == "two" && stage.device.state("web") == "Synced Healthy"
    });
    stage.device.run(&[&["pin", "web", &first, "--for", "1h"][..], &FAIR].concat()).well();
    until("the pinned release is live", || stage.device.state("web") == "OutOfSync Healthy");
    assert_eq!(stage.page(), "one");
    stage.device.run(&["resume", "web"]).well();
    until("the new release is back", || {
        stage.page() == "two" && stage.device.state("web") == "Synced Healthy"
    });
    daemon.stop();
    assert!(!stage.device.run(&["why"]).stdout.contains("refused"));
}

#[test]
fn a_pin_leads_only_to_what_passed_here_or_is_wanted() {
    let stage = Stage::web("people-pin");
    stage.update(0);
    let version = |key: &str| {
        stage.device.status()["apps"]["web"][key]["version"].as_str().unwrap_or_default().to_owned()
    };
    let pin =
        |version: &str| stage.device.run(&[&["pin", "web", version, "--for", "1h"][..], &FAIR].concat());
    let first = version("current");
    let refused = pin("1.0");
    assert!(refused.code == 3 && refused.stderr.contains(&first), "{}", refused.said());
    pin(&first).well();
    stage.change("web", "page", Some("two"));
    let ran = stage.update(3);
    assert!(ran.stdout.contains(&format!("web: pin: anna keeps it on {first} (")), "{}", ran.said());
    assert_eq!(stage.page(), "one");
    assert!(stage.device.run(&["status"]).stdout.contains(&format!("  pinned to {first}")));
    let wanted = version("wanted");
    pin(&wanted).well();
    stage.update(0);
    assert_eq!((stage.page().as_str(), version("pin")), ("two", wanted));
}

#[test]
fn an_app_that_is_wanted_no_more_is_stopped_and_comes_back_at_once_from_what_is_here() {
    let stage = Stage::web("people-orphan");
    stage.update(0);
    let wants = |text: &str| {
        stage.fleet.write("environments/staging.toml", text);
        stage.publish("another wish");
    };
    wants("[apps]\n");
    let ran = stage.update(0);
    assert!(ran.stdout.contains("web: orphan: the environment wants it here no more"), "{}", ran.said());
    assert_eq!((stage.device.live("web"), stage.story("web").as_str()), (None, "start stop"));
    assert_eq!(stage.device.state("web"), "Synced Missing");
    let releases = stage.device.app("web").join("releases");
    assert_eq!(fs::read_dir(&releases).unwrap().count(), 1, "its releases are kept");
    let again = stage.update(0);
    assert!(!again.said().contains("stop tree"), "{}", again.said());
    wants("[apps]\nweb = \"follow\"\n");
    let ran = stage.update(0);
    assert!(
        ran.said().contains("record that it is wanted again") && !ran.said().contains("fetch"),
        "{}",
        ran.said()
    );
    assert_eq!(stage.device.state("web"), "Synced Healthy");
    assert_eq!(stage.story("web"), "start stop start");
}
