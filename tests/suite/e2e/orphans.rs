//! Apps that are wanted no more, where the environment says that they are deleted.

use std::fs;

use tidelock_tests::program::run;
use tidelock_tests::programs::Ours;

use super::site::Plan;

#[test]
fn after_seven_days_an_orphan_is_deleted_but_for_its_data() {
    let now = run("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ synchronised"]);
    let site = Plan { agent: Ours::AgentWithTestClock, clock: Some((&now, 1)), ..Plan::new("prune") }.build();
    site.arrives();
    let app = site.device.app("files");
    fs::create_dir_all(app.join("data")).unwrap();
    fs::write(app.join("data/kept"), "mine").unwrap();
    site.fleet.write("environments/staging.toml", "prune = true\n[apps]\n");
    site.fleet.commit("no more files");
    site.fleet.publish().well();
    let ran = site.device.update().well();
    assert!(
        ran.stdout.contains("files: orphan: ") && ran.stdout.contains(", deleted after 2"),
        "{}",
        ran.said()
    );
    assert_eq!((site.device.live("files"), fs::read_dir(app.join("releases")).unwrap().count()), (None, 1));
    let record = site.device.root().join("var/lib/tidelock/journal/files.orphan.json");
    let kept = fs::read_to_string(&record).unwrap();
    let year = kept.find("\"20").unwrap() + 1;
    fs::write(&record, format!("{}2020{}", &kept[..year], &kept[year + 4..])).unwrap();
    let ran = site.device.update().well();
    assert!(ran.said().contains("files: forget it; its data stays"), "{}", ran.said());
    assert_eq!(run("ls", &["-A", app.to_str().unwrap()]), "data");
    assert_eq!(fs::read_to_string(app.join("data/kept")).unwrap(), "mine");
    assert!(!record.exists());
    assert!(site.device.update().well().stdout.contains("files: not-wanted"));
}
