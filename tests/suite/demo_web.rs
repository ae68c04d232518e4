//! The app that demo and e2e deploy does what their assertions rely on.

use std::fs;
use std::process::{Child, Command, Stdio};

use tidelock_tests::client::{Answer, Client};
use tidelock_tests::program::{free_address, output, until};
use tidelock_tests::programs::Ours;
use tidelock_tests::scratch::Scratch;

/// A supervisor that ends with the test.
struct Supervisor(Child);

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

#[test]
fn the_demo_app_is_started_and_stopped_by_its_hooks_and_kept_by_its_supervisor() {
    let scratch = Scratch::new("demo-web");
    let program = Ours::DemoWeb.path();
    let (socket, address) = (scratch.join("socket"), free_address());
    let tree = scratch.join("tree");
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::copy(&program, tree.join("bin/web")).unwrap();
    fs::write(tree.join("page.txt"), "version 1\n").unwrap();
    fs::write(tree.join("health.txt"), "bad\n").unwrap();
    let port = address.port().to_string();
    let start =
        Command::new(&program).arg("supervise").arg(&socket).env("PORT", port).stdin(Stdio::piped()).spawn();
    let supervisor = Supervisor(start.unwrap());
    until("the supervisor listens", || socket.exists());
    let hook = |name: &str| {
        let mut hook = Command::new(tree.join("bin/web"));
        output(hook.arg(name).current_dir(&tree).env("SUPERVISOR", &socket))
    };
    let get = |path: &str| -> Option<Answer> { Client::connect(address, None).ok()?.get(path, &[]).ok() };
    hook("start");
    until("it answers", || get("/").is_some_and(|answer| answer.body == b"version 1\n"));
    assert_eq!(get("/health").unwrap().status, 503);
    hook("stop");
    assert!(get("/").is_none());
    fs::write(tree.join("health.txt"), "good\n").unwrap();
    hook("start");
    until("it is healthy", || get("/health").is_some_and(|answer| answer.status == 200));
    drop(supervisor);
    until("it ends with its supervisor", || get("/").is_none());
}
