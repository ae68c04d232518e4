//! The index: every rule has an attack that breaks it, and packers of all kinds are read back.

use super::*;
use crate::tree::{File, Kind, Mode};

/// An index of `listing` lines and blocks `(raw length, raw digest?)`, each of 20 compressed bytes.
fn index(listing: &[String], blocks: &[(u64, bool)]) -> String {
    let digest = Digest::of(b"");
    let lines = blocks.iter().map(|(raw, split)| {
        let raw_digest = if *split { format!(" {digest}") } else { String::new() };
        format!("b 20 {raw} {digest}{raw_digest}")
    });
    let all = ["tidelock-index 1 zlib-rs-0.6.8".into()].into_iter().chain(listing.iter().cloned());
    all.chain(["--".into()]).chain(lines).map(|line| line + "\n").collect()
}

fn file(path: &str, size: u64) -> String {
    format!("f 644 {size} {} {path}", Digest::of(b""))
}

fn summary(text: &str) -> Result<Summary, Error> {
    Contents::open(text.as_bytes(), text.as_bytes())?.finish()
}

/// A block's place in the bundle, and of each span the path, the offset in the file and the place in the block.
type Told = (u64, Vec<(String, u64, Range<usize>)>);

fn told(text: &str) -> Vec<Told> {
    let mut contents = Contents::open(text.as_bytes(), text.as_bytes()).unwrap();
    let mut all = Vec::new();
    while let Some((block, spans)) = contents.next_block().unwrap() {
        let spans = spans.into_iter().map(|span| (span.path.to_string(), span.offset, span.within)).collect();
        all.push((block.bytes.start, spans));
    }
    all
}

#[test]
fn small_files_share_a_block_and_a_large_one_runs_over_its_own() {
    // d · head a · a(100) · head big || big 0..600 || big 600..1000 || pad · head c · c(5) · pad · end
    let listing = ["d 0".to_owned(), file("a", 100), file("big", 1000), file("c", 5), "l a l".to_owned()];
    let text =
        index(&listing, &[(2048, false), (600, true), (400, true), (24 + 512 + 512 + 512 + 1024, false)]);
    let expected = vec![
        (10, vec![("a".to_owned(), 0, 1024..1124)]),
        (30, vec![("big".to_owned(), 0, 0..600)]),
        (50, vec![("big".to_owned(), 600, 0..400)]),
        (70, vec![("c".to_owned(), 0, 536..541)]),
    ];
    assert_eq!(told(&text), expected);
    let summary = summary(&text).unwrap();
    assert_eq!(summary.bundle_length, 10 + 4 * 20 + 10);
    assert_eq!((summary.entries, summary.blocks, summary.file_bytes), (5, 4, 1105));
    assert_eq!(summary.tar_length, 2048 + 1000 + 24 + 512 + 512 + 512 + 1024);
}

#[test]
fn an_ordinal_counts_every_entry_before_the_file() {
    let text = index(&["d 0".to_owned(), file("a", 0), file("b", 1)], &[(512 + 512 + 1024 + 1024, false)]);
    let mut contents = Contents::open(text.as_bytes(), text.as_bytes()).unwrap();
    let (_, spans) = contents.next_block().unwrap().unwrap();
    assert_eq!((spans.len(), spans[0].ordinal, spans[0].path.as_str()), (1, 2, "b"));
}

#[test]
fn blocks_must_make_the_tar_stream_to_the_byte() {
    let listing = [file("a", 5)];
    summary(&index(&listing, &[(2048, false)])).unwrap();
    for raw in [[1500, 547], [1500, 549], [2048, 1], [512, 5]] {
        let text = index(&listing, &raw.map(|raw| (raw, false)));
        assert!(matches!(summary(&text), Err(Error::Lengths { .. } | Error::Cut { .. })), "{raw:?}");
    }
    assert!(matches!(summary(&index(&listing, &[])), Err(Error::Lengths { blocks: 0, listing: 2048 })));
    // Files beyond the last block, and a file that no block reaches at all.
    let listing = [file("a", 5), file("b", 5)];
    assert!(matches!(summary(&index(&listing, &[(1024, false)])), Err(Error::Lengths { .. })));
    assert!(matches!(summary(&index(&listing, &[(4096, false)])), Err(Error::Lengths { .. })));
}

#[test]
fn a_byte_belongs_to_one_file_and_a_cut_file_is_alone_in_its_blocks() {
    let big = [file("a", 5), file("big", 600), file("c", 5)];
    let cut = |blocks: &[(u64, bool)]| match summary(&index(&big, blocks)) {
        Err(Error::Cut { path, .. }) => path.to_string(),
        other => panic!("{other:?}"),
    };
    let tail = 424 + 512 + 512 + 1024;
    summary(&index(&big, &[(1536, false), (600, true), (tail, false)])).unwrap();
    summary(&index(&big, &[(1536, false), (599, true), (1, true), (tail, false)])).unwrap();
    // Cut without a raw digest: in its middle, and where only the first or the second half says so.
    assert_eq!(cut(&[(1536 + 300, false), (300 + tail, false)]), "big");
    assert_eq!(cut(&[(1536, false), (300, true), (300 + tail, false)]), "big");
    assert_eq!(cut(&[(1536, false), (300, false), (300, true), (tail, false)]), "big");
    // A block that claims a neighbour's header, padding or bytes for a file.
    assert_eq!(cut(&[(1535, false), (601, true), (tail, false)]), "big");
    assert_eq!(cut(&[(1536, false), (601, true), (tail - 1, false)]), "big");
    assert_eq!(cut(&[(1536 + 600 + tail, true)]), "a");
    // A digest of no file's bytes.
    let text = index(&big, &[(512, true), (1024 + 600 + tail, false)]);
    assert!(matches!(summary(&text), Err(Error::Shape { .. })));
}

#[test]
fn sizes_that_lie_are_refused() {
    for (compressed, raw) in [
        ("0", "512"),
        ("20", "0"),
        ("327681", "512"),
        ("20", "262145"),
        ("20", "4294967808"),
        ("18446744073709551615", "512"),
        ("-1", "512"),
        ("020", "512"),
        ("20", "0x200"),
        ("20", ""),
    ] {
        let digest = Digest::of(b"");
        let text = format!("tidelock-index 1 x\n--\nb {compressed} {raw} {digest}\n");
        assert!(matches!(summary(&text), Err(Error::Shape { .. })), "{compressed} {raw}");
    }
}

#[test]
fn lines_that_are_not_in_the_format_are_refused() {
    let digest = Digest::of(b"");
    let good = index(&[], &[(1024, false)]);
    summary(&good).unwrap();
    let block = format!("b 20 1024 {digest}");
    for bad in [
        format!("{block} "),
        format!("{block} {digest} {digest}"),
        format!("{block} {}", "A".repeat(64)),
        format!("c 20 1024 {digest}"),
        format!("b 20 1024 {digest}\n"),
        format!("{block}\r"),
        format!("{block}\n--"),
        "d a".into(),
    ] {
        let text = good.replace(&block, &bad);
        assert!(matches!(summary(&text), Err(Error::Shape { .. })), "{bad:?}");
    }
    // Cut off anywhere, nothing is accepted.
    for end in 0..good.len() {
        assert!(summary(&good[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn another_format_or_compressor_line_is_refused() {
    for first in
        ["", "tidelock-index 2 x", "tidelock-index 1", "tidelock-index 1 ", "tidelock-index 1 X y", "<html>"]
    {
        let text = format!("{first}\n--\n");
        assert!(matches!(Listing::open(text.as_bytes()), Err(Error::Header { .. })), "{first}");
    }
    let text = index(&[], &[]);
    assert_eq!(Listing::open(text.as_bytes()).unwrap().compressor(), "zlib-rs-0.6.8");
}

#[test]
fn a_bomb_is_read_no_further_than_the_limits() {
    /// A text without end.
    struct Endless(&'static [u8]);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            (&mut &self.0[..]).read(buffer)
        }
    }
    let open = |text| io::BufReader::new(Endless(text));
    // One line without end, and lines without end.
    assert!(matches!(Listing::open(open(b"x")), Err(Error::Shape { line: 1, .. })));
    const LINES: &[u8] =
        concat!("0123456789012345678901234567890123456789012345678901234567890123456789", "\n").as_bytes();
    assert!(matches!(Blocks::open(open(LINES)), Err(Error::Limit { what: "bytes", .. })));
}

#[test]
fn a_bundle_ends_with_the_end_of_deflate_and_two_numbers_that_begin_with_their_low_byte() {
    assert_eq!(bundle_tail(0x0403_0201, 0x0807_0605), [3, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_line_has_room_for_the_longest_link_and_no_more() {
    let longest = "l ".len() + 3 * (PATH_BYTES - 1) + " ".len() + 3 * PATH_BYTES;
    assert!(longest <= LINE_BYTES);
    let of = |length| Listing::open(("x".repeat(length) + "\n").as_bytes()).err();
    assert!(matches!(of(24_592), Some(Error::Header { .. })), "it is read, and found to be no index");
    assert!(matches!(of(24_593), Some(Error::Shape { line: 1, .. })));
}

#[test]
fn the_last_byte_of_the_limit_may_be_used() {
    let mut lines =
        Lines { reader: &b"a\nb\n"[..], line: Vec::new(), number: 0, bytes: INDEX_INFLATED_BYTES - 2 };
    assert_eq!(lines.next().unwrap(), Some("a"));
    assert!(matches!(lines.next(), Err(Error::Limit { what: "bytes", .. })));
}

#[test]
fn an_end_before_the_blocks_is_told_with_its_line() {
    let text = "tidelock-index 1 x\nd a\n";
    assert!(matches!(Blocks::open(text.as_bytes()).err(), Some(Error::Shape { line: 3, .. })));
    let mut listing = Listing::open(text.as_bytes()).unwrap();
    listing.next_entry().unwrap();
    assert!(matches!(listing.next_entry(), Err(Error::Shape { line: 3, .. })));
}

#[test]
fn one_block_too_many_is_refused() {
    let text = index(&[], &[(1, false), (1023, false)]);
    let mut blocks = Blocks::open(text.as_bytes()).unwrap();
    blocks.count = BLOCKS - 1;
    blocks.next_block().unwrap();
    assert!(matches!(blocks.next_block(), Err(Error::Limit { what: "blocks", .. })));
}

#[test]
fn sums_beyond_the_limit_do_not_wrap() {
    // A million files of 64 GiB are 2^56 bytes of tar stream: far from wrapping, and far from any block table.
    let listing: Vec<String> = (0..100).map(|n| file(&format!("f{n:03}"), 64 << 30)).collect();
    let Err(Error::Lengths { blocks: 0, listing }) = summary(&index(&listing, &[])) else {
        panic!("accepted")
    };
    assert_eq!(listing, 100 * ((64 << 30) + 3 * 512) + 1024);
}

#[test]
fn a_bad_entry_is_told_with_its_line() {
    let error = summary(&index(&["d b".into(), "d a".into()], &[])).unwrap_err();
    assert!(matches!(error, Error::Entry { line: 3, source: tree::Error::Order { .. } }), "{error:?}");
}

#[test]
fn what_the_writer_writes_the_reader_reads() {
    let kind = Kind::File(File { mode: Mode::Executable, size: 700, sha256: Digest::of(b"x") });
    let entries = [
        Entry { path: "d".parse().unwrap(), kind: Kind::Directory },
        Entry { path: "d/f".parse().unwrap(), kind },
        Entry { path: "l".parse().unwrap(), kind: Kind::Link("d/f".into()) },
    ];
    let (sha256, raw_sha256) = (Digest::of(b"1"), Some(Digest::of(b"2")));
    let blocks = [
        Block { bytes: 10..30, raw: 0..1024, sha256, raw_sha256: None },
        Block { bytes: 30..31, raw: 1024..1724, sha256, raw_sha256 },
        Block { bytes: 31..99, raw: 1724..1724 + 324 + 512 + 1024, sha256, raw_sha256: None },
    ];
    let mut writer = Writer::new("zlib-rs-0.6.8");
    entries.iter().for_each(|entry| writer.entry(entry).unwrap());
    blocks.iter().for_each(|block| writer.block(block).unwrap());
    let (text, tree) = writer.finish().unwrap();
    assert_eq!(summary(&text).unwrap().tree, tree);
    let mut listing = Listing::open(text.as_bytes()).unwrap();
    let read: Vec<Entry> = std::iter::from_fn(|| listing.next_entry().unwrap()).collect();
    assert_eq!(read, entries);
    let (digest, mut read) = listing.finish().unwrap();
    assert_eq!(digest, tree);
    assert_eq!(std::iter::from_fn(|| read.next_block().unwrap()).collect::<Vec<_>>(), blocks);
    assert_eq!(read.bundle_length(), 99 + 10);
}

#[test]
fn a_writer_names_the_line_of_an_entry_and_ends_at_the_limit() {
    let entry = |path: &str| Entry { path: path.parse().unwrap(), kind: Kind::Directory };
    let mut writer = Writer::new("z");
    writer.entry(&entry("b")).unwrap();
    assert!(matches!(writer.entry(&entry("a")), Err(Error::Entry { line: 3, .. })));
    let rest = usize::try_from(INDEX_INFLATED_BYTES).unwrap() - MAGIC.len() - "\n--\n".len();
    assert!(Writer::new(&"z".repeat(rest)).finish().is_ok());
    assert!(matches!(Writer::new(&"z".repeat(rest + 1)).finish(), Err(Error::Limit { what: "bytes", .. })));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However a packer cuts within the rule, each byte of each file is told once, in order.
        #[test]
        fn every_byte_of_every_file_is_told_exactly_once(
            sizes in proptest::collection::vec(0_u64..3000, 0..30),
            cuts in proptest::collection::vec(1_u64..1500, 1..8),
            large in 500_u64..2500,
        ) {
            let listing: Vec<String> = sizes.iter().enumerate().map(|(n, size)| file(&format!("f{n:02}"), *size)).collect();
            let mut blocks = Vec::new();
            let mut shared = 0;
            let mut cuts = cuts.iter().cycle();
            for size in &sizes {
                shared += 512;
                let padding = size.next_multiple_of(512) - size;
                if *size <= large {
                    shared += size + padding;
                    continue;
                }
                blocks.push((shared, false));
                let mut left = *size;
                while left > 0 {
                    let piece = left.min(*cuts.next().unwrap());
                    blocks.push((piece, true));
                    left -= piece;
                }
                shared = padding;
            }
            blocks.push((shared + 1024, false));
            let blocks: Vec<_> = blocks.into_iter().filter(|(raw, _)| *raw > 0).collect();
            let text = index(&listing, &blocks);
            let mut reached = vec![0; sizes.len()];
            for (_, spans) in told(&text) {
                for (path, offset, within) in spans {
                    let n: usize = path[1..].parse().unwrap();
                    prop_assert_eq!(offset, reached[n]);
                    reached[n] += within.len() as u64;
                }
            }
            prop_assert_eq!(&reached, &sizes);
            prop_assert_eq!(summary(&text).unwrap().file_bytes, sizes.iter().sum::<u64>());
        }

        #[test]
        fn no_text_makes_it_panic(text in "(tidelock-index 1 a\n)?([dflb] [0-9a./% -]{0,30}\n|--\n){0,12}") {
            let _ = summary(&text);
        }
    }
}
