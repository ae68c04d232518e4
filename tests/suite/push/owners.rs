//! One owner per environment: the other way in is refused, by name and with the right command, and a move is a commit.

use std::fs;

use super::*;

#[test]
fn a_push_to_an_environment_of_git_prints_the_change_or_commits_it_and_the_api_refuses_it() {
    let stage = Stage::new("owners").serving();
    let files = stage.build("one", "hello");
    let ran = stage.push("1.0", &files, &["--env", "prod"]).well();
    assert!(ran.stdout.contains("prod is owned by git"), "{}", ran.said());
    assert!(
        ran.stdout.contains("# apps/web/releases/1.0.toml\nformat = 1\n\n[platforms.any]\nindex = "),
        "{}",
        ran.said()
    );
    let all = stage.create("all", &["--expires", "1d"]);
    let (status, said) =
        stage.ask("POST", "environments/prod/pushes", &all, r#"{"app":"web","version":"1.0"}"#);
    assert_eq!(status, 403, "{said}");
    assert!(said.contains("owned by git") && said.contains("promote"), "{said}");

    let fleet = stage.room.fleet.repository();
    let person =
        ["AUTHOR", "COMMITTER"].map(|role| (format!("GIT_{role}_NAME"), format!("GIT_{role}_EMAIL")));
    let more = ["--env", "prod", "--commit", "--fleet", fleet.to_str().unwrap()];
    let mut command = stage.pushing(&stage.token, "1.0", &files, &more);
    for (name, mail) in person {
        command.env(name, "CI").env(mail, "ci@example.com");
    }
    Ran::of(&command.output().unwrap()).well();
    assert_eq!(stage.room.fleet.git(&["log", "-1", "--format=%s by %an"]), "Release web 1.0 by CI");
    stage.room.fleet.write("environments/prod.toml", "[apps]\nweb = \"1.0\"\n");
    let commit = stage.room.fleet.commit("prod wants it");
    let url = format!("http://{}", stage.address);
    let more = ["wait", "--server", &url, "--env", "prod", "--commit", &commit, "--timeout", "30s"];
    tool(&more, &stage.token).well();
    assert_eq!(stage.room.device().version("prod", "web"), "1.0");
}

#[test]
fn moving_an_environment_to_another_owner_is_a_commit_that_ends_the_old_way() {
    let stage = Stage::new("move").serving();
    let files = stage.build("one", "hello");
    stage.push("1.0", &files, &["--env", "staging"]).well();
    let rules = fs::read_to_string(stage.room.fleet.repository().join("fleet.toml")).unwrap();
    stage.room.fleet.write("fleet.toml", rules.replace("owner = \"push\"", "owner = \"git\""));
    stage.room.fleet.write("environments/staging.toml", "[apps]\nhello = \"follow\"\nweb = \"1.0\"\n");
    let commit = stage.room.fleet.commit("staging is owned by git");
    let staging = || stage.room.device().desired("staging");
    until("git moves it", || staging().source.commit == commit);
    assert_eq!(staging().serial, 2);
    // What is asked while that turn ends is taken, and refused by the next.
    let old_way =
        || stage.ask("POST", "environments/staging/pushes", &stage.token, r#"{"app":"web","version":"1.0"}"#);
    until("the old way in is refused", || old_way().0 == 403);
    let said = old_way().1;
    assert!(said.contains("owned by git"), "{said}");

    stage.room.fleet.write("fleet.toml", &rules);
    stage.room.fleet.git(&["rm", "--quiet", "environments/staging.toml"]);
    stage.room.fleet.commit("staging is owned by push again");
    let owner = || stage.ask("GET", "environments/staging", &stage.token, "").1;
    until("push owns it", || owner().contains("\"owner\":\"push\""));
    assert_eq!(staging().serial, 2, "nothing moved by that alone");
    stage.room.fleet.write("environments/staging.toml", "[apps]\n");
    stage.room.fleet.commit("somebody tries it the old way");
    until("it is refused", || stage.said().contains("the environment staging is owned by push"));
    assert!(stage.said().contains("`tidelock-server push --env staging` moves it"), "{}", stage.said());
    stage.room.fleet.git(&["revert", "--no-edit", "HEAD"]);
    stage.push("1.1", &stage.build("two", "again"), &["--env", "staging"]).well();
    let desired = staging();
    assert_eq!((desired.serial, desired.source.commit.as_str(), desired.apps.len()), (3, "", 2));
}

#[test]
fn pushes_wait_for_their_interval_and_the_newest_wins() {
    let stage = Stage::with("queue", "min_interval = \"1h\"\n").serving();
    let files = stage.build("one", "hello");
    stage.push("1.0", &files, &["--env", "staging"]).well();
    stage.push("1.1", &stage.build("two", "two"), &[]).well();
    stage.push("1.2", &stage.build("three", "three"), &[]).well();
    let push = |version: &str| {
        let words = format!("{{\"app\":\"web\",\"version\":\"{version}\",\"pipeline\":\"run {version}\"}}");
        stage.ask("POST", "environments/staging/pushes", &stage.token, &words)
    };
    assert_eq!(push("1.1"), (202, r#"{"id":2,"queue":1}"#.into()));
    assert_eq!(push("1.2"), (202, r#"{"id":3,"queue":1}"#.into()));
    let state = |id: u32| stage.ask("GET", &format!("environments/staging/pushes/{id}"), &stage.token, "").1;
    assert!(state(2).contains("superseded"), "{}", state(2));
    until("the reason is known", || state(3).contains("min_interval: not before"));
    let (_, environment) = stage.ask("GET", "environments/staging", &stage.token, "");
    assert!(environment.contains(r#""queue":[{"id":3,"app":"web","version":"1.2""#), "{environment}");
    assert_eq!(stage.room.device().version("staging", "web"), "1.0");
    // Time enough for the server to have said why, in an emulator as well.
    let ran = stage.push("1.2", &stage.build("three", "three"), &["--env", "staging", "--timeout", "5s"]);
    assert!(ran.code == 4 && ran.stderr.contains("min_interval"), "{}", ran.said());
}

#[test]
fn a_mistake_on_the_branch_stops_no_pipeline() {
    let mut stage = Stage::new("mistake").serving();
    let prod = stage.room.device().desired("prod");
    stage.room.fleet.write("environments/prod.toml", "[apps]\nno-such-app = \"follow\"\n");
    stage.room.fleet.commit("a mistake");
    until("it is told", || stage.said().contains("everything stays at the commit that was taken last"));
    assert!(stage.said().contains("no-such-app"), "{}", stage.said());
    stage.push("1.0", &stage.build("one", "one"), &["--env", "staging"]).well();
    assert_eq!(stage.room.device().version("staging", "web"), "1.0");
    // A server that is started while the mistake stands knows what there was before it.
    stage.stop();
    stage.start();
    stage.push("1.1", &stage.build("two", "two"), &["--env", "staging"]).well();
    // What stands in for the branch is what was taken, not what nobody could take.
    assert_eq!(stage.room.device().desired("prod"), prod);
    stage.room.fleet.git(&["revert", "--no-edit", "HEAD"]);
    until("it is well again", || stage.said().contains("well again"));
}

#[test]
fn a_push_that_waited_is_made_when_its_interval_is_over_and_not_before() {
    let stage = Stage::with("interval", "min_interval = \"8s\"\n").serving();
    stage.push("1.0", &stage.build("one", "one"), &["--env", "staging"]).well();
    let first = stage.room.device().desired("staging").serial;
    stage.push("1.1", &stage.build("two", "two"), &[]).well();
    let words = r#"{"app":"web","version":"1.1","pipeline":"run 2"}"#;
    assert_eq!(stage.ask("POST", "environments/staging/pushes", &stage.token, words).0, 202);
    let state = || stage.ask("GET", "environments/staging/pushes/2", &stage.token, "").1;
    until("the reason is known", || state().contains("min_interval: not before"));
    assert_eq!(stage.room.device().version("staging", "web"), "1.0");
    // Nobody pushes again: what waits is made by the server alone.
    until("its time comes", || stage.room.device().version("staging", "web") == "1.1");
    assert_eq!(stage.room.device().desired("staging").serial, first + 1);
}

#[test]
fn a_server_with_the_keys_of_staging_alone_cannot_sign_prod() {
    let stage = Stage::new("keys");
    let rules = fs::read_to_string(stage.room.fleet.repository().join("fleet.toml")).unwrap();
    let key = tidelock_server::keys::Secret::generate().unwrap();
    let rules = rules.replace("[keys]\n", &format!("[keys]\nci = \"{}\"\n", key.public_text()));
    let (before, after) = rules.split_once("[environments.prod]").unwrap();
    let before =
        before.rsplit_once("keys = [\"owner\"]").map(|(a, b)| format!("{a}keys = [\"ci\"]{b}")).unwrap();
    stage.room.fleet.write("fleet.toml", format!("{before}[environments.prod]{after}"));
    stage.room.fleet.commit("staging has a key of its own");
    key.write_new(&stage.room.fleet.keys().join("ci/ci.pem")).unwrap();
    stage.room.published();
    fs::remove_dir_all(stage.room.fleet.keys().join("owner")).unwrap();
    let stage = stage.serving();
    let files = stage.build("one", "hello");
    stage.push("1.0", &files, &["--env", "staging"]).well();
    stage.room.fleet.write("environments/prod.toml", "[apps]\nweb = \"1.0\"\n");
    stage.room.fleet.commit("prod wants it");
    until("prod waits", || {
        stage.said().contains("env.prod is signed by 0 of the 1 it takes; still missing: owner")
    });
    let device = stage.room.device();
    assert_eq!(device.version("staging", "web"), "1.0");
    assert!(!device.desired("prod").apps.contains_key(&"web".parse().unwrap()));
}

#[test]
fn where_pipelines_own_every_environment_a_rewritten_branch_stops_them_until_somebody_says_why() {
    let stage = Stage::new("descent");
    let fleet = &stage.room.fleet;
    let rules = fs::read_to_string(fleet.repository().join("fleet.toml")).unwrap();
    fleet.write("fleet.toml", rules.replace("owner = \"git\"", "owner = \"push\""));
    fleet.git(&["rm", "--quiet", "environments/prod.toml"]);
    fleet.commit("prod is owned by push as well");
    fleet.publish().well();
    fleet.write("README.md", "second");
    let second = fleet.commit("second");
    fleet.publish().well();
    fleet.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    fleet.write("README.md", "another second");
    fleet.commit("another second");
    let ran = fleet.publish();
    assert!(ran.code == 3 && ran.stderr.contains(&second), "{}", ran.said());
    fleet.server("publish", &["--accept-rewrite", "it held a secret"]).well();
    fleet.publish().well();
    let audit = fs::read_to_string(fleet.state().join("audit.jsonl")).unwrap();
    let line = audit.lines().find(|line| line.contains("rewrite accepted")).unwrap();
    assert!(line.contains(&second) && line.contains("it held a secret"), "{line}");
}

#[test]
fn the_audit_names_every_token_registration_and_move_with_the_token_that_made_it() {
    let stage = Stage::new("audit").serving();
    stage.push("1.0", &stage.build("one", "hello"), &["--env", "staging"]).well();
    let state = stage.room.fleet.state();
    tool(&["token", "revoke", "--state", state.to_str().unwrap(), "ci"], "").well();
    let audit = fs::read_to_string(state.join("audit.jsonl")).unwrap();
    let events: Vec<serde_json::Value> =
        audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |event: &str, app: &str| {
        let is = |one: &&serde_json::Value| one["event"] == event && (app.is_empty() || one["app"] == app);
        events.iter().find(is).unwrap_or_else(|| panic!("no {event} {app}: {audit}"))
    };
    assert_eq!(find("token created", "")["environments"], serde_json::json!(["staging"]));
    assert_eq!(find("registered", "hello")["token"], serde_json::Value::Null);
    let web = find("registered", "web");
    assert_eq!((web["token"].as_str(), web["source"].as_str()), (Some("ci"), Some("5eed")));
    let moved = events.iter().find(|one| one["event"] == "published" && one["environment"] == "staging");
    assert_eq!(moved.unwrap()["source"]["token"], "ci");
    assert_eq!(find("token revoked", "")["name"], "ci");
}
