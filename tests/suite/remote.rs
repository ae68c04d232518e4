//! A fleet repository on a Git server: smart HTTP by nginx, fetched into a bare cache; a large file, a rewrite, a server
//! that asks for a password or is gone.

use std::fs;
use std::path::PathBuf;

use tidelock_server::git;
use tidelock_server::turn::{self, Outcome, Settings};
use tidelock_tests::nginx::{self, Config, Nginx};
use tidelock_tests::publisher::Room;

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
