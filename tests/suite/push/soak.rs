//! An environment that waits for the one before it, and the glass that may be broken.

use std::fs;

use super::*;

/// Prod waits until staging was published with a release for `soak`; prod wants web 1.0.
fn stage(name: &str, soak: &str) -> Stage {
    let stage = Stage::new(name);
    let rules = fs::read_to_string(stage.room.fleet.repository().join("fleet.toml")).unwrap();
    let prod = "[environments.prod]\n";
    let rule = format!("{prod}requires = \"staging\"\nsoak = \"{soak}\"\n");
    stage.room.published();
    stage.room.fleet.write("fleet.toml", rules.replace(prod, &rule));
    stage.room.fleet.commit("prod waits for staging");
    let stage = stage.serving();
    stage.push("1.0", &stage.build("one", "hello"), &[]).well();
    stage.room.fleet.write("environments/prod.toml", "[apps]\nhello = \"follow\"\nweb = \"1.0\"\n");
    stage.room.fleet.commit("prod wants web");
    stage
}

fn wants(stage: &Stage) -> bool {
    stage.room.device().desired("prod").apps.contains_key(&"web".parse().unwrap())
}

#[test]
fn prod_takes_what_staging_was_published_with_for_long_enough_and_nothing_else() {
    let stage = stage("soak", "2s");
    until("it is refused", || stage.said().contains("web 1.0: staging was never published with it"));
    assert!(!wants(&stage));
    stage.push("1.0", &stage.build("one", "hello"), &["--env", "staging"]).well();
    until("it soaked", || wants(&stage));
    let audit = fs::read_to_string(stage.room.fleet.state().join("audit.jsonl")).unwrap();
    assert!(!audit.contains("broken glass"), "{audit}");
}

#[test]
fn broken_glass_lets_it_through_for_a_while_and_is_loud_and_written_down() {
    let mut stage = stage("glass", "30d");
    until("it is refused", || stage.said().contains("staging was never published with it"));
    stage.stop();
    let ran = stage.room.fleet.publish();
    assert!(ran.code == 3 && ran.stdout.contains("`tidelock-server break-glass`"), "{}", ran.said());
    let (state, out) = (stage.room.fleet.state(), stage.room.fleet.out());
    let (state, out) = (state.to_str().unwrap(), out.to_str().unwrap());
    let glass =
        ["break-glass", "--state", state, "--env", "prod", "--owner", "ada", "--reason", "the site is down"];
    assert_eq!(tool(&glass, "").code, 2, "it must end");
    assert_eq!(tool(&[&glass[..], &["--expires", "30d"]].concat(), "").code, 2, "and soon");
    tool(&[&glass[..], &["--expires", "2h"]].concat(), "").well();
    let ran = stage.room.fleet.publish().well();
    assert!(ran.stdout.contains("warning: glass is broken: prod") && wants(&stage), "{}", ran.said());
    let status = tool(&["status", "--out", out, "--state", state], "");
    assert_eq!(status.code, 10, "{}", status.said());
    assert!(
        status.stdout.starts_with("BROKEN GLASS: prod waits for no other environment until "),
        "{}",
        status.said()
    );
    assert!(status.stdout.contains("ada") && status.stdout.contains("the site is down"), "{}", status.said());
    let audit = fs::read_to_string(stage.room.fleet.state().join("audit.jsonl")).unwrap();
    for words in
        ["\"event\":\"glass broken\"", "\"reason\":\"the site is down\"", "published through broken glass"]
    {
        assert!(audit.contains(words), "{words}: {audit}");
    }
}

#[test]
fn a_pull_request_is_judged_by_what_the_server_knows_without_its_disk() {
    let stage = stage("asked", "30d");
    let (url, fleet) = (format!("http://{}", stage.address), stage.room.fleet.repository());
    let ask = |command: &str, more: &[&str], token: &str| {
        let begin = [command, "--fleet", fleet.to_str().unwrap(), "--server", &url];
        tool(&[&begin[..], more].concat(), token)
    };
    let ran = ask("validate", &[], &stage.token);
    let expected =
        "environments/prod.toml:3:7: is not taken yet: web 1.0: staging was never published with it";
    assert!(ran.code == 1 && ran.stdout.contains(expected), "{}", ran.said());
    let ran = ask("validate", &[], "").well();
    assert!(ran.stdout.contains("not asked how long releases have soaked"), "{}", ran.said());
    let ran = ask("plan", &["--markdown"], "").well();
    assert!(ran.stdout.contains("| web | 1.0, new here | any | "), "{}", ran.said());
    assert_eq!(ask("validate", &[], "wrong").code, 3);
    // Proposed, and not on the branch that is published: a server that saw it there would publish nothing more.
    stage.room.fleet.git(&["checkout", "--quiet", "-b", "proposal"]);
    stage.room.fleet.write("environments/prod.toml", "[apps]\nhello = \"follow\"\nweb = \"9.9\"\n");
    let commit = stage.room.fleet.commit("prod wants what nobody registered");
    stage.room.fleet.git(&["checkout", "--quiet", "main"]);
    let ran = ask("validate", &["--commit", &commit], "");
    assert!(
        ran.code == 1 && ran.stdout.contains("web has no release 9.9; its newest: 1.0"),
        "{}",
        ran.said()
    );
    stage.push("1.0", &stage.build("one", "hello"), &["--env", "staging"]).well();
    let (state, out) = (stage.room.fleet.state(), stage.room.fleet.out());
    let places = ["--out", out.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let fleet = ["validate", "--fleet", fleet.to_str().unwrap()];
    let ran = tool(&[&fleet[..], &places[..]].concat(), "");
    assert!(ran.code == 1 && ran.stdout.contains("staging is published with it since"), "{}", ran.said());
    let ran = ask("promote", &["web", "--from", "staging", "--to", "prod"], "").well();
    assert!(ran.stdout.contains("# apps/web/releases/1.0.toml"), "{}", ran.said());
}
