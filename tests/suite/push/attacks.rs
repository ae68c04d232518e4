//! What somebody may try who has a token, half a token, or none.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::*;

const WISH: &str = r#"{"app":"web","version":"1.0"}"#;

#[test]
fn a_token_of_staging_does_nothing_on_prod_and_none_does_nothing_at_all() {
    let stage = Stage::new("tokens").serving();
    stage.push("1.0", &stage.build("one", "hello"), &[]).well();
    let push = |environment: &str, token: &str| {
        stage.ask("POST", &format!("environments/{environment}/pushes"), token, WISH)
    };
    let (status, said) = push("prod", &stage.token);
    assert!(status == 403 && said.contains("is not for the environment prod"), "{said}");
    let db = stage.create("db", &["--app", "db", "--expires", "1d"]);
    let (status, said) = push("staging", &db);
    assert!(status == 403 && said.contains("is not for the app web"), "{said}");
    assert_eq!(stage.push_as(&db, "1.1", &stage.build("one", "hello"), &[]).code, 3);
    let short = stage.create("short", &["--expires", "1s"]);
    until("it expires", || stage.ask("GET", "environments/staging", &short, "").0 == 401);
    assert!(push("staging", &short).1.contains("expired"));
    let state = stage.room.fleet.state();
    tool(&["token", "revoke", "--state", state.to_str().unwrap(), "ci"], "").well();
    let (status, said) = push("staging", &stage.token);
    assert!(status == 401 && said.contains("was revoked"), "{said}");
    for token in ["", "tidelock_guess", "x y"] {
        assert_eq!(push("staging", token).0, 401);
    }
    let listed = tool(&["token", "list", "--state", state.to_str().unwrap()], "").well().stdout;
    assert!(
        listed.contains("REVOKED") && listed.contains("EXPIRED") && listed.contains("last used"),
        "{listed}"
    );
    assert!(!listed.contains(&stage.token));
    assert!(stage.room.device().find("env.staging.desired.json").unwrap().is_none(), "nothing moved");
}

#[test]
fn names_that_would_like_to_be_paths_are_no_names() {
    let stage = Stage::new("names").serving();
    for path in [
        "apps/..%2f..%2fetc/releases/1.0",
        "apps/web/releases/..%2f..%2f1.0",
        "apps/WEB/releases/1.0",
        "apps/web/releases/1+0",
        "apps/guard/releases/1.0",
        "environments/..",
        "environments/..%2fprod",
        "environments/%00",
        "environments/staging/pushes/x",
    ] {
        let (status, said) = stage.ask("GET", path, &stage.token, "");
        assert!([400, 403, 404].contains(&status), "{path}: {status} {said}");
    }
    let digest = "0".repeat(64);
    for path in [
        "apps/web/uploads/..%2f..%2fx",
        "apps/web/uploads/XYZ",
        &format!("apps/web/uploads/{digest}/blocks/-1"),
    ] {
        assert_eq!(stage.ask("PUT", path, &stage.token, "x").0, 400, "{path}");
    }
    let body = r#"{"version":"../1","platform":"linux-../x","tree":"0","index":"0"}"#;
    assert_eq!(stage.ask("POST", "apps/web/releases", &stage.token, body).0, 400);
    for (path, platform) in [("1.0", "windows"), ("../up", "any"), ("1.0", "linux-../..")] {
        let ran = stage.push(path, &stage.build("one", "hello"), &["--platform", platform]);
        assert_eq!(ran.code, 2, "{}", ran.said());
    }
}

#[test]
fn an_upload_that_is_not_what_it_says_is_refused_and_leaves_nothing_published() {
    let stage = Stage::new("uploads").serving();
    let digest = "0".repeat(64);
    let (status, said) = stage.ask("PUT", &format!("apps/web/uploads/{digest}"), &stage.token, "no index");
    assert!(status == 400 && said.contains("not 000"), "{said}");
    let real = tidelock_protocol::digest::Digest::of(b"no index");
    let (status, said) = stage.ask("PUT", &format!("apps/web/uploads/{real}"), &stage.token, "no index");
    assert_eq!(status, 400, "{said}");
    let (status, said) = stage.ask("PUT", &format!("apps/web/uploads/{digest}/blocks/0"), &stage.token, "x");
    assert!(status == 404 && said.contains("begin it with its index"), "{said}");
    let body = format!(r#"{{"version":"1.0","platform":"any","tree":"{digest}","index":"{digest}"}}"#);
    let (status, said) = stage.ask("POST", "apps/web/releases", &stage.token, &body);
    assert_eq!(status, 404, "{said}");
    let (status, said) = stage.ask("POST", "environments/staging/pushes", &stage.token, WISH);
    assert!(status == 404 && said.contains("web has no release 1.0"), "{said}");
    let (status, said) =
        stage.ask("POST", "apps/hello/releases", &stage.create("all", &["--expires", "1d"]), &body);
    assert!(status == 404 && said.contains("takes no releases"), "{said}");
}

#[test]
fn a_huge_body_is_refused_by_its_head_and_junk_by_its_first_byte() {
    let stage = Stage::new("huge").serving();
    let mut client = Client::connect(stage.address, None).unwrap();
    let digest = "0".repeat(64);
    let mut head = format!("PUT /api/v1/apps/web/uploads/{digest}/blocks/0 HTTP/1.1\r\nhost: x\r\n");
    write!(head, "authorization: Bearer {}\r\ncontent-length: 99999999999\r\n\r\n", stage.token).unwrap();
    assert_eq!(client.send(&head).unwrap().status, 413);
    for body in ["", "[", "{}", r#"{"app":1}"#, "\u{0}"] {
        assert_eq!(stage.ask("POST", "environments/staging/pushes", &stage.token, body).0, 400, "{body:?}");
    }
    let (status, document) = stage.ask("GET", "openapi.json", "", "");
    assert!(
        status == 200 && document.contains("\"/api/v1/environments/{environment}/pushes\""),
        "{document}"
    );
}

/// A request that announces a body of a million bytes.
fn announcing(token: &str) -> String {
    let digest = "0".repeat(64);
    let path = format!("/api/v1/apps/web/uploads/{digest}/blocks/0");
    format!(
        "PUT {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 1000000\r\n\r\n"
    )
}

#[test]
fn slow_uploads_of_strangers_and_of_one_token_end_and_hold_no_other_up() {
    let stage = Stage::new("slow").serving();
    let files = stage.build("one", "hello");
    // Nobody waits for the body of a stranger: the answer is there before its first byte.
    for _ in 0..20 {
        let mut stranger = Client::connect(stage.address, None).unwrap();
        assert_eq!(stranger.send(&announcing("tidelock_guess")).unwrap().status, 401);
    }
    let slow = stage.create("slow", &["--expires", "1d"]);
    let (address, head) = (stage.address, announcing(&slow));
    let held: Vec<_> = (0..12)
        .map(|_| {
            let head = head.clone();
            thread::spawn(move || Client::connect(address, None).unwrap().send(&head).unwrap().status)
        })
        .collect();
    // One that is never silent, and never done.
    let dripping = thread::spawn(move || {
        let mut drip = TcpStream::connect(address).unwrap();
        drip.write_all(head.as_bytes()).unwrap();
        (0..600)
            .take_while(|_| {
                thread::sleep(Duration::from_millis(100));
                drip.write_all(b"x").is_ok()
            })
            .count()
    });
    stage.push("1.0", &files, &["--env", "staging"]).well();
    assert_eq!(stage.room.device().version("staging", "web"), "1.0");
    let mut ended: Vec<u16> = held.into_iter().map(|thread| thread.join().unwrap()).collect();
    ended.sort_unstable();
    assert!(ended.iter().all(|status| [408, 503].contains(status)), "{ended:?}");
    assert!(ended.contains(&408) && ended.contains(&503), "one token has not all the places: {ended:?}");
    assert!(dripping.join().unwrap() < 600, "a body that never ends is ended");
}

#[test]
fn a_branch_that_would_like_to_be_a_path_or_an_option_is_none() {
    let stage = Stage::new("branches").serving();
    let files = stage.build("one", "hello");
    let fleet = stage.room.fleet.repository();
    let refs = stage.room.fleet.git(&["for-each-ref"]);
    for branch in ["../../hooks/x", "a/../b", "--upload-pack=x", "@{-1}", "x.lock", "a b", "HEAD~1", ""] {
        for option in [format!("--branch={branch}"), format!("--on={branch}")] {
            let more = ["--env", "prod", "--commit", "--fleet", fleet.to_str().unwrap(), &option];
            let more: Vec<&str> =
                more.into_iter().filter(|one| *one != "--commit" || option.starts_with("--on")).collect();
            let ran = stage.push("1.0", &files, &more);
            assert!(ran.code == 1 || ran.code == 2, "{option}: {}", ran.said());
        }
    }
    assert_eq!(stage.room.fleet.git(&["for-each-ref"]), refs);
    stage.room.fleet.write("environments/prod.toml", "branch = \"../main\"\n[apps]\n");
    stage.room.fleet.commit("a branch that is a path");
    until("it is refused", || stage.said().contains("environments/prod.toml:1:10: "));
}
