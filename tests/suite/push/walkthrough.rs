//! What `docs/workflow.md` and `docs/server.md` tell to run, run as it stands there: only addresses and directories are those
//! of the test.

use std::fs;

use tidelock_tests::nginx::Config;
use tidelock_tests::program::{find, run};

use super::*;

const WORKFLOW: &str = include_str!("../../../docs/workflow.md");
const SERVER: &str = include_str!("../../../docs/server.md");

/// The block of `language` that holds `word`, without the indentation of a list.
fn block<'a>(page: &'a str, language: &str, word: &str) -> Vec<&'a str> {
    let fence = format!("```{language}");
    let all = page.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap());
    let found = all.into_iter().find(|block| block.contains(word)).unwrap_or_else(|| panic!("no {word}"));
    found.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// Runs lines in a clone of the fleet repository, one after the other; what all of them said.
fn run_all(stage: &Stage, url: &str, token: &str, lines: &[&str]) -> String {
    let room = &stage.room;
    let clone = room.scratch.join("clone");
    let state = room.fleet.state();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", Ours::Server.path().parent().unwrap().display());
    let mut said = String::new();
    for line in lines {
        let ours = line
            .replace("https://fleet.example.org", url)
            .replace("/var/lib/tidelock-server/state", state.to_str().unwrap())
            .replace("--state STATE", &format!("--state {}", state.display()));
        let mut shell = Command::new("sh");
        shell.args(["-ec", &ours]).current_dir(&clone).env("PATH", &path).env("TIDELOCK_TOKEN", token);
        for role in ["AUTHOR", "COMMITTER"] {
            shell.env(format!("GIT_{role}_NAME"), "ada").env(format!("GIT_{role}_EMAIL"), "ada@example.org");
        }
        let ran = Ran::of(&shell.output().unwrap());
        assert_eq!(ran.code, 0, "{line}: {}", ran.said());
        said.push_str(&ran.stdout);
    }
    said
}

#[test]
fn the_way_from_build_to_prod_and_from_pushes_to_commits_is_as_it_is_written() {
    let stage = Stage::new("walkthrough").serving();
    let fleet = stage.room.fleet.repository();
    let clone = stage.room.scratch.join("clone");
    run(find("git"), &["clone", "--quiet", fleet.to_str().unwrap(), clone.to_str().unwrap()]);
    fs::rename(stage.build("one", "hello"), clone.join("dist")).unwrap();
    let token = run_all(&stage, "", "", &block(SERVER, "sh", "token create")[..1]);
    let token = token.trim();
    // As behind the reverse proxy of the page.
    let location = block(SERVER, "nginx", "location /").join("\n");
    let location = location.trim_start_matches("location / {").trim_end_matches('}');
    let location = location.replace("127.0.0.1:8080", &stage.address.to_string());
    let nginx = Config::default().with(&location).start();
    let said = run_all(&stage, &nginx.url(), token, &block(WORKFLOW, "sh", "push --server"));
    assert!(said.contains("promote/web-1.4.2 of . is fine"), "{said}");
    assert!(said.contains("| web | 1.4.2, new here |"), "{said}");
    let lines = ["git push --quiet origin promote/web-1.4.2:merged"];
    run_all(&stage, "", token, &lines);
    stage.room.fleet.git(&["merge", "--quiet", "merged"]);
    until("prod wants it", || {
        let desired = stage.room.device().desired("prod");
        desired.apps.contains_key(&"web".parse().unwrap())
    });

    run_all(&stage, "", token, &["git fetch --quiet", "git reset --quiet --hard origin/main"]);
    let said = run_all(&stage, &nginx.url(), token, &block(WORKFLOW, "sh", "git checkout adopt"));
    assert!(said.contains("staging: nothing changes"), "{said}");
    run_all(&stage, "", token, &["git push --quiet origin adopt"]);
    stage.room.fleet.git(&["merge", "--quiet", "adopt"]);
    let (serial, owner) = (
        || stage.room.device().desired("staging").serial,
        || stage.ask("GET", "environments/staging", &stage.token, "").1,
    );
    until("git owns it", || owner().contains("\"owner\":\"git\""));
    let before = serial();
    run_all(&stage, "", token, &["git revert --no-edit HEAD", "git push --quiet origin HEAD:back"]);
    stage.room.fleet.git(&["merge", "--quiet", "back"]);
    until("push owns it again", || owner().contains("\"owner\":\"push\""));
    assert_eq!(serial(), before, "nothing moved by that alone");

    let ask = "curl -fsS -H \"Authorization: Bearer $TIDELOCK_TOKEN\" https://fleet.example.org/api/v1/environments/prod";
    assert!(WORKFLOW.contains(ask));
    let said = run_all(&stage, &nginx.url(), token, &[ask]);
    assert!(said.contains("\"queue\":[]"), "{said}");
    let said = run_all(&stage, "", token, &block(WORKFLOW, "sh", "break-glass"));
    assert!(said.contains("prod waits for no other environment until"), "{said}");
    let said = run_all(&stage, "", token, &block(SERVER, "sh", "token create")[1..]);
    assert!(said.contains("ci-web  apps: web  environments: staging"), "{said}");
    assert_eq!(stage.push_as(token, "1.5.0", &clone.join("dist"), &[]).code, 3, "it is revoked");
}
