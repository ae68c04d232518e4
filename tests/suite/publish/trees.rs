//! Trees of Git: what is published byte by byte, and what is refused by name.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tidelock_tests::program::{find, output, run};
use tidelock_tests::publisher::{Room, listing};

const RECIPE: &str = "format = 1\n[hooks]\nstart = [\"true\"]\n";

/// A room whose staging also wants the app `web` of the tree `apps/web/tree`.
fn with_web(name: &str) -> Room {
    let room = Room::new(name);
    room.fleet.write("apps/web/app.toml", "path = \"apps/web/tree\"\n");
    room.fleet.write("apps/web/tree/release.toml", RECIPE);
    room.fleet.write("environments/staging.toml", "[apps]\nweb = \"follow\"\n");
    room
}

/// The tree that GNU tar makes of a published bundle.
fn unpacked(room: &Room, app: &str) -> std::path::PathBuf {
    let bundle = room.fleet.targets(app, "tar.gz").remove(0);
    let to = room.scratch.join(format!("unpacked-{app}"));
    std::fs::create_dir_all(&to).unwrap();
    run(find("tar"), &["-xzf", bundle.to_str().unwrap(), "-C", to.to_str().unwrap()]);
    to
}

#[test]
fn the_first_publish_is_whole_and_the_second_touches_nothing() {
    let room = Room::new("idempotent");
    let outcome = room.published();
    assert_eq!(outcome.manifests.len(), 2);
    let device = room.device();
    assert_eq!(device.desired("staging").serial, 1);
    let head = room.fleet.git(&["rev-parse", "HEAD"]);
    let source = device.desired("prod").source;
    assert_eq!((source.commit, source.branch.as_str()), (head, "main"));
    assert_eq!(source.subject, "A fleet with two environments and the app hello");
    let tree = room.fleet.git(&["rev-parse", "HEAD:apps/hello/tree"]);
    assert_eq!(device.version("staging", "hello"), format!("git-{}", &tree[..12]));

    let before = listing(&room.fleet.out());
    let again = room.published();
    assert!(again.is_unchanged() && again.manifests.is_empty(), "{again}");
    assert_eq!(listing(&room.fleet.out()), before);
}

#[test]
fn a_commit_that_changes_no_wish_signs_nothing() {
    let room = Room::new("readme");
    room.published();
    room.fleet.write("README.md", "other words\n");
    room.fleet.commit("words");
    assert!(room.published().is_unchanged());
}

#[test]
fn two_publishes_within_one_second_differ_in_the_second_of_their_timestamp() {
    let room = Room::new("seconds");
    let second = || {
        let path = room.fleet.out().join("metadata/timestamp.json");
        std::os::unix::fs::MetadataExt::mtime(&std::fs::metadata(path).unwrap())
    };
    let mut seconds = Vec::new();
    for n in 0..3 {
        room.fleet.write("apps/hello/tree/greeting.txt", format!("{n}\n"));
        room.fleet.commit("greeting");
        room.published();
        seconds.push(second());
    }
    assert!(seconds.windows(2).all(|pair| pair[0] < pair[1]), "{seconds:?}");
}

#[test]
fn merges_links_executables_and_odd_names_are_published_byte_by_byte() {
    let room = with_web("bytes");
    // An attribute that would change what `git archive` gives out, and one that would change a checkout.
    room.fleet.write(
        "apps/web/tree/.gitattributes",
        "version.txt export-subst\n*.crlf text eol=crlf\nsecret export-ignore\n",
    );
    room.fleet.write("apps/web/tree/version.txt", "$Format:%H$\n");
    room.fleet.write("apps/web/tree/a.crlf", "one\ntwo\n");
    room.fleet.write("apps/web/tree/secret", "still here\n");
    room.fleet.write("apps/web/tree/with space/ä%.txt", "x");
    room.fleet.write("apps/web/tree/dir/file", "x");
    room.fleet.write("apps/web/tree/dir-file", "x");
    room.fleet.write("apps/web/tree/empty", "");
    room.fleet.write("apps/web/tree/large", vec![7; 300_000]);
    let tree = room.fleet.repository().join("apps/web/tree");
    symlink("dir/file", tree.join("link")).unwrap();
    symlink("../dir-file", tree.join("dir/up")).unwrap();
    room.fleet.write("apps/web/tree/bin/run", "#!/bin/sh\n");
    run(find("chmod"), &["755", tree.join("bin/run").to_str().unwrap()]);
    room.fleet.commit("web");
    room.fleet.git(&["checkout", "--quiet", "-b", "side"]);
    room.fleet.write("apps/web/tree/side", "side\n");
    room.fleet.commit("side");
    room.fleet.git(&["checkout", "--quiet", "main"]);
    room.fleet.write("apps/web/tree/main", "main\n");
    room.fleet.commit("main");
    room.fleet.git(&["merge", "--quiet", "--no-edit", "side"]);
    // The work tree of the person is theirs: nothing in it counts.
    room.fleet.write("apps/web/tree/uncommitted", "no\n");
    room.fleet.write("apps/web/tree/version.txt", "no\n");

    room.published();
    room.device().desired("staging");
    let found = unpacked(&room, "web");
    let read = |name: &str| std::fs::read_to_string(found.join(name)).unwrap();
    assert_eq!(read("version.txt"), "$Format:%H$\n");
    assert_eq!(read("a.crlf"), "one\ntwo\n");
    assert_eq!(
        (read("secret"), read("side"), read("main")),
        ("still here\n".into(), "side\n".into(), "main\n".into())
    );
    assert_eq!(std::fs::read_link(found.join("dir/up")).unwrap(), Path::new("../dir-file"));
    assert_eq!(std::fs::metadata(found.join("large")).unwrap().len(), 300_000);
    assert!(!found.join("uncommitted").exists());
    let mode = |name: &str| {
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(found.join(name)).unwrap()) & 0o111
    };
    assert!(mode("bin/run") != 0 && mode("empty") == 0);
}

#[test]
fn a_revert_brings_back_the_same_tree_without_packing_and_versions_only_grow() {
    let room = Room::new("revert");
    room.published();
    let first = room.device().desired("staging");
    room.fleet.write("apps/hello/tree/greeting.txt", "second\n");
    room.fleet.commit("second");
    room.published();
    let bundles = room.fleet.targets("hello", "tar.gz").len();
    room.fleet.git(&["revert", "--no-edit", "HEAD"]);
    room.published();
    let back = room.device().desired("staging");
    assert_eq!(back.apps, first.apps);
    assert_eq!((first.serial, back.serial), (1, 3));
    assert_ne!(back.source.commit, first.source.commit);
    assert_eq!((bundles, room.fleet.targets("hello", "tar.gz").len()), (2, 2));
}

#[test]
fn one_tree_under_two_apps_is_packed_once() {
    let room = with_web("twins");
    room.fleet.write(
        "apps/twin/app.toml",
        "[platforms]\nlinux-amd64 = \"apps/web/tree\"\nlinux-arm64 = \"apps/web/tree\"\n",
    );
    room.fleet.write("environments/staging.toml", "[apps]\ntwin = \"follow\"\nweb = \"follow\"\n");
    room.fleet.commit("twins");
    room.published();
    let desired = room.device().desired("staging");
    let twin = &desired.apps[&"twin".parse().unwrap()][0].stable;
    assert_eq!(twin.platforms.len(), 2);
    let inode =
        |path: &std::path::PathBuf| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let all: Vec<_> = ["twin", "web"].iter().flat_map(|app| room.fleet.targets(app, "tar.gz")).collect();
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|path| inode(path) == inode(&all[0])), "{all:?}");
}

#[test]
fn every_problem_is_told_at_once_and_nothing_is_published() {
    let room = with_web("problems");
    publish_before(&room);
    let before = listing(&room.fleet.out());
    let git = |arguments: &[&str]| drop(room.fleet.git(arguments));
    room.fleet.write(
        "apps/web/tree/big.bin",
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    );
    room.fleet.write("apps/web/tree/release.toml", "format = 1\n[hooks]\nstrat = [\"x\"]\n");
    let tree = room.fleet.repository().join("apps/web/tree");
    for (name, target) in [("absolute", "/etc/passwd"), ("up", "../../../../x"), ("around", "a/../../b")] {
        symlink(target, tree.join(name)).unwrap();
    }
    std::fs::write(tree.join(std::ffi::OsString::from(String::from("tab\there"))), "x").unwrap();
    let latin = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"caf\xe9");
    std::fs::write(tree.join(latin), "x").unwrap();
    git(&["add", "--all"]);
    let other = "1".repeat(40);
    git(&["update-index", "--add", "--cacheinfo", &format!("160000,{other},apps/web/tree/module")]);
    git(&["commit", "--quiet", "--message", "mistakes"]);
    room.fleet.write("environments/prod.toml", "[apps]\nhello = \"1.0\"\nwbe = \"follow\"\n");
    git(&["commit", "--quiet", "--message", "more", "environments/prod.toml"]);
    // A name that is not there has no tree; those that are have theirs looked at all the same.
    assert!(room.problems().contains(
        "environments/prod.toml:3:7: `apps.wbe`: there is no apps/wbe/app.toml; did you mean `web`?"
    ));
    room.fleet.write(
        "environments/prod.toml",
        "[apps]\nhello = \"1.0\"\nweb = \"tree:1111111111111111111111111111111111111111\"\n",
    );
    git(&["commit", "--quiet", "--message", "more", "environments/prod.toml"]);

    let told = room.problems();
    for expected in [
        "apps/web/tree/big.bin: is a Git LFS pointer",
        "apps/web/tree/module: is a submodule",
        "apps/web/tree/absolute: ",
        "apps/web/tree/up: ",
        "apps/web/tree/around: ",
        "apps/web/tree/tab\\there: ",
        "apps/web/tree/caf\u{fffd}: its name is not UTF-8",
        "apps/web/tree/release.toml:3: ",
        "did you mean `start`?",
        "environments/prod.toml:2:9: hello has no release 1.0; its newest: git-",
        "environments/prod.toml:3:7: web: the repository has no tree with this id",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
    assert_eq!(listing(&room.fleet.out()), before);
}

/// A first publish of what `init` made, before the test's own mistakes are committed.
fn publish_before(room: &Room) {
    room.fleet.git(&["stash", "--quiet", "--include-untracked"]);
    room.published();
    room.fleet.git(&["stash", "pop", "--quiet"]);
}

#[test]
fn programs_that_the_recipe_names_stand_in_the_tree_and_can_be_run() {
    let room = with_web("programs");
    let hooks = |start: &str| {
        let check = "[[check]]\nname = \"own\"\ncommand = [\"libexec/check\"]\n";
        let recipe =
            format!("format = 1\n[hooks]\nstart = [\"./bin/{start}\"]\nstop = [\"bin\", \"stop\"]\n{check}");
        room.fleet.write("apps/web/tree/release.toml", &recipe);
        room.fleet.commit(start);
    };
    room.fleet.write("apps/web/tree/bin/plain", "#!/bin/sh\n");
    hooks("plain");
    let told = room.problems();
    let file = "apps/web/tree/release.toml: names the program";
    assert!(told.contains(&format!("{file} bin/plain, which is not executable: git update-index")), "{told}");
    assert!(told.contains(&format!("{file} libexec/check, which is not in the tree")), "{told}");
    // Right, and behind a link, where only the device will know.
    room.fleet.git(&["update-index", "--chmod=+x", "apps/web/tree/bin/plain"]);
    symlink("bin", room.fleet.repository().join("apps/web/tree/libexec")).unwrap();
    room.fleet.git(&["add", "apps/web/tree/libexec"]);
    room.fleet.git(&["commit", "--quiet", "--message", "right"]);
    room.published();
}

#[test]
fn a_path_that_is_missing_or_no_directory_and_a_tree_without_recipe_are_problems() {
    let room = Room::new("paths");
    room.fleet.write("apps/a/app.toml", "path = \"apps/nowhere\"\n");
    room.fleet.write("apps/b/app.toml", "path = \"README.md\"\n");
    room.fleet.write("apps/c/app.toml", "path = \"environments\"\n");
    room.fleet.write("apps/d/app.toml", "path = \"apps/d/tree\"\n");
    room.fleet.write("apps/d/tree/other.toml", "format = 1\n");
    symlink("other.toml", room.fleet.repository().join("apps/d/tree/release.toml")).unwrap();
    let all: String = ["a", "b", "c", "d"].iter().map(|app| format!("{app} = \"follow\"\n")).collect();
    room.fleet.write("environments/staging.toml", format!("[apps]\n{all}"));
    room.fleet.commit("paths");
    let told = room.problems();
    for expected in [
        "apps/a/app.toml:1:8: there is no directory apps/nowhere at main",
        "apps/b/app.toml:1:8: README.md is not a directory",
        "apps/c/app.toml:1:8: the tree has no release.toml at its root",
        "apps/d/app.toml:1:8: the tree has no release.toml at its root",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}

#[test]
fn bare_repositories_linked_work_trees_and_file_addresses_are_read_alike() {
    let room = Room::new("sources");
    let first = room.published();
    let bare = room.scratch.join("bare copy.git");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let source = text(&room.fleet.repository());
    output(Command::new(find("git")).args(["clone", "--quiet", "--bare", &source]).arg(&bare));
    room.fleet.git(&["worktree", "add", "--quiet", "--detach", &text(&room.scratch.join("linked"))]);
    let address = format!("file://{}", text(&bare).replace(' ', "%20"));
    for fleet in [text(&bare), text(&room.scratch.join("linked")), address] {
        let outcome =
            tidelock_server::turn::once(&tidelock_server::turn::Settings { fleet, ..room.settings() });
        let outcome = outcome.unwrap();
        assert!(outcome.is_unchanged());
        assert_eq!(outcome.commit.id, first.commit.id);
    }
}

#[test]
fn an_environment_may_have_a_branch_of_its_own() {
    let room = Room::new("branch");
    room.fleet.git(&["branch", "release"]);
    room.fleet.write("environments/prod.toml", "branch = \"release\"\n");
    room.fleet.write("apps/hello/tree/greeting.txt", "new\n");
    room.fleet.commit("prod has a branch");
    room.published();
    let device = room.device();
    assert_eq!(device.desired("prod").source.branch, "release");
    assert_ne!(device.version("prod", "hello"), device.version("staging", "hello"));
    room.fleet.write("environments/prod.toml", "branch = \"nowhere\"\n");
    room.fleet.commit("a branch that is not there");
    let told = room.problems();
    assert!(
        told.contains("environments/prod.toml:1:10: ")
            && told.contains("has no branch \"nowhere\"; it has: main, release"),
        "{told}"
    );
}

#[test]
fn a_pinned_version_and_a_pinned_tree_stay_while_the_branch_moves() {
    let room = Room::new("pins");
    let tree = room.fleet.git(&["rev-parse", "HEAD:apps/hello/tree"]);
    // Another environment of the same turn registers the version that prod names.
    room.fleet.write("environments/prod.toml", format!("[apps]\nhello = \"git-{}\"\n", &tree[..12]));
    room.fleet.commit("pin by version");
    room.published();
    room.fleet.write("apps/hello/tree/greeting.txt", "new\n");
    room.fleet.commit("move");
    room.published();
    let device = room.device();
    assert_eq!(device.version("prod", "hello"), format!("git-{}", &tree[..12]));
    assert_ne!(device.version("staging", "hello"), device.version("prod", "hello"));
    let selectors = format!(
        "[[apps.hello]]\nwhere = {{ site = \"a\" }}\nrelease = \"tree:{tree}\"\nretry = 2\ntuning = {{ deadline = 90 }}\n\
         [[apps.hello]]\nrelease = \"follow\"\n"
    );
    room.fleet.write("environments/prod.toml", selectors);
    room.fleet.commit("pin by tree, by label");
    room.published();
    let desired = room.device().desired("prod");
    let choices = &desired.apps[&"hello".parse().unwrap()];
    assert_eq!((choices.len(), choices[0].retry, choices[0].tuning.deadline), (2, 2, Some(90)));
    assert_eq!(choices[0].stable.version.as_str(), format!("git-{}", &tree[..12]));
}

#[test]
fn a_repository_with_sha256_object_ids_is_read_as_well() {
    let room = Room::new("sha256");
    let other = room.scratch.join("other");
    run(
        find("git"),
        &["init", "--quiet", "--object-format=sha256", "--initial-branch=main", other.to_str().unwrap()],
    );
    run(
        find("cp"),
        &[
            "-r",
            &format!("{}/.", room.fleet.repository().join("apps").display()),
            other.join("apps").to_str().unwrap(),
        ],
    );
    for name in ["fleet.toml", "environments"] {
        run(
            find("cp"),
            &["-r", room.fleet.repository().join(name).to_str().unwrap(), other.to_str().unwrap()],
        );
    }
    let git = |arguments: &[&str]| {
        let person = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
        output(Command::new(find("git")).current_dir(&other).args(person).args(arguments))
    };
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "long ids"]);
    let fleet = other.to_str().unwrap().to_owned();
    let outcome =
        tidelock_server::turn::once(&tidelock_server::turn::Settings { fleet, ..room.settings() }).unwrap();
    assert_eq!(outcome.commit.id.as_str().len(), 64);
    assert_eq!(room.device().desired("staging").source.commit.len(), 64);
}
