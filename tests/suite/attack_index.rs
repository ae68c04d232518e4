//! Attacks on a device through an index or a bundle that is signed: a stolen builder's key, or a packer gone wrong. Each
//! is one short test over a real socket; whatever is tried, nothing lands outside the staging directory, nothing unverified
//! is inflated, and the error says what was wrong. (One entry, one block too many: beside the parser, where counting is
//! cheap.)

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use flate2::{Compress, Compression, FlushCompress};
use tidelock::config::Connection;
use tidelock::io::fetch::{self, Error, Job, Share};
use tidelock::io::http::Http;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::index;
use tidelock_protocol::time::{Now, Timestamp};
use tidelock_protocol::tree;
use tidelock_tests::release::{Made, gzip, lay};
use tidelock_tests::scratch::Scratch;
use tidelock_tests::served::Served;

const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A device, and a publisher that serves whatever the attacker signs.
struct World {
    scratch: Scratch,
    http: Http,
    _served: Served,
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new("attack-index");
        fs::create_dir_all(scratch.join("public/targets")).unwrap();
        let served = Served::start(&scratch.join("public"), None).unwrap();
        let url = served.url().to_owned();
        let connection = Connection { url, ca_file: None, header_file: None, client: None };
        let now = Now { wall: Timestamp::from_unix(1_795_000_000), boot: Duration::ZERO, trusted: true };
        Self { http: Http::new(&connection, now).unwrap(), scratch, _served: served }
    }

    fn staging(&self) -> PathBuf {
        self.scratch.join("staging")
    }

    /// What a device makes of an index with these lines and a bundle, both signed as they are.
    fn install(&self, text: &[u8], bundle: &[u8]) -> Error {
        let index = lay(&self.scratch.join("public"), "x.index", &gzip(text));
        let bundle = lay(&self.scratch.join("public"), "x.tar.gz", bundle);
        let tree = &Digest::of(listing(text));
        let error = match fetch::index(&self.http, &index, tree, &self.staging(), None, Share::Inodes) {
            Err(error) => error,
            Ok(_) => {
                let (index, bundle, staging) = (&index, &bundle, &self.staging());
                let job = Job { index, bundle, tree, staging, running: None, share: Share::Inodes };
                match fetch::tree(&self.http, &job, &|| false) {
                    Err(error) => error,
                    Ok(report) => panic!("installed: {report:?}"),
                }
            }
        };
        let beside: Vec<_> =
            fs::read_dir(self.scratch.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(beside.iter().all(|name| name == "public" || name == "staging"), "{beside:?}");
        error
    }

    /// The same for an index that is refused before anything is staged.
    fn refused(&self, text: &str) -> Error {
        let error = self.install(text.as_bytes(), b"never asked for");
        assert!(!self.staging().join("tree").exists(), "something was staged: {error}");
        error
    }
}

/// The part of an index that the tree digest covers, when it has one.
fn listing(text: &[u8]) -> &[u8] {
    let find = |what: &[u8]| text.windows(what.len()).position(|window| window == what);
    let start = find(b"\n").map_or(0, |at| at + 1);
    &text[start..find(b"\n--\n").map_or(text.len(), |at| at + 1).max(start)]
}

/// An index of these lines of listing, with one block that makes the tar stream whole.
fn listed(lines: &[&str]) -> String {
    let listing: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("tidelock-index 1 zlib-rs-0.6.8\n{listing}--\nb 20 {} {NOTHING}\n", 512 * lines.len() + 1024)
}

fn of_entry(error: Error) -> tree::Error {
    match error {
        Error::Index(index::Error::Entry { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

fn of_index(error: Error) -> index::Error {
    match error {
        Error::Index(error) => error,
        other => panic!("{other:?}"),
    }
}

/// A true bundle with a small and a split file, and the text of its index.
fn good() -> (String, Vec<u8>) {
    let mut tree = Made::default();
    tree.file("a", b"small\n").file("large", &b"0123456789abcdef".repeat(20_000)).file("z", b"last\n");
    let (index, bundle, _) = tree.pack();
    let mut text = String::new();
    GzDecoder::new(&index[..]).read_to_string(&mut text).unwrap();
    (text, bundle)
}

/// A bundle of these raw blocks, and the lines of its table; `raw` may lie about their lengths.
fn forged(blocks: &[&[u8]], raw: impl Fn(usize) -> usize) -> (String, Vec<u8>) {
    let (mut table, mut bundle) = (String::new(), index::BUNDLE_HEAD.to_vec());
    for block in blocks {
        let mut bytes = Vec::with_capacity(block.len() + 1024);
        Compress::new(Compression::best(), false)
            .compress_vec(block, &mut bytes, FlushCompress::Full)
            .unwrap();
        table += &format!("b {} {} {}\n", bytes.len(), raw(block.len()), Digest::of(&bytes));
        bundle.write_all(&bytes).unwrap();
    }
    bundle.extend_from_slice(&index::bundle_tail(0, 0));
    (table, bundle)
}

/// The index and bundle of one file `f` with `content`, whose block states `raw` bytes of length.
fn of_one_file(
    content: &[u8],
    size: usize,
    digest: &Digest,
    raw: impl Fn(usize) -> usize,
) -> (String, Vec<u8>) {
    let mut block = vec![0; 512];
    block.extend_from_slice(content);
    block.resize(512 + size.next_multiple_of(512) + 1024, 0);
    let (table, bundle) = forged(&[&block], raw);
    (format!("tidelock-index 1 x\nf 644 {size} {digest} f\n--\n{table}"), bundle)
}

#[test]
fn names_that_climb() {
    let world = World::new();
    for name in ["../x", "..", "/etc/x", "a/../../x", "./x", "a//x", "a%00b", "a%0Ab"] {
        let error = of_entry(world.refused(&listed(&["d a", &format!("f 644 0 {NOTHING} {name}")])));
        assert!(matches!(error, tree::Error::Path { .. }), "{name}: {error}");
    }
}

#[test]
fn unsorted_names() {
    let error = of_entry(World::new().refused(&listed(&["d b", "d a"])));
    assert!(matches!(error, tree::Error::Order { .. }));
}

#[test]
fn double_names() {
    let error = of_entry(World::new().refused(&listed(&["d a", "l /etc a"])));
    assert!(matches!(error, tree::Error::Order { .. }));
}

#[test]
fn a_child_below_a_file() {
    let error = of_entry(World::new().refused(&listed(&[&format!("f 644 0 {NOTHING} a"), "d a/b"])));
    assert!(matches!(error, tree::Error::Orphan { .. }));
}

#[test]
fn a_child_below_a_link() {
    let error = of_entry(World::new().refused(&listed(&[
        "d etc",
        "l etc a",
        &format!("f 644 0 {NOTHING} a/passwd"),
    ])));
    assert!(matches!(error, tree::Error::Order { .. } | tree::Error::Orphan { .. }));
}

#[test]
fn a_child_below_nothing() {
    let error = of_entry(World::new().refused(&listed(&["d a/b"])));
    assert!(matches!(error, tree::Error::Orphan { .. }));
}

#[test]
fn links_out_of_the_tree() {
    let world = World::new();
    for target in ["/etc/passwd", "../x", "..", "b/../../x", "%2Fetc"] {
        let error = of_entry(world.refused(&listed(&[&format!("l {target} a")])));
        assert!(matches!(error, tree::Error::Link { .. } | tree::Error::Line { .. }), "{target}: {error}");
    }
}

#[test]
fn links_that_climb_out_over_each_other() {
    // `d/e/s` leads to `z`, so `d/e/s/../..` would stand above the tree, although it looks as if it did not.
    let error = of_entry(World::new().refused(&listed(&[
        "d d",
        "d d/e",
        "l s/../../x d/e/link",
        "l ../../z d/e/s",
        "d z",
    ])));
    assert!(matches!(error, tree::Error::Link { .. }));
}

#[test]
fn modes_that_are_not_in_the_format() {
    let world = World::new();
    for mode in ["4755", "2755", "777", "0644", "600", "-755", ""] {
        let error = of_entry(world.refused(&listed(&[&format!("f {mode} 0 {NOTHING} a")])));
        assert!(matches!(error, tree::Error::Line { .. }), "{mode}: {error}");
    }
}

#[test]
fn kinds_that_are_not_in_the_format() {
    let world = World::new();
    for line in ["c 1 3 null", "b 8 0 sda", "p fifo", "s socket", "h a b", "x", "", "f"] {
        let error = of_entry(world.refused(&listed(&[line])));
        assert!(matches!(error, tree::Error::Line { .. }), "{line}: {error}");
    }
}

#[test]
fn a_size_that_no_disk_has() {
    let error = World::new().refused(&listed(&[&format!("f 644 68719476737 {NOTHING} a")]));
    assert!(matches!(of_entry(error), tree::Error::Line { .. }));
    // Every single file is within its limit; together they are 2^56 bytes that no table of blocks covers.
    let lines: String = (0..1000).map(|n| format!("f 644 68719476736 {NOTHING} {n:04}\n")).collect();
    let error =
        of_index(World::new().refused(&format!("tidelock-index 1 x\n{lines}--\nb 20 1024 {NOTHING}\n")));
    assert!(matches!(error, index::Error::Lengths { .. } | index::Error::Cut { .. }), "{error}");
}

#[test]
fn a_size_that_lies() {
    let (text, bundle) = good();
    let world = World::new();
    for (from, to) in
        [("f 644 6 ", "f 644 5 "), ("f 644 320000 ", "f 644 319999 "), ("f 644 320000 ", "f 644 320001 ")]
    {
        assert!(text.contains(from));
        let error = world.install(text.replacen(from, to, 1).as_bytes(), &bundle);
        assert!(
            matches!(
                error,
                Error::Index(index::Error::Cut { .. } | index::Error::Lengths { .. }) | Error::File { .. }
            ),
            "{from} -> {to}: {error:?}"
        );
    }
}

#[test]
fn sums_beyond_or_below_the_tar_stream() {
    let world = World::new();
    for raw in [1023, 1025, 262_144] {
        let error = of_index(world.refused(&format!("tidelock-index 1 x\n--\nb 20 {raw} {NOTHING}\n")));
        assert!(matches!(error, index::Error::Lengths { .. }), "{raw}: {error}");
    }
}

#[test]
fn a_byte_claimed_by_two_files_or_none() {
    // Offsets are sums, so it can only be tried through cuts: a block that takes a neighbour's bytes for its file's, and
    // a file whose bytes stand in a block that does not say so.
    let (text, bundle) = good();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("b ")).collect();
    let pieces: Vec<&&str> = lines.iter().filter(|line| line.split(' ').count() == 5).collect();
    let shared: Vec<&&str> = lines.iter().filter(|line| line.split(' ').count() == 4).collect();
    let world = World::new();
    let error = of_index(world.refused(&text.replace(*shared[0], &format!("{} {NOTHING}", shared[0]))));
    assert!(matches!(error, index::Error::Cut { .. }), "{error}");
    let without = pieces[0].rsplit_once(' ').unwrap().0;
    let error = of_index(world.refused(&text.replace(*pieces[0], without)));
    assert!(matches!(error, index::Error::Cut { .. }), "{error}");
    let swapped = text.replace(*pieces[0], "@").replace(*shared[1], pieces[0]).replace('@', shared[1]);
    assert!(matches!(of_index(world.refused(&swapped)), index::Error::Cut { .. }));
    drop(bundle);
}

#[test]
fn blocks_longer_than_a_block() {
    let world = World::new();
    for block in ["327681 1024", "20 262145", "0 1024", "20 0", "4294967316 1024"] {
        let error = of_index(world.refused(&format!("tidelock-index 1 x\n--\nb {block} {NOTHING}\n")));
        assert!(matches!(error, index::Error::Shape { .. }), "{block}: {error}");
    }
}

#[test]
fn an_index_that_is_a_bomb() {
    // 80 MB of one line, and of lines without end: under 1 MB on the wire.
    let world = World::new();
    let refused = |text: &[u8]| {
        let index = lay(&world.scratch.join("public"), "x.index", &gzip(text));
        assert!(index.length < 1_000_000);
        of_index(
            fetch::index(&world.http, &index, &Digest::of(b""), &world.staging(), None, Share::Inodes)
                .unwrap_err(),
        )
    };
    assert!(matches!(refused(&vec![b'x'; 80 << 20]), index::Error::Shape { line: 1, .. }));
    let line = format!("d {}\n", "x".repeat(20_000));
    let text = format!("tidelock-index 1 x\n{}", line.repeat((80 << 20) / line.len()));
    assert!(matches!(refused(text.as_bytes()), index::Error::Limit { what: "bytes", .. }));
}

#[test]
fn a_block_that_is_a_bomb() {
    // Deflate makes 1029 bytes of one. The stated length is all that is ever inflated.
    let content = vec![0; 8 << 20];
    let (table, bundle) = forged(&[&content], |_| 2048);
    let text = format!("tidelock-index 1 x\nf 644 512 {} f\n--\n{table}", Digest::of(&[0; 512]));
    assert!(matches!(World::new().install(text.as_bytes(), &bundle), Error::Inflate { raw: 2048, .. }));
}

#[test]
fn a_block_that_is_shorter_or_longer_than_it_states() {
    let content = b"0123456789abcdef";
    for wrong in [-1_i64, 1, 512] {
        let raw = |length: usize| usize::try_from(i64::try_from(length).unwrap() + wrong).unwrap();
        let (text, bundle) = of_one_file(content, 16, &Digest::of(content), raw);
        // The sum must be right for the index to be read at all: a second block makes up for it.
        let rest = usize::try_from(2048 - i64::try_from(raw(2048)).unwrap()).unwrap_or(0);
        let text = if rest > 0 { format!("{text}b 20 {rest} {NOTHING}\n") } else { text };
        let error = World::new().install(text.as_bytes(), &bundle);
        assert!(
            matches!(
                error,
                Error::Inflate { .. } | Error::Pair { .. } | Error::Index(index::Error::Lengths { .. })
            ),
            "{wrong}: {error:?}"
        );
    }
}

#[test]
fn a_block_with_other_bytes_than_were_signed_is_not_inflated() {
    let content = b"0123456789abcdef";
    let (text, mut bundle) = of_one_file(content, 16, &Digest::of(content), |raw| raw);
    bundle[15] ^= 1;
    let world = World::new();
    assert!(matches!(world.install(text.as_bytes(), &bundle), Error::Block { number: 0, .. }));
    assert!(!world.staging().join("tree/f").exists());
}

#[test]
fn right_blocks_that_make_a_wrong_file() {
    let world = World::new();
    let (text, bundle) = of_one_file(b"evil", 4, &Digest::of(b"good"), |raw| raw);
    assert!(matches!(world.install(text.as_bytes(), &bundle), Error::File { .. }));
    let path = world.staging().join("tree/f");
    let mode =
        |path: &Path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
    assert_eq!(mode(&path) & 0o777, 0o600, "it was never given the mode of a file that is right");
}

#[test]
fn an_empty_file_that_is_said_to_have_content() {
    let text = listed(&[&format!("f 644 0 {} f", Digest::of(b"x"))]);
    let bundle = vec![0; 40];
    assert!(matches!(World::new().install(text.as_bytes(), &bundle), Error::File { .. }));
}

#[test]
fn bytes_after_the_end_of_an_index() {
    let world = World::new();
    let good = format!("tidelock-index 1 x\n--\nb 20 1024 {NOTHING}\n");
    for more in ["x", "\n", "--\n", "d a\n", "b 20 1 x\n"] {
        let error = of_index(world.refused(&format!("{good}{more}")));
        assert!(matches!(error, index::Error::Shape { .. }), "{more:?}: {error}");
    }
}

#[test]
fn an_index_that_is_no_gzip() {
    let world = World::new();
    for bytes in [&b""[..], b"tidelock-index 1 x\n--\n", b"\x1f\x8b\x08", &[0; 100]] {
        let index = lay(&world.scratch.join("public"), "x.index", bytes);
        let error =
            fetch::index(&world.http, &index, &Digest::of(b""), &world.staging(), None, Share::Inodes)
                .unwrap_err();
        assert!(matches!(of_index(error), index::Error::Read(_) | index::Error::Header { .. }));
    }
}
