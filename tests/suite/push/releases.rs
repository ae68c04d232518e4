//! A release is handed in once, as a directory or an archive, and only what is new of it is sent.

use std::fs;

use tidelock_tests::program::{find, run, until};

use super::*;

#[test]
fn a_push_registers_moves_and_says_where_it_came_from_and_again_is_done_at_once() {
    let stage = Stage::new("push").serving();
    let files = stage.build("one", "hello");
    let ran = stage.push("1.0", &files, &["--env", "staging"]).well();
    assert!(ran.stdout.contains("staging wants it (serial 1)"), "{}", ran.said());
    let device = stage.room.device();
    let source = device.desired("staging").source;
    assert_eq!((device.version("staging", "web").as_str(), source.token.as_str()), ("1.0", "ci"));
    assert_eq!((source.commit.as_str(), source.subject.as_str()), ("", "push of web 1.0"));
    let provenance = String::from_utf8(device.bytes("app.web.1.0.any.provenance.json")).unwrap();
    assert!(provenance.contains("\"commit\":\"5eed\""), "{provenance}");

    let again = stage.push("1.0", &files, &["--env", "staging"]).well();
    assert!(
        again.stdout.contains("was registered before") && again.stdout.contains(", 0 bytes sent"),
        "{}",
        again.said()
    );
    assert_eq!(stage.room.device().desired("staging").serial, 1, "nothing was published anew");

    let other = stage.build("other", "good bye");
    let refused = stage.push("1.0", &other, &[]);
    assert_eq!(refused.code, 3, "{}", refused.said());
    let digests =
        refused.stderr.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64).count();
    assert!(digests == 2 && refused.stderr.contains("a version is immutable"), "{}", refused.stderr);

    let sent = |ran: &Ran| -> u64 {
        let words: Vec<&str> = ran.stdout.split_whitespace().collect();
        words[words.iter().position(|word| *word == "bytes").unwrap() - 1].parse().unwrap()
    };
    let second = stage.push("1.1", &other, &["--env", "staging"]).well();
    assert!(sent(&ran) > 1_000_000 && sent(&second) < 10_000, "{} {}", ran.said(), second.said());
    assert_eq!(stage.room.device().version("staging", "web"), "1.1");
    assert!(
        !stage.room.fleet.state().join("uploads").read_dir().unwrap().any(|_| true),
        "nothing is left over"
    );
}

#[test]
fn an_archive_is_the_same_release_as_its_directory_and_platforms_share_a_version() {
    let stage = Stage::new("archive").serving();
    let files = stage.build("one", "hello");
    let archive = stage.room.scratch.join("one.tar.gz");
    let (to, from) = (archive.to_str().unwrap(), files.to_str().unwrap());
    run(find("tar"), &["-czf", to, "-C", from, "."]);
    stage
        .push(
            "1.0",
            &archive,
            &["--platform", "linux-arm64", "--sbom", files.join("release.toml").to_str().unwrap()],
        )
        .well();
    let same = stage.push("1.0", &files, &["--platform", "linux-arm64"]).well();
    assert!(same.stdout.contains("was registered before"), "{}", same.said());
    let other = stage.push("1.0", &files, &["--platform", "linux-amd64", "--env", "staging"]).well();
    assert!(other.stdout.contains(", 0 bytes sent") || !other.stdout.contains("before"), "{}", other.said());
    let device = stage.room.device();
    let wanted = device.desired("staging").apps[&"web".parse().unwrap()][0].stable.platforms.len();
    assert_eq!(wanted, 2);
    let sbom = device.bytes("app.web.1.0.linux-arm64.sbom.json");
    assert_eq!(sbom, fs::read(files.join("release.toml")).unwrap());
}

#[test]
fn what_cannot_be_a_release_is_refused_before_anything_is_sent() {
    let stage = Stage::new("norelease").serving();
    let empty = stage.room.scratch.join("empty");
    fs::create_dir(&empty).unwrap();
    let ran = stage.push("1.0", &empty, &[]);
    assert!(ran.code == 1 && ran.stderr.contains("it says how the release is run"), "{}", ran.said());
    let files = stage.build("one", "hello");
    fs::write(files.join("release.toml"), "format = 1\nhoks = 1\n").unwrap();
    let ran = stage.push("1.0", &files, &[]);
    assert!(ran.code == 1 && ran.stderr.contains("line 2"), "{}", ran.said());
    std::os::unix::fs::symlink("/etc/passwd", empty.join("out")).unwrap();
    stage.build("empty", "x");
    let ran = stage.push("1.0", &empty, &[]);
    assert!(
        ran.code == 1 && ran.stderr.contains("out of") && ran.stderr.contains("is refused"),
        "{}",
        ran.said()
    );
    assert!(!stage.room.fleet.state().join("uploads").exists());
}

#[test]
fn wait_ends_when_it_is_published_and_otherwise_says_why_not() {
    let stage = Stage::new("wait").serving();
    let url = format!("http://{}", stage.address);
    let wait = |more: &[&str]| tool(&[&["wait", "--server", &url][..], more].concat(), &stage.token);
    stage.push("1.0", &stage.build("one", "hello"), &["--env", "staging"]).well();
    wait(&["--env", "staging", "--release", "web@1.0", "--timeout", "1s"]).well();
    let commit = stage.room.fleet.git(&["rev-parse", "HEAD"]);
    wait(&["--env", "prod", "--commit", &commit[..12], "--timeout", "120s"]).well();
    // A head that nobody can publish is not waited for until time is up.
    stage.room.fleet.write("environments/prod.toml", "[apps]\nnone = \"1.0\"\n");
    let wrong = stage.room.fleet.commit("a mistake");
    let ran = wait(&["--env", "prod", "--commit", wrong.trim(), "--timeout", "120s"]);
    let said = ran.code == 3 && ran.stderr.contains("prod does not take it") && ran.stderr.contains("none");
    assert!(said, "{}", ran.said());
    let ran = wait(&["--env", "prod", "--commit", &"5eed".repeat(10), "--timeout", "1s"]);
    assert_eq!(ran.code, 4, "another commit may still come: {}", ran.said());
    stage.room.fleet.git(&["revert", "--quiet", "--no-edit", "HEAD"]);
    let mended = stage.room.fleet.git(&["rev-parse", "HEAD"]);
    wait(&["--env", "prod", "--commit", mended.trim(), "--timeout", "120s"]).well();
    let ran = wait(&["--env", "staging", "--release", "web@2.0", "--timeout", "1s"]);
    assert_eq!(ran.code, 4, "{}", ran.said());
    let ran = wait(&["--env", "staging", "--release", "web@1.0", "--committed", "50"]);
    assert!(ran.code == 1 && ran.stderr.contains("no reports yet"), "{}", ran.said());
    assert_eq!(wait(&["--env", "staging"]).code, 2);
    assert_eq!(tool(&["wait", "--server", &url, "--env", "staging", "--release", "web@1.0"], "").code, 2);
    assert_eq!(tool(&["wait", "--server", &url, "--env", "staging", "--release", "web@1.0"], "no").code, 3);
}

#[test]
fn a_push_that_was_killed_goes_on_where_it_ended_and_a_server_that_was_killed_loses_nothing() {
    let mut stage = Stage::new("killed").serving();
    let files = stage.build("one", "hello");
    // Begun, and only a part of it sent.
    let url = format!("http://{}", stage.address);
    let mut child = stage.pushing(&stage.token, "1.0", &files, &[]).spawn().unwrap();
    let uploads = stage.room.fleet.state().join("uploads");
    until("something is uploaded", || uploads.read_dir().is_ok_and(|mut entries| entries.next().is_some()));
    child.kill().unwrap();
    child.wait().unwrap();
    stage.stop();
    stage.start();
    assert!(!url.is_empty());
    stage.push("1.0", &files, &["--env", "staging"]).well();
    assert_eq!(stage.room.device().version("staging", "web"), "1.0");
}

#[test]
fn a_commit_is_not_told_as_taken_while_a_signature_for_it_is_awaited() {
    let stage = Stage::new("awaited").serving();
    let key = stage.room.fleet.keys().join("owner/owner.pem");
    let elsewhere = stage.room.scratch.join("owner.pem");
    fs::rename(&key, &elsewhere).unwrap();
    stage.room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    let second = stage.room.fleet.commit("second").trim().to_owned();
    let pending = stage.room.fleet.state().join("pending/prod.json");
    until("it waits for the signature", || {
        fs::read_to_string(&pending).is_ok_and(|text| text.contains(&second))
    });
    let url = format!("http://{}", stage.address);
    let wait = |timeout| {
        let more = ["wait", "--server", &url, "--env", "prod", "--commit", &second, "--timeout", timeout];
        tool(&more, &stage.token)
    };
    // The turn that put it there has ended by then.
    let ran = wait("3s");
    assert_eq!(ran.code, 4, "{}", ran.said());
    fs::rename(&elsewhere, &key).unwrap();
    wait("120s").well();
    assert_eq!(stage.room.device().desired("prod").source.commit, second);
}

#[test]
fn what_is_left_of_an_upload_that_is_published_goes_with_the_next_turn_and_what_is_being_filled_stays() {
    let stage = Stage::new("leftover").serving();
    stage.push("1.0", &stage.build("one", "hello"), &["--env", "staging"]).well();
    let uploads = stage.room.fleet.state().join("uploads");
    let index = |name: &str| name.ends_with(".app.web.1.0.any.index").then(|| name[..64].to_owned());
    let targets = fs::read_dir(stage.room.fleet.out().join("targets")).unwrap();
    let published = targets.flatten().find_map(|entry| index(entry.file_name().to_str()?)).unwrap();
    // As a server leaves it that is killed while it removes it: the index alone.
    fs::create_dir(uploads.join(&published)).unwrap();
    fs::write(uploads.join(&published).join("index"), "x").unwrap();
    let other = uploads.join("0".repeat(64));
    fs::create_dir(&other).unwrap();
    stage.push("1.1", &stage.build("two", "two"), &["--env", "staging"]).well();
    until("it is gone", || !uploads.join(&published).exists());
    assert!(other.exists(), "nobody knows it");
    // The same name again, and somebody is at work on it.
    fs::create_dir(uploads.join(&published)).unwrap();
    fs::write(uploads.join(&published).join("bundle"), "x").unwrap();
    stage.push("1.2", &stage.build("three", "three"), &["--env", "staging"]).well();
    assert!(uploads.join(&published).exists(), "it is being filled");
}
