//! Packing: the same tree gives the same bytes, and nothing that differs from its index is signed.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use flate2::read::GzDecoder;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index::{Blocks, Contents, Span};
use tidelock_protocol::layout::{content_length, head_length, name};
use tidelock_protocol::tree::{Entry, File, Kind, Mode};

use super::*;

/// What stands in a made-up tree.
enum Node {
    Directory,
    File(Mode, Vec<u8>),
    Link(&'static str),
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn text(length: usize) -> Vec<u8> {
    b"All the good ideas in this file are somebody else's.\n".iter().copied().cycle().take(length).collect()
}

/// Every shape that a packer meets: nothing, one byte, the edges of a record and of a shared block, long names.
fn sample() -> BTreeMap<String, Node> {
    let long = format!("d/{}", "n".repeat(120));
    let mut tree = BTreeMap::from([
        ("a file %".into(), Node::File(Mode::Plain, b"spaces and percents\n".to_vec())),
        ("bin".into(), Node::Directory),
        ("bin-x".into(), Node::Link("bin/run")),
        ("bin/run".into(), Node::File(Mode::Executable, b"#!/bin/sh\n".to_vec())),
        ("big".into(), Node::File(Mode::Executable, noise(1, 1_000_000))),
        ("big2".into(), Node::File(Mode::Plain, text(400_000))),
        ("d".into(), Node::Directory),
        ("d/\u{fc}n\u{ef}code".into(), Node::File(Mode::Plain, b"x".to_vec())),
        ("d/up".into(), Node::Link("../bin/run")),
        ("empty".into(), Node::Directory),
        ("z".into(), Node::Link(Box::leak("y".repeat(150).into_boxed_str()))),
        (format!("{long}/{}", "m".repeat(200)), Node::File(Mode::Plain, b"deep".to_vec())),
        (long, Node::Directory),
    ]);
    for (n, length) in
        [0, 1, 511, 512, 513, 60_000, 130_559, 131_071, 131_072, 131_073, 262_144].iter().enumerate()
    {
        tree.insert(format!("f{n:02}"), Node::File(Mode::Plain, noise(n as u64 + 7, *length)));
    }
    tree
}

/// Packs a tree whose files come in pieces of at most `piece` bytes.
fn pack(tree: &BTreeMap<String, Node>, piece: usize) -> (Packed, Vec<u8>) {
    pack_after(Earlier::default(), tree, piece)
}

fn pack_after(earlier: Earlier, tree: &BTreeMap<String, Node>, piece: usize) -> (Packed, Vec<u8>) {
    struct InPieces<'a>(&'a [u8], usize);
    impl Read for InPieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }
    let mut bundle = Vec::new();
    let mut packer = Packer::after(earlier, &mut bundle).unwrap();
    for (path, node) in tree {
        let path = path.parse().unwrap();
        match node {
            Node::Directory => packer.directory(path).unwrap(),
            Node::Link(target) => packer.link(path, (*target).to_owned()).unwrap(),
            Node::File(mode, bytes) => {
                packer.file(path, *mode, bytes.len() as u64, InPieces(bytes, piece)).unwrap();
            }
        }
    }
    (packer.finish().unwrap(), bundle)
}

fn inflate(index: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(index).read_to_end(&mut text).unwrap();
    text
}

#[test]
fn a_packed_tree_agrees_with_its_index() {
    let (packed, bundle) = pack(&sample(), usize::MAX);
    let summary = check(&packed.index, &bundle[..], &packed.tree).unwrap();
    assert_eq!(summary.bundle_length, bundle.len() as u64);
    assert_eq!((packed.length, packed.sha256), (bundle.len() as u64, Some(Digest::of(&bundle))));
    assert_eq!(summary.entries, sample().len() as u64);
    let mut tar = Vec::new();
    GzDecoder::new(&bundle[..]).read_to_end(&mut tar).unwrap();
    assert_eq!(summary.tar_length, tar.len() as u64);
    // What the layout says of each file's place is where the file's bytes are.
    let text = inflate(&packed.index);
    let mut contents = Contents::open(&text[..], &text[..]).unwrap();
    let tree = sample();
    while let Some((block, spans)) = contents.next_block().unwrap() {
        for Span { path, offset, within, .. } in spans {
            let Some(Node::File(_, bytes)) = tree.get(path.as_str()) else { panic!("{path}") };
            let (start, offset) =
                (usize::try_from(block.raw.start).unwrap(), usize::try_from(offset).unwrap());
            assert_eq!(
                tar[start + within.start..start + within.end],
                bytes[offset..offset + within.len()],
                "{path}"
            );
        }
    }
}

/// A file that holds `bytes` and has no name.
fn unnamed(bytes: &[u8]) -> std::fs::File {
    let path = std::env::temp_dir().join(format!("bundle-{}-{}", std::process::id(), Digest::of(bytes)));
    std::fs::write(&path, bytes).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

/// What may change between two releases, one thing at a time: content, size, mode and name of small and large files.
fn changes() -> Vec<(&'static str, BTreeMap<String, Node>)> {
    let with = |path: &str, node| {
        let mut tree = sample();
        tree.insert(path.to_owned(), node);
        tree
    };
    let mut less = sample();
    less.remove("f05");
    let mut large = noise(1, 1_000_000);
    large[500_000] ^= 1;
    vec![
        ("nothing", sample()),
        ("a small file", with("f01", Node::File(Mode::Plain, vec![7]))),
        ("its size", with("f03", Node::File(Mode::Plain, noise(10, 514)))),
        ("its mode", with("f05", Node::File(Mode::Executable, noise(12, 60_000)))),
        ("a new one", with("f055", Node::File(Mode::Plain, noise(3, 9000)))),
        ("one less", less),
        ("a link", with("bin-x", Node::Link("bin/walk"))),
        ("the middle of a large file", with("big", Node::File(Mode::Executable, large))),
        ("its end", with("big", Node::File(Mode::Executable, noise(1, 1_000_001)))),
        ("its mode alone", with("big", Node::File(Mode::Plain, noise(1, 1_000_000)))),
        ("its name", with("big1", Node::File(Mode::Executable, noise(1, 1_000_000)))),
        ("the last", with("zz", Node::File(Mode::Plain, b"last".to_vec()))),
    ]
}

#[test]
fn a_tree_packed_after_another_one_is_packed_as_from_nothing() {
    let (before, bundle) = pack(&sample(), usize::MAX);
    let blocks = blocks(&before.index).unwrap().len();
    for (what, tree) in changes() {
        let (whole, bytes) = pack(&tree, usize::MAX);
        let earlier = Earlier::of(&before.index).unwrap().with(unnamed(&bundle));
        let (taken, same) = pack_after(earlier, &tree, 4096);
        assert_eq!(taken, whole, "{what}");
        assert!(same == bytes, "{what}");
        let (left, rest) = pack_after(Earlier::of(&before.index).unwrap(), &tree, 4096);
        assert_eq!((&left.index, left.tree, left.length), (&whole.index, whole.tree, whole.length), "{what}");
        assert_eq!(left.sha256, None, "{what}");
        // A change moves few blocks; what is packed is what is not left out, in order.
        assert!(left.left_out.len() + 6 >= blocks, "{what}: {} of {blocks} left out", left.left_out.len());
        assert_eq!(what == "nothing", left.left_out.len() == blocks, "{what}");
        let now = super::blocks(&whole.index).unwrap();
        let packed = (0..).zip(&now).filter(|(number, _)| !left.left_out.contains(number));
        let mut expected = bytes[..10].to_vec();
        for (_, block) in packed {
            let range = |at: u64| usize::try_from(at).unwrap();
            expected.extend(&bytes[range(block.bytes.start)..range(block.bytes.end)]);
        }
        expected.extend(&bytes[bytes.len() - 10..]);
        assert!(rest == expected, "{what}");
    }
}

#[test]
fn an_earlier_bundle_that_is_damaged_or_of_another_compressor_is_no_help_and_no_harm() {
    let (before, mut bundle) = pack(&sample(), usize::MAX);
    bundle.iter_mut().skip(10).step_by(1000).for_each(|byte| *byte ^= 1);
    let damaged = || Earlier::of(&before.index).unwrap();
    for earlier in [damaged().with(unnamed(&bundle)), damaged().with(unnamed(&bundle[..5000]))] {
        assert_eq!(pack_after(earlier, &sample(), 4096).0, before);
    }
    let text = String::from_utf8(inflate(&before.index)).unwrap().replacen(COMPRESSOR, "zlib-1.3", 1);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
    let other = Earlier::of(&gzip.finish().unwrap()).unwrap();
    assert_eq!(pack_after(other, &sample(), 4096).0, before);
    assert!(Earlier::of(b"no index").is_err());
}

#[test]
fn the_same_tree_gives_the_same_bytes_however_it_is_read() {
    let whole = pack(&sample(), usize::MAX);
    for piece in [1, 511, 4096, 100_000] {
        let again = pack(&sample(), piece);
        assert_eq!(again.0, whole.0, "pieces of {piece}");
        assert!(again.1 == whole.1, "pieces of {piece}");
    }
}

#[test]
fn the_recorded_tree_gives_the_recorded_digest() {
    let (packed, _) = pack(&sample(), usize::MAX);
    // Independent of compressor and cuts: this may never change.
    assert_eq!(packed.tree.to_string(), "945b16a6bb06f0ee1418b88abaeaec37934a5e7ea678f2b533f571997bd2156b");
}

#[test]
fn small_files_share_blocks_and_large_ones_are_cut_by_content() {
    let mut tree = sample();
    let (before, _) = pack(&tree, usize::MAX);
    let raw_digests = |packed: &Packed| {
        let text = inflate(&packed.index);
        let mut blocks = Blocks::open(&text[..]).unwrap();
        let all: Vec<_> = std::iter::from_fn(|| blocks.next_block().unwrap()).collect();
        for block in &all {
            let raw = block.raw.end - block.raw.start;
            // A file of 128 KiB with its header and padding is the longest that shares (alone) a block.
            assert!(
                raw <= if block.raw_sha256.is_some() { 256 * 1024 } else { 128 * 1024 + 512 },
                "{block:?}"
            );
        }
        all.into_iter().filter_map(|block| block.raw_sha256).collect::<Vec<_>>()
    };
    let before = raw_digests(&before);
    let Some(Node::File(_, bytes)) = tree.get_mut("big") else { panic!() };
    bytes.splice(400_000..400_000, *b"inserted");
    let (after, _) = pack(&tree, usize::MAX);
    let new = raw_digests(&after).into_iter().filter(|digest| !before.contains(digest)).count();
    assert!((1..=2).contains(&new), "an insertion changed {new} of {} cuts", before.len());
}

#[test]
fn a_source_of_another_size_is_refused() {
    for (size, given, found) in
        [(5, 4, 4), (5, 6, 6), (200_000, 199_999, 199_999), (200_000, 200_002, 200_001)]
    {
        let mut packer = Packer::new(io::sink()).unwrap();
        let error = packer.file("f".parse().unwrap(), Mode::Plain, size, &noise(1, given)[..]).unwrap_err();
        assert!(
            matches!(error, Error::Size { found: f, announced, .. } if f == found && announced == size),
            "{error}"
        );
    }
}

#[test]
fn a_source_or_an_output_that_fails_is_told_with_its_cause() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the pipe broke"))
        }
    }
    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut packer = Packer::new(io::sink()).unwrap();
    let error = packer.file("f".parse().unwrap(), Mode::Plain, 1, Broken).unwrap_err();
    assert_eq!(error.to_string(), "cannot read f to pack it");
    assert!(matches!(Packer::new(Broken), Err(Error::Write(_))));
}

#[test]
fn entries_out_of_order_or_out_of_the_tree_are_not_packed() {
    let packer = || Packer::new(io::sink()).unwrap();
    let mut twice = packer();
    twice.directory("a".parse().unwrap()).unwrap();
    assert!(matches!(twice.directory("a".parse().unwrap()), Err(Error::Tree(_))));
    assert!(matches!(packer().directory("a/b".parse().unwrap()), Err(Error::Tree(_))));
    assert!(matches!(packer().link("a".parse().unwrap(), "/etc/passwd".into()), Err(Error::Tree(_))));
    assert!(matches!(
        packer().file("a/b".parse().unwrap(), Mode::Plain, 0, io::empty()),
        Err(Error::Tree(_))
    ));
}

#[test]
fn a_bundle_that_differs_anywhere_is_not_signed() {
    let (packed, bundle) = pack(&sample(), usize::MAX);
    let refused = |bundle: &[u8]| check(&packed.index, bundle, &packed.tree).is_err();
    for at in (0..bundle.len()).step_by(bundle.len() / 60).chain(bundle.len() - 12..bundle.len()).chain(0..12)
    {
        let mut bad = bundle.clone();
        bad[at] ^= 1;
        assert!(refused(&bad), "byte {at}");
    }
    assert!(refused(&bundle[..bundle.len() - 1]));
    assert!(refused(&[&bundle[..], b"\0"].concat()));
    assert!(matches!(check(&packed.index, &bundle[..], &Digest::of(b"")), Err(Error::Disagree(_))));
    let longer = [&packed.index[..], b"\0"].concat();
    assert!(matches!(check(&longer, &bundle[..], &packed.tree), Err(Error::Disagree(_))));
}

#[test]
fn an_archive_that_says_something_else_than_the_listing_is_not_signed() {
    // A bundle of one tree beside an index whose listing tells of another, blocks and digests of files being right.
    let (packed, bundle) = pack(&sample(), usize::MAX);
    let text = String::from_utf8(inflate(&packed.index)).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let text = text.replacen(from, to, 1);
        let listing = &text[text.find('\n').unwrap() + 1..text.find("--\n").unwrap()];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
        check(&gzip.finish().unwrap(), &bundle[..], &Digest::of(listing.as_bytes()))
    };
    assert!(with("d bin\n", "d bin\n").is_ok());
    for (from, to) in [
        ("f 755", "f 644"),
        ("f 644", "f 755"),
        ("l bin/run bin-x", "l bin/ruN bin-x"),
        ("d empty\n", "l x empty\n"),
        (" bin/run\n", " bin/ruN\n"),
        ("d empty\n", "d emptY\n"),
    ] {
        assert!(matches!(with(from, to), Err(Error::Disagree(_))), "{from}");
    }
}

#[test]
fn the_compressor_that_the_index_names_is_the_one_that_is_linked() {
    let lock: toml::Table = include_str!("../../../Cargo.lock").parse().unwrap();
    let versions: Vec<String> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| package["name"].as_str() == Some("zlib-rs"))
        .map(|package| format!("zlib-rs-{}", package["version"].as_str().unwrap()))
        .collect();
    assert_eq!(versions, [COMPRESSOR]);
}

#[test]
fn a_file_larger_than_memory_allows_is_streamed() {
    // 96 MiB of zeros: one shared buffer of cuts, whatever the size. What is held is bounded by construction; that the
    // stream is right is what can be seen here.
    let size = 96 << 20;
    let mut bundle = Vec::new();
    let mut packer = Packer::new(&mut bundle).unwrap();
    packer.file("zeros".parse().unwrap(), Mode::Plain, size, io::repeat(0).take(size)).unwrap();
    let packed = packer.finish().unwrap();
    let summary = check(&packed.index, Cursor::new(&bundle), &packed.tree).unwrap();
    assert_eq!((summary.file_bytes, summary.entries), (size, 1));
}

#[test]
fn a_head_is_as_long_as_the_layout_says_and_a_stranger_reads_it() {
    let size = 9 << 30;
    let file = |size| Kind::File(File { mode: Mode::Plain, size, sha256: Digest::of(b"") });
    // 33 times three bytes and one more: the 100-byte field would cut a character.
    let umlauts = format!("{}/{}", "\u{e4}".repeat(120), "\u{20ac}".repeat(80));
    for (path, kind) in [
        ("f", file(size)),
        (&umlauts, file(1 << 33)),
        (&umlauts, Kind::Directory),
        (&umlauts, Kind::Link("\u{20ac}".repeat(300))),
        ("d", Kind::Directory),
    ] {
        let entry = Entry { path: path.parse().unwrap(), kind };
        let head = header::head(&entry);
        assert_eq!(head.len() as u64, head_length(&entry), "{path}");
        let mut archive = tar::Archive::new(&head[..]);
        let found = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(found.path_bytes(), name(&entry).as_bytes());
        assert_eq!(found.size(), content_length(&entry));
        if let Kind::Link(target) = &entry.kind {
            assert_eq!(found.link_name_bytes().unwrap(), target.as_bytes());
        }
    }
}

/// The compressed bytes of each block.
fn bytes_of<'a>(block: &index::Block, bundle: &'a [u8]) -> &'a [u8] {
    let at = |at: u64| usize::try_from(at).unwrap();
    &bundle[at(block.bytes.start)..at(block.bytes.end)]
}

#[test]
fn a_shared_block_is_made_anew_of_its_index_and_the_contents_of_its_files() {
    for (what, tree) in changes() {
        let (packed, bundle) = pack(&tree, usize::MAX);
        let text = inflated(&packed.index).unwrap();
        let paths: Vec<&String> = tree.keys().collect();
        let (mut templates, mut making, mut made) =
            (Templates::of(&text).unwrap(), Making::default(), Vec::new());
        let all = blocks(&packed.index).unwrap();
        for (number, block) in (0..).zip(&all) {
            if block.raw_sha256.is_some() {
                continue;
            }
            let Template { mut raw, files } = templates.template(number).unwrap();
            for Slot { ordinal, sha256, within } in files {
                let Node::File(_, bytes) = &tree[paths[usize::try_from(ordinal).unwrap()]] else {
                    panic!("{what}: {ordinal} is no file")
                };
                assert_eq!(sha256, Digest::of(bytes), "{what}");
                raw[within].copy_from_slice(bytes);
            }
            made.extend(making.push(number, raw).unwrap());
        }
        while let Some(one) = making.next_block().unwrap() {
            made.push(one);
        }
        assert_eq!(made.len(), all.iter().filter(|block| block.raw_sha256.is_none()).count(), "{what}");
        for (number, bytes) in made {
            assert!(bytes == bytes_of(&all[usize::try_from(number).unwrap()], &bundle), "{what}: {number}");
        }
    }
}

#[test]
fn a_template_is_had_once_in_order_and_of_shared_blocks_alone() {
    let (packed, _) = pack(&sample(), usize::MAX);
    let text = inflated(&packed.index).unwrap();
    let blocks = blocks(&packed.index).unwrap();
    let piece = blocks.iter().position(|block| block.raw_sha256.is_some()).unwrap() as u64;
    let mut templates = Templates::of(&text).unwrap();
    assert!(templates.template(piece).is_err(), "a piece of one file has none");
    assert!(templates.template(piece).is_err(), "and none comes again");
    assert!(templates.template(0).is_err(), "nor one before it");
    assert!(Templates::of(&text).unwrap().template(blocks.len() as u64).is_err());
    let last = Templates::of(&text).unwrap().template(blocks.len() as u64 - 1).unwrap();
    assert!(last.raw.ends_with(&[0; 1024]));
}

#[test]
fn a_block_is_inflated_only_when_it_has_its_digest() {
    let (packed, bundle) = pack(&sample(), usize::MAX);
    let block = &blocks(&packed.index).unwrap()[0];
    let bytes = bytes_of(block, &bundle);
    let (mut inflate, mut raw) = (Inflate::default(), b"before".to_vec());
    let mut damaged = bytes.to_vec();
    damaged[9] ^= 1;
    for bad in [&damaged[..], &bytes[..bytes.len() - 1], b""] {
        assert!(inflate.open(block, bad, &mut raw).is_err());
        assert_eq!(raw, b"before", "nothing was inflated");
    }
    // With its digest, and another length than the index says: not a byte more than that.
    let short = index::Block { raw: 0..100, ..block.clone() };
    assert!(inflate.open(&short, bytes, &mut raw).is_err());
    assert!(raw.len() <= 101);
    inflate.open(block, bytes, &mut raw).unwrap();
    assert_eq!(raw.len() as u64, block.raw.end - block.raw.start);
}

#[test]
fn parts_are_read_as_they_were_written_and_nothing_else_is() {
    let mut writer = PartsWriter::default();
    for (part, bytes) in [
        (Part::Block(7), &b"block 1\n"[..]),
        (Part::Files(8), b""),
        (Part::File(140), b"\n\n"),
        (Part::File(141), b"x"),
        (Part::Files(9), b""),
    ] {
        writer.add(part, bytes).unwrap();
    }
    let stream = writer.finish().unwrap();
    let mut parts = Parts::of(&stream);
    let mut bytes = [0; 8];
    assert_eq!(parts.next_part().unwrap(), Some(Part::Block(7)));
    parts.fill(&mut bytes).unwrap();
    assert_eq!(&bytes, b"block 1\n");
    assert_eq!(parts.next_part().unwrap(), Some(Part::Files(8)));
    assert_eq!(parts.file().unwrap(), Some(140));
    parts.fill(&mut bytes[..2]).unwrap();
    assert_eq!(parts.file().unwrap(), Some(141));
    parts.fill(&mut bytes[..1]).unwrap();
    assert_eq!(parts.file().unwrap(), None);
    assert_eq!(parts.next_part().unwrap(), Some(Part::Files(9)));
    assert!((parts.file().unwrap(), parts.next_part().unwrap()) == (None, None));
    for bad in [
        "block\n",
        "block x\n",
        "block -1\n",
        "block 1",
        "blocks 1\n",
        " \n",
        "\n",
        "block 99999999999999999999\n",
    ] {
        assert!(Parts::of(&served(bad.as_bytes()).unwrap()).next_part().is_err(), "{bad:?}");
    }
    assert!(Parts::of(b"block 1\n").next_part().is_err(), "it is not compressed");
    let long = served(&[b'9'; 100]).unwrap();
    assert!(Parts::of(&long).next_part().is_err());
    let cut = served(b"block 1\nabc").unwrap();
    let mut parts = Parts::of(&cut);
    parts.next_part().unwrap();
    assert!(parts.fill(&mut bytes).is_err(), "what is announced must come");
    // A bomb gives no more than the limit.
    let bomb = served(&"files 1\n".repeat(4 << 20).into_bytes()).unwrap();
    let mut parts = Parts::of(&bomb);
    let most = usize::try_from(PARTS_BYTES).unwrap() / 8;
    assert!((0..most).all(|_| parts.next_part().is_ok_and(|part| part == Some(Part::Files(1)))));
    assert!(parts.next_part().is_err());
}
