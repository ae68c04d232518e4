//! The builder's key stays in the pipeline, and two pipelines at once lose nothing.

use std::fs;

use super::*;

/// A server without the builder's key; where that is.
fn without_builder(name: &str) -> (Stage, PathBuf) {
    let stage = Stage::new(name);
    stage.room.published();
    let key = stage.room.scratch.join("builder.pem");
    fs::rename(stage.room.fleet.keys().join("builder/builder.pem"), &key).unwrap();
    (stage.serving(), key)
}

#[test]
fn a_release_signed_in_the_pipeline_needs_no_key_of_the_builder_on_the_server() {
    let (stage, key) = without_builder("signer");
    let files = stage.build("one", "hello");
    let ran = stage.push("1.0", &files, &["--timeout", "3s"]);
    assert_eq!(ran.code, 4, "nobody signs it: {}", ran.said());
    let key = key.to_str().unwrap();
    stage.push("1.1", &stage.build("two", "two"), &["--env", "staging", "--signer", key]).well();
    assert_eq!(stage.room.device().version("staging", "web"), "1.1");
    let stranger = stage.room.scratch.join("stranger.pem");
    tidelock_server::keys::Secret::generate().unwrap().write_new(&stranger).unwrap();
    let ran = stage.push("1.2", &stage.build("three", "three"), &["--signer", stranger.to_str().unwrap()]);
    assert_eq!(ran.code, 3, "{}", ran.said());
    assert_eq!(stage.ask("GET", "apps/web/releases/1.2", &stage.token, "").1.matches("tree").count(), 0);
}

#[test]
fn two_pipelines_that_sign_at_once_are_both_published() {
    let (stage, key) = without_builder("twosigners");
    let key = key.to_str().unwrap().to_owned();
    let builds = [stage.build("one", "one"), stage.build("two", "two")];
    let children: Vec<_> = builds
        .iter()
        .enumerate()
        .map(|(n, files)| {
            let mut command = stage.pushing(&stage.token, &format!("1.{n}"), files, &["--signer", &key]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        Ran::of(&child.wait_with_output().unwrap()).well();
    }
    for n in 0..2 {
        let known = stage.ask("GET", &format!("apps/web/releases/1.{n}"), &stage.token, "").1;
        assert!(known.contains("tree"), "{known}");
    }
    // Who signs on what was is told so.
    let body = format!(
        r#"{{"version":"9","platform":"any","tree":"{0}","index":"{0}","role":"{{\"signed\":{{\"version\":1}}}}"}}"#,
        "0".repeat(64)
    );
    let (status, said) = stage.ask("POST", "apps/web/releases", &stage.token, &body);
    assert!(status == 409 && said.contains("based on an old version"), "{status} {said}");
}
