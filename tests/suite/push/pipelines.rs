//! The ready pipelines of `docs/ci`: their shell steps are run as they are written, against a real server.

use super::*;

const FILES: [(&str, &str); 5] = [
    ("github/action.yml", include_str!("../../../docs/ci/github/action.yml")),
    ("gitlab.yml", include_str!("../../../docs/ci/gitlab.yml")),
    ("circleci.yml", include_str!("../../../docs/ci/circleci.yml")),
    ("Jenkinsfile", include_str!("../../../docs/ci/Jenkinsfile")),
    ("tekton.yaml", include_str!("../../../docs/ci/tekton.yaml")),
];

/// The lines of a pipeline that a shell runs.
fn steps(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("- "));
    let ours = lines.filter(|line| line.starts_with("tidelock-server ") || line.starts_with("VERSION="));
    ours.map(|line| format!("{line}\n")).collect()
}

#[test]
fn each_ready_pipeline_is_at_most_20_lines_and_its_steps_do_what_they_say() {
    let stage = Stage::new("pipelines").serving();
    let files = stage.build("one", "hello");
    let path = std::env::var("PATH").unwrap();
    let ours = Ours::Server.path();
    let path = format!("{}:{path}", ours.parent().unwrap().display());
    for (n, (name, text)) in FILES.into_iter().enumerate() {
        assert!(text.lines().count() <= 20, "{name}");
        let steps = steps(text);
        assert_eq!(steps.matches("tidelock-server ").count(), 2, "{name}: {steps}");
        let greeting = stage.build("one", &format!("hello {n}"));
        let ran = Command::new("sh")
            .args(["-e", "-c", &steps])
            .env("PATH", &path)
            .env("TIDELOCK_SERVER", format!("http://{}", stage.address))
            .env("TIDELOCK_TOKEN", &stage.token)
            .envs([("APP", "web"), ("ENVIRONMENT", "staging"), ("VERSION", &format!("1.{n}"))])
            .envs([("BUILD_NUMBER", &format!("{n}")), ("CIRCLE_BUILD_NUM", &format!("1{n}"))])
            .env("FILES", &greeting)
            .output()
            .unwrap();
        let ran = Ran::of(&ran);
        assert_eq!(ran.code, 0, "{name}: {}", ran.said());
        assert!(ran.stdout.contains("staging is published (serial"), "{name}: {}", ran.said());
    }
    assert!(files.exists());
    assert_eq!(stage.room.device().desired("staging").serial, FILES.len() as u64);
}
