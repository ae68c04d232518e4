//! A fleet repository on a Git server: smart HTTP by nginx, fetched into a bare cache; a large file, a rewrite, a server
//! that asks for a password or is gone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tidelock_server::git;
use tidelock_server::turn::{self, Outcome, Settings};
use tidelock_tests::authority::Authority;
use tidelock_tests::nginx::{self, Config, Nginx};
use tidelock_tests::program::run;
use tidelock_tests::programs::Ours;
use tidelock_tests::publisher::Room;
use tidelock_tests::world::Ran;

/// A room whose repository is pushed to a server that it is published from.
struct Remote {
    room: Room,
    bare: PathBuf,
    nginx: Nginx,
}

impl Remote {
    fn new(name: &str) -> Self {
        let room = Room::new(name);
        let bare = nginx::bare_repository(room.scratch.path(), "fleet.git");
        let nginx = Config::git(room.scratch.path()).start();
        let remote = Self { room, bare, nginx };
        remote.push();
        remote
    }

    fn url(&self) -> String {
        format!("{}/fleet.git", self.nginx.url())
    }

    fn push(&self) {
        self.room.fleet.git(&["push", "--quiet", "--force", "--all", &self.url()]);
    }

    fn settings(&self) -> Settings {
        Settings { fleet: self.url(), ..self.room.settings() }
    }

    fn publish(&self) -> Result<Outcome, turn::Error> {
        turn::once(&self.settings())
    }
}

#[test]
fn commits_are_fetched_published_and_idle_turns_change_nothing() {
    let remote = Remote::new("remote");
    remote.publish().unwrap();
    remote.room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    let second = remote.room.fleet.commit("second");
    assert!(remote.publish().unwrap().is_unchanged(), "it is not pushed yet");
    remote.push();
    remote.publish().unwrap();
    assert_eq!(remote.room.device().desired("prod").source.commit, second);
    assert!(remote.publish().unwrap().is_unchanged());
    // The cache may be lost at any time.
    fs::remove_dir_all(remote.room.fleet.state()).unwrap();
    assert!(remote.publish().unwrap().is_unchanged());
}

#[test]
fn while_the_git_server_is_gone_what_was_fetched_last_stays_published() {
    let remote = Remote::new("away");
    let steadily = || turn::steadily(&remote.settings());
    let away = remote.room.scratch.join("away.git");
    fs::rename(&remote.bare, &away).unwrap();
    assert!(matches!(steadily(), Err(turn::Error::Git(_))), "nothing was fetched yet");
    fs::rename(&away, &remote.bare).unwrap();
    let before = steadily().unwrap();
    assert!(before.trouble.is_none() && before.manifests.len() == 2, "{before:?}");
    fs::rename(&remote.bare, &away).unwrap();
    let outcome = steadily().unwrap();
    assert!(outcome.trouble.as_ref().is_some_and(|why| why.contains("git cannot")), "{:?}", outcome.trouble);
    assert!(outcome.is_unchanged() && outcome.commit == before.commit);
    // What was half published goes on as well.
    let timestamp = remote.room.fleet.out().join("metadata/timestamp.json");
    fs::remove_file(&timestamp).unwrap();
    assert!(steadily().unwrap().trouble.is_some() && timestamp.exists());
    // A record of what is in no cache any more helps nobody: the error is the one that says why it was asked for.
    fs::remove_dir_all(remote.room.fleet.state().join("git")).unwrap();
    assert!(matches!(steadily(), Err(turn::Error::Git(git::Error::Failed { what: "fetch the branch", .. }))));
}

#[test]
fn a_forced_push_stops_the_environments() {
    let remote = Remote::new("forced");
    remote.publish().unwrap();
    remote.room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    remote.room.fleet.commit("second");
    remote.push();
    remote.publish().unwrap();
    remote.room.fleet.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    remote.push();
    assert_eq!(remote.publish().unwrap().stopped.len(), 2);
    // Without the cache nobody knows the commit that was published last.
    fs::remove_dir_all(remote.room.fleet.state()).unwrap();
    assert!(matches!(remote.publish(), Err(turn::Error::Rewritten { .. })));
    let accept = Settings { accept_rewrite: Some("a secret".into()), ..remote.settings() };
    assert_eq!(turn::once(&accept).unwrap().manifests.len(), 2);
}

/// How many objects the cache holds, and how many of them are files.
fn cached(room: &Room) -> (usize, usize) {
    let cache = fs::read_dir(room.fleet.state().join("git")).unwrap().next().unwrap().unwrap().path();
    let all =
        run("git", &["-C", cache.to_str().unwrap(), "cat-file", "--batch-all-objects", "--batch-check"]);
    (all.lines().count(), all.lines().filter(|line| line.contains(" blob ")).count())
}

#[test]
fn of_a_long_history_only_the_files_of_the_commit_are_fetched_where_the_server_can_leave_the_others_out() {
    let remote = Remote::new("partial");
    for n in 0..30 {
        remote.room.fleet.write("apps/hello/tree/greeting.txt", format!("hello {n}\n"));
        remote.room.fleet.write("unused/large", format!("{n}").repeat(1000));
        remote.room.fleet.commit(&format!("hello {n}"));
    }
    remote.push();
    remote.publish().unwrap();
    let (all, files) = cached(&remote.room);
    assert!(files > 60, "this server sends everything: {files} files of {all} objects");
    let published = remote.room.device().desired("prod");

    run("git", &["-C", remote.bare.to_str().unwrap(), "config", "uploadpack.allowFilter", "true"]);
    fs::remove_dir_all(remote.room.fleet.state()).unwrap();
    fs::remove_dir_all(remote.room.fleet.out()).unwrap();
    remote.publish().unwrap();
    let (all, few) = cached(&remote.room);
    assert!(few < 20 && all > 100, "{few} files of {all} objects");
    let again = remote.room.device().desired("prod");
    assert_eq!((&again.apps, &again.source.commit), (&published.apps, &published.source.commit));
    // What comes later is fetched later, and descends from what was published.
    remote.room.fleet.write("apps/hello/tree/greeting.txt", "hello at last\n");
    let last = remote.room.fleet.commit("hello at last");
    remote.push();
    assert!(remote.publish().unwrap().stopped.is_empty());
    assert_eq!(remote.room.device().desired("prod").source.commit, last);
    assert!(cached(&remote.room).1 <= few + 2);
}

#[test]
fn a_clone_without_its_files_is_told_to_be_one() {
    let remote = Remote::new("filtered");
    run("git", &["-C", remote.bare.to_str().unwrap(), "config", "uploadpack.allowFilter", "true"]);
    let clone = remote.room.scratch.join("clone");
    run("git", &["clone", "--quiet", "--bare", "--filter=blob:none", &remote.url(), clone.to_str().unwrap()]);
    let settings = Settings { fleet: clone.display().to_string(), ..remote.room.settings() };
    let error = turn::once(&settings).unwrap_err();
    assert!(tidelock_server::cli::chain(&error).contains("is a partial clone and lacks files"), "{error:?}");
    assert!(!remote.room.fleet.out().join("metadata/timestamp.json").exists());
}

#[test]
fn a_server_with_a_password_is_answered_by_the_credential_helper_of_the_persons_git() {
    let room = Room::new("helper");
    nginx::bare_repository(room.scratch.path(), "fleet.git");
    let authority = Authority::new(&room.scratch.join("ca"));
    let users = room.scratch.join("users");
    fs::write(&users, "ada:{PLAIN}hunter2\n").unwrap();
    let asks = format!("auth_basic fleet; auth_basic_user_file {};", users.display());
    let nginx = Config::git(room.scratch.path()).with(&asks).tls(authority.server("git")).start();
    let url = format!("{}/fleet.git", nginx.url());
    room.fleet.git(&["push", "--quiet", room.scratch.join("fleet.git").to_str().unwrap(), "main"]);
    let configuration = room.scratch.join("gitconfig");
    let store = room.scratch.join("credentials");
    let publish = |password: &str| {
        fs::write(&store, format!("https://ada:{password}@{}\n", nginx.address())).unwrap();
        let helper = format!("[credential]\n\thelper = store --file={}\n", store.display());
        fs::write(&configuration, helper).unwrap();
        let mut command = Command::new(Ours::Server.path());
        command.args(["publish", "--fleet", &url]).arg("--keys").arg(room.fleet.keys());
        command.arg("--out").arg(room.fleet.out()).arg("--state").arg(room.fleet.state());
        command.env("GIT_CONFIG_GLOBAL", &configuration).env("GIT_SSL_CAINFO", authority.certificate());
        Ran::of(&command.output().unwrap())
    };
    let ran = publish("wrong");
    assert!(ran.code == 1 && !ran.said().contains("wrong"), "{}", ran.said());
    let ran = publish("hunter2").well();
    assert!(!ran.said().contains("hunter2"), "{}", ran.said());
    room.device().desired("prod");
    let kept = run("grep", &["-r", "-l", "--", "hunter2", room.scratch.path().to_str().unwrap()]);
    let mut kept: Vec<&str> = kept.lines().collect();
    kept.sort_unstable();
    assert_eq!(kept, [store.to_str().unwrap(), users.to_str().unwrap()], "nobody else keeps the password");
}

#[test]
fn a_file_of_100_mb_goes_through_whole() {
    let remote = Remote::new("large");
    let mut noise = vec![0_u8; 100_000_000];
    let mut state = 1_u64;
    for chunk in noise.chunks_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        chunk.copy_from_slice(&state.to_be_bytes()[..chunk.len()]);
    }
    remote.room.fleet.write("apps/hello/tree/large.bin", &noise);
    remote.room.fleet.commit("large");
    remote.push();
    remote.publish().unwrap();
    remote.room.device().desired("staging");
    let bundle = remote.room.fleet.targets("hello", "tar.gz").remove(0);
    let files = fs::File::open(bundle).unwrap();
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(files));
    let large = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|entry| entry.path().unwrap().ends_with("large.bin"));
    let mut found = Vec::new();
    std::io::Read::read_to_end(&mut large.unwrap(), &mut found).unwrap();
    assert!(found == noise);
}

#[test]
fn a_branch_that_is_missing_a_server_that_is_gone_and_no_repository_are_said() {
    let remote = Remote::new("wrong");
    let of = |change: Settings| match turn::once(&change) {
        Err(turn::Error::Git(error)) => error,
        other => panic!("{other:?}"),
    };
    let trunk = of(Settings { branch: "trunk".into(), ..remote.settings() });
    assert!(trunk.to_string().ends_with("has no branch \"trunk\"; it has: main"), "{trunk}");
    let gone = of(Settings { fleet: "http://127.0.0.1:1/fleet.git".into(), ..remote.settings() });
    assert!(matches!(gone, git::Error::Failed { .. }), "{gone}");
    let nothing = of(Settings { fleet: format!("{}/nothing.git", remote.nginx.url()), ..remote.settings() });
    assert!(matches!(nothing, git::Error::Failed { .. }), "{nothing}");
    fs::remove_dir_all(&remote.bare).unwrap();
    assert!(matches!(of(remote.settings()), git::Error::Failed { .. }));
}

#[test]
fn nobody_is_asked_for_a_password_and_none_is_shown() {
    let room = Room::new("password");
    nginx::bare_repository(room.scratch.path(), "fleet.git");
    let nginx =
        Config::git(room.scratch.path()).with("if ($http_authorization = \"\") { return 401; }").start();
    let open = |url: String| turn::once(&Settings { fleet: url, ..room.settings() });
    let url = format!("{}/fleet.git", nginx.url());
    match open(url.clone()) {
        Err(turn::Error::Git(error @ git::Error::Failed { .. })) => {
            assert!(
                error.to_string().contains("401") || error.to_string().contains("terminal prompts disabled"),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
    let with_password = url.replace("http://", "http://ada:hunter2@");
    let error = open(with_password).unwrap_err();
    let said = tidelock_server::cli::chain(&error);
    assert!(!said.contains("hunter2"), "{said}");
}
