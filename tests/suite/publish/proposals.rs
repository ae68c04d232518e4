//! A commit before it is taken: what is wrong with it, and what it would change.

use std::fs;

use tidelock_tests::programs::Ours;
use tidelock_tests::publisher::{Room, listing};
use tidelock_tests::world::Ran;

/// Runs a command that looks at a commit of this fleet.
fn look(room: &Room, command: &str, more: &[&str]) -> Ran {
    let mut program = std::process::Command::new(Ours::Server.path());
    program.arg(command).arg("--fleet").arg(room.fleet.repository()).args(more);
    Ran::of(&program.output().unwrap())
}

fn out(room: &Room) -> String {
    room.fleet.out().to_str().unwrap().to_owned()
}

#[test]
fn validate_says_everything_at_once_with_line_and_column_and_touches_nothing() {
    let room = Room::new("validate");
    room.published();
    let first = room.fleet.git(&["rev-parse", "HEAD"]);
    room.fleet.write("apps/web/app.toml", "path = \"apps/web/tree\"\nruns_on = [\"linux-arm64\"]\n");
    room.fleet.write("apps/web/tree/release.toml", "format = 1\nuser = \"nobody\"\nhoks = 1\n");
    room.fleet.write(
        "apps/web/tree/big.bin",
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    );
    room.fleet.write("apps/api/app.toml", "");
    let digest = "0".repeat(64);
    let pinned =
        format!("format = 1\n[platforms.any]\nindex = \"{digest}\"\nsize = 1\ntree = \"{digest}\"\n");
    room.fleet.write("apps/api/releases/1.0.toml", pinned);
    room.fleet
        .write("environments/staging.toml", "[apps]\nweb = \"follow\"\nhelo = \"follow\"\napi = \"1.0\"\n");
    room.fleet.write("environments/prod.toml", "[apps]\nhello = \"git-00\"\n");
    room.fleet.commit("mistakes");
    let before = (listing(&room.fleet.out()), listing(&room.fleet.state()));
    let ran = look(&room, "validate", &["--out", &out(&room)]);
    assert_eq!(ran.code, 1, "{}", ran.said());
    for expected in [
        "apps/web/tree/big.bin: is a Git LFS pointer",
        "apps/web/tree/release.toml:3: ",
        "environments/staging.toml:3:8: `apps.helo`: there is no apps/helo/app.toml; did you mean `hello`?",
        "apps/api/releases/1.0.toml:2:12: api 1.0 for any is pinned to the index 000",
        "environments/staging.toml:4:7: api has no release 1.0; its newest: none",
        "environments/prod.toml:2:9: hello has no release git-00; its newest: git-",
    ] {
        assert!(ran.said().contains(expected), "{expected}\n{}", ran.said());
    }
    assert_eq!((listing(&room.fleet.out()), listing(&room.fleet.state())), before);
    let ran = look(&room, "validate", &["--commit", &first, "--out", &out(&room)]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert_eq!(look(&room, "validate", &["--commit", "nowhere"]).code, 1);
}

#[test]
fn validate_refuses_a_platform_that_is_missing_and_several_apps_that_vanish() {
    let room = Room::new("platforms");
    room.fleet.write(
        "apps/web/app.toml",
        "runs_on = [\"linux-arm64\"]\n[platforms]\nlinux-amd64 = \"apps/hello/tree\"\n",
    );
    room.fleet.write("apps/two/app.toml", "path = \"apps/hello/tree\"\n");
    room.fleet.want(&["hello", "two"]);
    room.fleet.commit("two apps");
    room.published();
    room.fleet.write("environments/staging.toml", "[apps]\nweb = \"follow\"\n");
    room.fleet.commit("gone");
    let ran = look(&room, "validate", &["--out", &out(&room)]);
    assert_eq!(ran.code, 1, "{}", ran.said());
    for expected in [
        "environments/staging.toml:2:7: web git-",
        "has no bundle for linux-arm64, which apps/web/app.toml says it runs on; it has: linux-amd64",
        "environments/staging.toml: removes 2 apps from staging at once: hello, two; if that is meant, say --allow-prune",
    ] {
        assert!(ran.said().contains(expected), "{expected}\n{}", ran.said());
    }
    room.fleet.write(
        "apps/web/app.toml",
        "runs_on = [\"linux-amd64\"]\n[platforms]\nlinux-amd64 = \"apps/hello/tree\"\n",
    );
    room.fleet.commit("it runs");
    let ran = look(&room, "validate", &["--out", &out(&room), "--allow-prune"]);
    assert_eq!(ran.code, 0, "{}", ran.said());
}

#[test]
fn plan_says_what_a_commit_changes_and_costs_as_text_json_and_markdown() {
    let room = Room::new("planned");
    room.fleet.write("apps/hello/tree/blob", vec![7; 300_000]);
    room.fleet.commit("first");
    room.published();
    let version = room.device().version("prod", "hello");
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.write("environments/prod.toml", format!("[apps]\nhello = \"{version}\"\n"));
    room.fleet.commit("second");
    let before = (listing(&room.fleet.out()), listing(&room.fleet.state()));
    let ran = look(&room, "plan", &["--out", &out(&room)]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert!(ran.stdout.contains("prod: nothing changes"), "{}", ran.said());
    assert!(ran.stdout.contains(&format!("  hello: {version} → git-")), "{}", ran.said());
    assert!(ran.stdout.contains("any: 0 added, 1 changed, 0 removed; a device fetches"), "{}", ran.said());
    let ran = look(&room, "plan", &["--out", &out(&room), "--env", "staging", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let app = &json["environments"][0]["apps"][0];
    assert_eq!((&json["format"], &app["from"]), (&1.into(), &version.into()));
    assert_eq!(
        (&app["platforms"]["any"]["changed"], &app["platforms"]["any"]["write"]),
        (&1.into(), &7.into())
    );
    let ran = look(&room, "plan", &["--out", &out(&room), "--markdown"]);
    assert!(
        ran.stdout.starts_with("### prod\n\nNothing changes.\n\n### staging\n\n| app |"),
        "{}",
        ran.said()
    );
    assert_eq!((listing(&room.fleet.out()), listing(&room.fleet.state())), before);
    // What is said of the bytes is what the next publish makes of them.
    room.published();
    let index = fs::metadata(&room.fleet.targets("hello", "index")[0]).unwrap().len();
    assert!(app["platforms"]["any"]["fetch"].as_u64().unwrap() > index);
}
