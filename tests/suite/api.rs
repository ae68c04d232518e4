//! What is written for other people's programs, judged by them: the OpenAPI document by schemathesis, which asks whatever
//! the document allows and much that it does not; the ready pipelines by the public schemas of their systems.

use std::fs;
use std::path::Path;
use std::process::Command;

use tidelock_tests::program::beside_python;
use tidelock_tests::pushing::Stage;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::Ran;

#[test]
fn schemathesis_finds_no_failure_and_no_answer_that_the_document_does_not_describe() {
    let stage = Stage::new("schemathesis").serving();
    stage.push("1.0", &stage.build("one", "hello"), &["--env", "staging"]).well();
    let token = stage.create("all", &["--expires", "1d"]);
    let ran = Command::new(beside_python("schemathesis"))
        .args(["run", &format!("http://{}/api/v1/openapi.json", stage.address)])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--phases", "coverage,fuzzing", "--max-time", "60", "--workers", "1", "--continue-on-failure"])
        // What a schema cannot say (a name that is reserved, a digest of something that is not there) is refused too.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .current_dir(stage.room.scratch.path())
        .output()
        .unwrap();
    let ran = Ran::of(&ran);
    assert_eq!(ran.code, 0, "{}\n{}", ran.said(), stage.said());
    assert!(ran.stdout.contains("generated,") && !ran.stdout.contains("0 generated"), "{}", ran.stdout);
    assert!(!stage.said().contains("panicked"), "{}", stage.said());
    stage.push("1.1", &stage.build("two", "again"), &["--env", "staging"]).well();
}

#[test]
fn the_ready_pipelines_fit_the_public_schemas_of_their_systems() {
    let scratch = Scratch::new("ci-schemas");
    for (schema, file) in [
        ("vendor.github-actions", "github/action.yml"),
        ("vendor.gitlab-ci", "gitlab.yml"),
        ("vendor.circle-ci", "circleci.yml"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ci").join(file);
        let text = fs::read_to_string(path).unwrap();
        // A component of GitLab is two documents, and its schema describes one at a time.
        for (n, document) in text.split("\n---\n").enumerate() {
            let copy = scratch.join(format!("{n}.yml"));
            let check = |text: &str| {
                fs::write(&copy, text).unwrap();
                let mut program = Command::new(beside_python("check-jsonschema"));
                Ran::of(&program.args(["--builtin-schema", schema]).arg(&copy).output().unwrap())
            };
            check(document).well();
            assert_ne!(check("[nothing, of, that, kind]").code, 0, "{schema} lets everything pass");
        }
    }
}
