//! The long-running publisher, and the demo, as people run them.

use std::fs;
use std::process::Command;

use tidelock_tests::authority::Authority;
use tidelock_tests::client::{self, Client};
use tidelock_tests::program::until;
use tidelock_tests::programs::Ours;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::world::{Fleet, Serve};

#[test]
fn serve_publishes_survives_a_bad_commit_says_it_once_and_ends_when_asked() {
    let scratch = Scratch::new("e2e-serve");
    let fleet = Fleet::init(&scratch.join("server"));
    let authority = Authority::new(&scratch.join("ca"));
    let log = scratch.join("log");
    let serve = Serve::start(&fleet, Some(&authority.server("server")), &log);
    let tls = client::tls(&authority.certificate(), None);
    let etag = || {
        let mut client = Client::connect(serve.address(), Some(&tls)).unwrap();
        let answer = client.get("/metadata/timestamp.json", &[]).unwrap();
        answer.header("etag").map(str::to_owned).filter(|_| answer.status == 200)
    };
    until("the first commit is published", || etag().is_some());
    let first = etag();
    fleet.write("environments/staging.toml", "[apps]\nno-such-app = \"follow\"\n");
    fleet.commit("A wish for what is not there");
    let said = || fs::read_to_string(&log).unwrap();
    until("the trouble is told", || said().contains("no-such-app"));
    // Two looks more, of which nothing is said.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(said().matches("trouble:").count(), 1, "{}", said());
    assert_eq!(etag(), first);
    fleet.git(&["revert", "--no-edit", "HEAD"]);
    until("it is well again", || said().contains("well again"));
    fleet.write("apps/hello/tree/greeting.txt", "hello again\n");
    fleet.commit("Another greeting");
    until("the next commit is published", || etag() != first && said().contains("Another greeting"));
    assert_eq!(serve.stop(), Some(0));
}

#[test]
fn the_demo_claims_only_what_is_so_and_leaves_nothing_behind() {
    let scratch = Scratch::new("e2e-demo");
    let run = |path: Option<&str>| {
        let mut demo = Command::new(Ours::Demo.path());
        demo.env("TMPDIR", scratch.path());
        if let Some(path) = path {
            demo.env("PATH", path);
        }
        let ended = demo.output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stdout).into_owned())
    };
    let (code, said) = run(None);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("every process that it started has ended"), "{said}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "something stayed behind");
    let (code, said) = run(Some("/nowhere"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("install git"), "{said}");
}
