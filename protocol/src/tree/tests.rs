//! The listing: every rule has an attack that breaks it.

use super::*;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn read(lines: &[&str]) -> Result<Sequence, Error> {
    let mut sequence = Sequence::new();
    lines.iter().try_for_each(|line| sequence.read(line).map(|_| ()))?;
    Ok(sequence)
}

fn refused(lines: &[&str]) -> Error {
    match read(lines) {
        Ok(_) => panic!("accepted: {lines:?}"),
        Err(error) => error,
    }
}

#[test]
fn the_recorded_listing_has_the_recorded_tree_digest() {
    let file = format!("f 755 0 {EMPTY} bin/a%20b%25c");
    let lines = ["d bin", "d bin-x", &file, "l ../bin/a%20b bin/l\u{e4}"];
    assert_eq!(
        read(&lines).unwrap().finish().to_string(),
        "287367ebdc18cf2c64091284d203b14c9e79dad6f1cf0c55371c8b230e6a30b5"
    );
    assert_eq!(Sequence::new().finish().to_string(), EMPTY);
}

#[test]
fn a_line_reads_and_writes_alike() {
    let file = format!("f 644 68719476736 {EMPTY} a%25%20b");
    for line in ["d a", "l b%20c a", &file] {
        let entry = Sequence::new().read(line).unwrap();
        assert_eq!(Sequence::new().write(&entry).unwrap(), line);
    }
}

#[test]
fn names_that_climb_or_cannot_be_written_are_refused() {
    let long = "x".repeat(256);
    let deep = "x/".repeat(2048) + "x";
    let names = ["..", "../a", "/a", "/", "a/../b", ".", "./a", "a/./b", "a//b", "a/", &long, &deep];
    for name in names {
        assert!(matches!(refused(&["d a", &format!("d {name}")]), Error::Path { .. }), "{name}");
    }
    for escaped in ["a%0A", "a%00b", "a%7F", "a\u{85}b", "a%1Bb"] {
        assert!(matches!(refused(&[&format!("d {escaped}")]), Error::Path { .. }), "{escaped}");
    }
}

#[test]
fn a_path_is_its_parent_and_its_name() {
    let parts = |path: &str| {
        let path: TreePath = path.parse().unwrap();
        (path.parent().map(str::to_owned), path.name().to_owned())
    };
    assert_eq!(parts("a"), (None, "a".into()));
    assert_eq!(parts("a/b/c"), (Some("a/b".into()), "c".into()));
}

#[test]
fn the_longest_names_that_are_allowed_are_allowed() {
    let longest = "x".repeat(COMPONENT_BYTES);
    let deepest = "x/".repeat(PATH_BYTES / 2 - 1) + "xy";
    for path in [&longest, &deepest] {
        assert_eq!(path.parse::<TreePath>().unwrap().as_str(), path);
    }
    assert_eq!((longest.len(), deepest.len()), (255, 4096));
    assert!((deepest + "z").parse::<TreePath>().is_err());
}

#[test]
fn a_message_shows_so_much_of_a_line_as_a_person_can_read() {
    let error = refused(&[&format!("d {}", "\u{e4}".repeat(300))]).to_string();
    assert!(error.starts_with(&format!("{:?} cannot be", "\u{e4}".repeat(160))), "{error}");
    assert!(refused(&["x y"]).to_string().starts_with("\"x y\" is not a line"));
}

#[test]
fn unsorted_and_double_names_are_refused() {
    for lines in [["d b", "d a"], ["d a", "d a"], ["d a", "l x a"], ["d a/b", "d a"]] {
        let error = refused(&lines);
        assert!(matches!(error, Error::Order { .. } | Error::Orphan { .. }), "{error}");
    }
    // Bytes, not letters of a locale.
    read(&["d B", "d a", "d \u{e4}"]).unwrap();
    assert!(matches!(refused(&["d a", "d B"]), Error::Order { .. }));
}

#[test]
fn nothing_stands_below_what_is_not_a_listed_directory() {
    let file = format!("f 644 0 {EMPTY} a");
    for lines in [
        vec!["d a/b"],
        vec![&file, "d a/b"],
        vec!["l x a", "d a/b"],
        vec!["d a", "d a/b/c"],
        vec!["d a", "d ab", "d abc/d"],
        vec!["d a", "l x a-b", "d a/b", "d a-b/c"],
    ] {
        assert!(matches!(refused(&lines), Error::Orphan { .. } | Error::Order { .. }), "{lines:?}");
    }
}

#[test]
fn a_directory_gets_children_after_its_siblings_that_sort_between() {
    read(&["d a", "d a!", "d a!/x", "d a-b", "d a-b/c", "d a-b/c/d", "d a/b", "d a/b/c", "d a0", "d a0/z"])
        .unwrap();
    assert!(matches!(refused(&["d a", "d a!", "d a/x", "d a0", "d a!/x"]), Error::Order { .. }));
}

#[test]
fn links_stay_in_the_tree() {
    let link = |target: &str| read(&["d a", "d a/b", &format!("l {target} a/b/l")]);
    for good in ["x", "../x", "../../x", "./x", "../..", "..", ".", "x//y/", "...", "..x/y"] {
        assert!(link(good).is_ok(), "{good}");
    }
    let long = "x".repeat(4096);
    for bad in ["/x", "/", "../../../x", "../../..", "x/../y", "x/..", "a%0Ab", "a%00", "", &long] {
        assert!(matches!(link(bad), Err(Error::Link { .. })), "{bad}");
    }
    assert!(matches!(refused(&["l .. l"]), Error::Link { .. }));
}

#[test]
fn modes_kinds_and_spellings_that_are_not_in_the_format_are_refused() {
    let upper = EMPTY.to_uppercase();
    for line in [
        "".into(),
        "d".into(),
        "d ".into(),
        "d a b".into(),
        "d a ".into(),
        " d a".into(),
        "D a".into(),
        "h a b".into(),
        "c 1 3 dev".into(),
        "p fifo".into(),
        "l a".into(),
        "l a b c".into(),
        format!("f 4755 0 {EMPTY} a"),
        format!("f 0644 0 {EMPTY} a"),
        format!("f 600 0 {EMPTY} a"),
        format!("f 644 00 {EMPTY} a"),
        format!("f 644 +1 {EMPTY} a"),
        format!("f 644 -1 {EMPTY} a"),
        format!("f 644 1e3 {EMPTY} a"),
        format!("f 644 18446744073709551616 {EMPTY} a"),
        format!("f 644 0 {upper} a"),
        format!("f 644 0 {} a", &EMPTY[1..]),
        format!("f 644 0 {EMPTY}"),
        format!("f 644 0 {EMPTY} a b"),
        "d a%2".into(),
        "d a%".into(),
        "d a%41".into(),
        "d a%2f".into(),
        "d a%2F".into(),
        "d a%5c".into(),
        "d a\tb".into(),
    ] {
        let error = refused(&[&line]);
        assert!(matches!(error, Error::Line { .. } | Error::Path { .. }), "{line:?}: {error}");
    }
    let error = refused(&[&format!("f 644 68719476737 {EMPTY} a")]);
    assert!(error.to_string().contains("64 GiB"), "{error}");
}

#[test]
fn one_entry_too_many_is_refused() {
    let mut sequence = Sequence { count: ENTRIES - 1, ..Sequence::new() };
    sequence.read("d a").unwrap();
    assert_eq!(sequence.read("d b").unwrap_err(), Error::TooMany);
}

mod properties {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Names that sort around `/`, need escapes, and collide often.
    fn component() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop::sample::select(vec!['a', 'b', '-', '0', ' ', '%', '\u{e4}']), 1..3)
            .prop_map(String::from_iter)
    }

    /// The entries of some tree: paths as a map from a path to whether a directory is wanted there.
    fn tree() -> impl Strategy<Value = Vec<Entry>> {
        let path = proptest::collection::vec(component(), 1..5);
        let kind = (0..3_u8, any::<bool>(), 0..FILE_BYTES);
        proptest::collection::vec((path, kind), 0..40).prop_map(|list| {
            let mut entries = BTreeMap::new();
            for (components, (kind, executable, size)) in list {
                for depth in 1..components.len() {
                    entries.insert(components[..depth].join("/"), Kind::Directory);
                }
                let mode = if executable { Mode::Executable } else { Mode::Plain };
                let kind = match kind {
                    0 => Kind::Directory,
                    1 => Kind::File(File { mode, size, sha256: Digest::of(&size.to_le_bytes()) }),
                    _ => Kind::Link("../".repeat(components.len() - 1) + "a b%"),
                };
                entries.entry(components.join("/")).or_insert(kind);
            }
            entries.into_iter().map(|(path, kind)| Entry { path: path.parse().unwrap(), kind }).collect()
        })
    }

    /// The rule of [`Sequence::admit`] said plainly, with everything remembered.
    fn plainly_allowed(entries: &[Entry]) -> bool {
        let mut seen: BTreeMap<&str, &Kind> = BTreeMap::new();
        entries.iter().all(|Entry { path, kind }| {
            let parent = path.parent().is_none_or(|parent| seen.get(parent) == Some(&&Kind::Directory));
            let ascends = seen.last_key_value().is_none_or(|(last, _)| *last < path.as_str());
            seen.insert(path.as_str(), kind);
            parent && ascends
        })
    }

    proptest! {
        #[test]
        fn every_tree_is_written_and_read_back_with_the_same_digest(entries in tree()) {
            // A directory of one path may have been a file of another: then the listing must be refused.
            let mut writer = Sequence::new();
            let lines: Result<Vec<String>, Error> = entries.iter().map(|entry| writer.write(entry)).collect();
            prop_assert_eq!(lines.is_ok(), plainly_allowed(&entries));
            if let Ok(lines) = lines {
                let mut reader = Sequence::new();
                let again: Vec<Entry> = lines.iter().map(|line| reader.read(line).unwrap()).collect();
                prop_assert_eq!(again, entries);
                prop_assert_eq!(reader.finish(), writer.finish());
            }
        }

        #[test]
        fn what_is_left_out_of_a_tree_orphans_exactly_its_children(entries in tree(), skip in any::<prop::sample::Index>()) {
            let mut entries = entries;
            if !entries.is_empty() {
                entries.remove(skip.index(entries.len()));
            }
            let mut writer = Sequence::new();
            let accepted = entries.iter().all(|entry| writer.write(entry).is_ok());
            prop_assert_eq!(accepted, plainly_allowed(&entries));
        }

        #[test]
        fn a_line_that_is_read_is_the_only_spelling_of_its_entry(line in "[dfl] [a%2-5/. ]{0,8}[0-9A-F%]{0,4} ?[a%/.]{0,4}") {
            if let Ok(entry) = Sequence::new().read(&line) {
                prop_assert_eq!(entry.to_string(), line);
            }
        }
    }
}
