//! Releases that move from one environment to the next, files that nothing names any more, and who owns what.

use std::fs;
use std::time::Duration;

use tidelock_server::look;
use tidelock_server::publish::{self, Directory, Published};
use tidelock_tests::programs::Ours;
use tidelock_tests::publisher::{Room, listing};
use tidelock_tests::world::Ran;

fn promote(room: &Room, more: &[&str]) -> Ran {
    let mut program = std::process::Command::new(Ours::Server.path());
    program.args(["promote", "hello", "--from", "staging", "--to", "prod"]);
    program.arg("--fleet").arg(room.fleet.repository()).arg("--out").arg(room.fleet.out()).args(more);
    for role in ["AUTHOR", "COMMITTER"] {
        program.env(format!("GIT_{role}_NAME"), "Ada").env(format!("GIT_{role}_EMAIL"), "ada@example.com");
    }
    Ran::of(&program.output().unwrap())
}

#[test]
fn promote_pins_the_very_digests_that_staging_runs_and_a_revert_takes_it_back() {
    let room = Room::new("promote");
    let first = room.published();
    let version = room.device().version("prod", "hello");
    room.fleet.write("environments/prod.toml", format!("# prod\n[apps]\nhello = \"{version}\" # now\n"));
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.commit("prod is pinned");
    room.published();
    let second = room.device().version("staging", "hello");
    assert_ne!(second, version);
    let printed = promote(&room, &[]);
    assert!(printed.stdout.contains(&format!("hello = \"{second}\" # now")), "{}", printed.said());
    assert_eq!(room.device().version("prod", "hello"), version, "it is only printed");

    let ran = promote(&room, &["--commit"]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert_eq!(room.fleet.git(&["status", "--porcelain"]), "", "the work tree moved with the branch");
    room.published();
    let device = room.device();
    let of =
        |environment: &str| device.desired(environment).apps[&"hello".parse().unwrap()][0].stable.clone();
    assert_eq!(of("prod"), of("staging"));
    let subject = device.desired("prod").source.subject;
    assert_eq!(subject, format!("Promote hello {second} from staging to prod"));
    assert!(promote(&room, &["--commit"]).stdout.contains("already"));

    room.fleet.git(&["revert", "--no-edit", "HEAD"]);
    room.published();
    assert_eq!(room.device().version("prod", "hello"), version);
    assert!(first.commit.id.as_str().len() >= 40);
}

#[test]
fn promote_to_a_new_branch_leaves_the_other_alone_and_a_pin_that_does_not_fit_is_refused() {
    let room = Room::new("promotebranch");
    room.published();
    let before = room.fleet.git(&["rev-parse", "main"]);
    let ran = promote(&room, &["--branch", "promote/hello"]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert_eq!(room.fleet.git(&["rev-parse", "main"]), before);
    assert_eq!(room.fleet.git(&["rev-parse", "promote/hello~1"]), before);
    assert_eq!(promote(&room, &["--branch", "promote/hello"]).code, 1, "it is there already");

    room.fleet.git(&["merge", "--quiet", "--ff-only", "promote/hello"]);
    let version = room.device().version("staging", "hello");
    let path = format!("apps/hello/releases/{version}.toml");
    let text = fs::read_to_string(room.fleet.repository().join(&path)).unwrap();
    let index = text.lines().find(|line| line.starts_with("index")).unwrap().to_owned();
    room.fleet.write(&path, text.replace(&index, &format!("index = \"{}\"", "1".repeat(64))));
    room.fleet.commit("another digest");
    let told = room.problems();
    assert!(told.contains(&path) && told.contains("but the role app.hello names the index"), "{told}");
}

#[test]
fn what_nothing_names_is_removed_after_its_grace_and_never_a_root() {
    let room = Room::new("retention");
    let rules = fs::read_to_string(room.fleet.repository().join("fleet.toml")).unwrap();
    room.fleet.write("fleet.toml", format!("{rules}\n[retention]\nreleases = 1\ngrace = \"30d\"\n"));
    room.fleet.commit("short memory");
    room.published();
    for text in ["second", "third"] {
        room.fleet.write("apps/hello/tree/greeting.txt", text);
        room.fleet.commit(text);
        room.published();
    }
    let (out, state) = (room.fleet.out(), room.scratch.join("sweep"));
    assert_eq!(room.fleet.targets("hello", "tar.gz").len(), 3);
    let published = Published::read(&out).unwrap();
    let directory = Directory::at(&out);
    let lock = directory.lock().unwrap();
    let grace = Duration::from_secs(30 * 86_400);
    let now = look::clock().now;
    let sweep = |days: u64| {
        let now = now.after(Duration::from_secs(days * 86_400));
        publish::sweep(&directory, &lock, &published, &state, grace, now).unwrap()
    };
    let metadata = listing(&out.join("metadata"));
    assert!(sweep(0).is_empty() && sweep(29).is_empty());
    let gone = sweep(30);
    assert_eq!(gone.iter().filter(|name| name.ends_with(".tar.gz")).count(), 2, "{gone:?}");
    assert_eq!(room.fleet.targets("hello", "tar.gz").len(), 1);
    assert_eq!(listing(&out.join("metadata")), metadata);
    drop(lock);
    // What is wanted again is packed again.
    room.fleet.git(&["revert", "--no-edit", "HEAD"]);
    room.published();
    room.device().desired("prod");
}

#[test]
fn a_file_that_a_stranger_laid_there_is_left_alone() {
    let room = Room::new("stranger");
    room.published();
    let (out, state) = (room.fleet.out(), room.scratch.join("sweep"));
    fs::write(out.join("targets/robots.txt"), "x").unwrap();
    let published = Published::read(&out).unwrap();
    let directory = Directory::at(&out);
    let lock = directory.lock().unwrap();
    for days in [0, 1000] {
        let now = look::clock().now.after(Duration::from_secs(days * 86_400));
        let grace = Duration::from_secs(86_400);
        assert!(publish::sweep(&directory, &lock, &published, &state, grace, now).unwrap().is_empty());
    }
}
