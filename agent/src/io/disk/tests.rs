//! Each effect leaves the old or the new, and what earlier cuts left goes.

use super::*;
use crate::room::Room;

#[test]
fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
    let room = Room::new();
    let path = room.path().join("record.json");
    std::fs::write(room.path().join("record.json.new"), "half a record of an earlier cut").unwrap();
    replace(&path, b"one").unwrap();
    replace(&path, b"two").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert_eq!(room.names(), ["record.json"]);
}

#[test]
fn a_link_is_swapped_though_an_earlier_cut_left_its_temporary() {
    let room = Room::new();
    let link = room.path().join("current");
    symlink("nowhere", room.path().join("current.new")).unwrap();
    point(&link, Path::new("releases/a")).unwrap();
    point(&link, Path::new("releases/b")).unwrap();
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("releases/b"));
    assert_eq!(room.names(), ["current"]);
}

#[test]
fn a_sealed_tree_has_its_name_only_when_whole_and_a_pruned_one_leaves_no_rest() {
    let room = Room::new();
    let (staged, sealed) = (room.path().join("a.part"), room.path().join("a"));
    create_directories(&staged.join("tree/deep")).unwrap();
    let mut file = NewFile::create(&staged.join("tree/deep/file")).unwrap();
    file.write_all(b"x").unwrap();
    file.finish(0o444).unwrap();
    assert!(NewFile::create(&staged.join("tree/deep/file")).is_err(), "a staged file is never opened again");
    sync_tree(&staged).unwrap();
    seal(&staged, &sealed).unwrap();
    assert_eq!(room.names(), ["a"]);
    std::fs::create_dir(room.path().join("a.gone")).unwrap();
    prune(&sealed).unwrap();
    prune(&sealed).unwrap();
    std::fs::create_dir_all(room.path().join("b.gone/tree")).unwrap();
    std::fs::write(room.path().join("record.new"), "of an earlier cut").unwrap();
    symlink("nowhere", room.path().join("current.new")).unwrap();
    sweep(room.path()).unwrap();
    sweep(&room.path().join("nowhere")).unwrap();
    assert!(room.names().is_empty());
}

#[test]
fn an_error_names_the_path_and_keeps_the_cause_for_the_chain() {
    let error = replace(Path::new("/proc/nowhere/x"), b"").unwrap_err();
    assert_eq!(error.to_string(), "cannot create /proc/nowhere/x.new");
    assert_eq!(error.source.kind(), ErrorKind::NotFound);
}

#[test]
fn free_space_is_a_number_of_this_file_system() {
    assert!(free(Path::new("/")).unwrap().inodes > 0);
    assert!(free(Path::new("/nowhere/at/all")).is_err());
}
