//! Of a second version only the new is sent, and what comes of it is what would have come of the whole; whatever the
//! server lost or does not know, the push ends well; and nothing is believed of what is sent.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use tidelock_protocol::digest::Digest;
use tidelock_server::bundle::{Part, PartsWriter, inflated, patch, served};

use super::*;

/// Bytes that do not compress, and differ by their seed.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut digest = Digest::of(&seed.to_le_bytes());
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend(digest.as_bytes());
        digest = Digest::of(digest.as_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Forty files of 10 kB, ten to a shared block, and a large one.
fn first(stage: &Stage) -> PathBuf {
    let files = stage.build("files", "hello");
    fs::write(files.join("data/blob"), noise(999, 400_000)).unwrap();
    for n in 0..40 {
        fs::write(files.join(format!("data/file-{n:02}")), noise(n, 10_000)).unwrap();
    }
    files
}

/// The same with another file or two in most of its blocks, one less, and another middle of the large one.
fn second(files: &Path) {
    for n in [3, 17, 18, 35] {
        fs::write(files.join(format!("data/file-{n:02}")), noise(100 + n, 3000)).unwrap();
    }
    fs::remove_file(files.join("data/file-29")).unwrap();
    let mut blob = fs::read(files.join("data/blob")).unwrap();
    blob[200_000] ^= 1;
    fs::write(files.join("data/blob"), blob).unwrap();
}

/// The file of a target in the published directory.
fn target(stage: &Stage, name: &str) -> PathBuf {
    let targets = stage.room.fleet.out().join("targets");
    let mut found = fs::read_dir(&targets).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.to_str().unwrap().ends_with(&format!(".{name}"))).unwrap()
}

/// Name (with its digest) and bytes of the published bundle and index of a version.
fn published(stage: &Stage, version: &str) -> Vec<(String, Vec<u8>)> {
    let of = |end: &str| {
        let path = target(stage, &format!("app.web.{version}.any.{end}"));
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
    };
    vec![of("tar.gz"), of("index")]
}

/// What the second version comes to when it is packed and sent as a whole.
fn whole() -> &'static [(String, Vec<u8>)] {
    static WHOLE: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let stage = Stage::new("whole").serving();
        let files = first(&stage);
        second(&files);
        stage.push("1.1", &files, &[]).well();
        published(&stage, "1.1")
    })
}

fn sent(ran: &Ran) -> u64 {
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    words[words.iter().position(|word| *word == "bytes").unwrap() - 1].parse().unwrap()
}

/// Passes requests on, notes their paths, and answers 404 where a path holds one of these words: as a server does that
/// does not know them.
struct Between {
    address: SocketAddr,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Between {
    fn new(server: SocketAddr, unknown: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let paths: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&paths);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || pass(client, server, unknown, &noted));
            }
        });
        Self { address, paths }
    }

    fn asked(&self, word: &str) -> usize {
        self.paths.lock().unwrap().iter().filter(|path| path.contains(word)).count()
    }
}

fn pass(mut client: TcpStream, server: SocketAddr, unknown: &[&str], noted: &Mutex<Vec<String>>) {
    let mut server = Client::connect(server, None).unwrap();
    loop {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            if client.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        client.read_exact(&mut body).unwrap();
        let path = text.split(' ').nth(1).unwrap().to_owned();
        let is_unknown = unknown.iter().any(|word| path.contains(word));
        noted.lock().unwrap().push(path);
        if is_unknown {
            client.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").unwrap();
            continue;
        }
        server.write_all(&[head, body].concat()).unwrap();
        let answer = server.send("").unwrap();
        client.write_all(&[answer.head.as_bytes(), b"\r\n\r\n", &answer.body].concat()).unwrap();
    }
}

#[test]
fn of_a_second_version_the_new_files_are_sent_and_the_bundle_is_the_one_packed_whole() {
    let mut stage = Stage::new("parts").serving();
    let files = first(&stage);
    let ran = stage.push("1.0", &files, &[]).well();
    assert!(sent(&ran) > 500_000, "{}", ran.said());
    second(&files);
    let between = Between::new(stage.address, &[]);
    stage.address = between.address;
    let ran = stage.push("1.1", &files, &["--env", "staging"]).well();
    // Four files of 3000 bytes that do not compress and a piece of the large one, of five blocks.
    assert!((70_000..300_000).contains(&sent(&ran)), "{}", ran.said());
    let asked = |word| between.asked(word);
    assert_eq!((asked("/from/"), asked("/parts"), asked("/blocks/")), (1, 1, 0), "{:?}", between.paths);
    assert!(published(&stage, "1.1") == whole());
    assert_eq!(stage.room.device().version("staging", "web"), "1.1");
}

#[test]
fn a_server_that_knows_neither_patches_nor_parts_is_pushed_to_as_before() {
    for unknown in [&["/parts"][..], &["/from/", "/parts"]] {
        let mut stage = Stage::new("older").serving();
        let files = first(&stage);
        stage.push("1.0", &files, &[]).well();
        second(&files);
        let between = Between::new(stage.address, unknown);
        stage.address = between.address;
        stage.push("1.1", &files, &[]).well();
        assert_eq!(between.asked("/blocks/") > 0, unknown.contains(&"/parts"), "{:?}", between.paths);
        assert!(published(&stage, "1.1") == whole(), "{unknown:?}");
    }
}

#[test]
fn an_earlier_release_that_is_gone_or_damaged_costs_bytes_and_nothing_else() {
    for (what, end) in [("gone", "tar.gz"), ("damaged", "tar.gz"), ("damaged", "index")] {
        let stage = Stage::new("gone").serving();
        let files = first(&stage);
        stage.push("1.0", &files, &[]).well();
        let path = target(&stage, &format!("app.web.1.0.any.{end}"));
        if what == "gone" {
            fs::remove_file(&path).unwrap();
        } else {
            let mut bytes = fs::read(&path).unwrap();
            bytes.iter_mut().skip(20).step_by(1000).for_each(|byte| *byte ^= 1);
            fs::write(&path, bytes).unwrap();
        }
        second(&files);
        let ran = stage.push("1.1", &files, &[]).well();
        assert!(sent(&ran) > 300_000, "{what} {end}: {}", ran.said());
        assert!(published(&stage, "1.1") == whole(), "{what} {end}");
    }
}

#[test]
fn a_release_that_its_builder_signs_is_sent_in_parts_too() {
    let stage = Stage::new("partssigned").serving();
    let key = stage.room.fleet.keys().join("builder/builder.pem");
    let signer = ["--signer", key.to_str().unwrap()];
    let files = first(&stage);
    stage.push("1.0", &files, &signer).well();
    second(&files);
    let ran = stage.push("1.1", &files, &signer).well();
    assert!(sent(&ran) < 300_000, "{}", ran.said());
    assert!(published(&stage, "1.1") == whole());
}

#[test]
fn what_is_sent_is_believed_only_by_its_digest() {
    let stage = Stage::new("hostileparts").serving();
    stage.push("1.0", &first(&stage), &[]).well();
    let index = published(&stage, "1.0").remove(1).1;
    let (earlier, text) = (Digest::of(&index), inflated(&index).unwrap());
    // Of a release that says something else of a small file, and of the block that holds it.
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find(|line| line.ends_with(" data/file-00")).unwrap();
    let other = line.replace(&Digest::of(&noise(0, 10_000)).to_string(), &"ab".repeat(32));
    assert_ne!(line, other);
    let blocks = text.lines().filter(|line| line.starts_with("b "));
    let shared = |(number, line): &(usize, &str)| *number > 0 && line.split(' ').count() == 4;
    let (number, named) = blocks.enumerate().find(shared).unwrap();
    let unnamed = format!("{} {}", named.rsplit_once(' ').unwrap().0, "cd".repeat(32));
    let new = text.replace(line, &other).replace(named, &unnamed);
    let (sha256, made) =
        (Digest::of(&served(new.as_bytes()).unwrap()), patch(text.as_bytes(), new.as_bytes()));
    let made = made.unwrap();
    let ask =
        |path: &str, body: &[u8]| stage.ask("PUT", &format!("apps/web/uploads/{path}"), &stage.token, body);
    let zero = Digest::from([0; 32]);

    let from = format!("{sha256}/from/{earlier}");
    assert_eq!(ask(&format!("{sha256}/from/{zero}"), &made).0, 404, "of a release that is not here");
    let (status, said) = ask(&format!("{zero}/from/{earlier}"), &made);
    assert!(status == 400 && said.contains("the index has SHA-256"), "{said}");
    let bomb = served("0 400\n".repeat(20_000).as_bytes()).unwrap();
    for bad in [&b""[..], b"0 1\n", &made[..20], &served(b"0 999999\n").unwrap(), &bomb] {
        let (status, said) = ask(&from, bad);
        assert_eq!(status, 400, "{said}");
    }
    assert_eq!(ask(&format!("{sha256}/parts"), b"").0, 404, "not begun yet");
    let db = stage.create("db", &["--app", "db", "--expires", "1d"]);
    for path in [from.clone(), format!("{sha256}/parts")] {
        assert_eq!(stage.ask("PUT", &format!("apps/web/uploads/{path}"), &db, &made).0, 403);
        assert_eq!(stage.ask("PUT", &format!("apps/web/uploads/{path}"), "no", &made).0, 401);
    }
    let (status, said) = ask(&from, &made);
    assert!(status == 200 && !said.contains("\"held\":[]"), "{said}");

    let ordinal = text.lines().position(|one| one == line).unwrap() as u64 - 1;
    let parts = |parts: &[(Part, &[u8])]| {
        let mut writer = PartsWriter::default();
        parts.iter().for_each(|(part, bytes)| writer.add(*part, bytes).unwrap());
        writer.finish().unwrap()
    };
    let number = number as u64;
    let (block, file) = (Part::Files(number), Part::File(ordinal));
    let content = noise(0, 10_000);
    let numbers = text.lines().filter(|line| line.starts_with("b ")).count() as u64;
    let many: Vec<(Part, &[u8])> = vec![(block, b""); 300];
    for (bad, why) in [
        (vec![(file, &content[..])], "before its block"),
        (vec![(block, b""), (Part::File(ordinal + 1), &content)], "has SHA-256"),
        (vec![(block, b""), (Part::File(999_999), &content)], "lacks no file"),
        (vec![(block, b""), (file, &content)], "has SHA-256"),
        (vec![(block, b"")], "which is not here"),
        (vec![(block, b""), (file, b"too short")], "no parts"),
        (vec![(Part::Files(numbers), b"")], "none of this bundle"),
        (vec![(Part::Block(numbers + 1), b"x")], "is none of them"),
        (vec![(Part::Block(number), &content)], "no parts"),
        (vec![(Part::Block(numbers), &[0; 10])], "has SHA-256"),
        (vec![(Part::Files(1), b"")], "a piece of one file"),
        (many, ""),
    ] {
        let (status, said) = ask(&format!("{sha256}/parts"), &parts(&bad));
        assert!([400, 413].contains(&status) && said.contains(why), "{bad:?}: {status} {said}");
    }
    let zeros = served(&vec![0; 64 << 20]).unwrap();
    assert_eq!(ask(&format!("{sha256}/parts"), &zeros).0, 400);
    assert_eq!(ask(&format!("{sha256}/parts"), &vec![0; (16 << 20) + 1]).0, 413);
    let (_, said) = ask(&from, &made);
    assert!(!said.contains("\"lacking\":[]"), "nothing of it was believed: {said}");
    assert!(!stage.said().contains("panicked"), "{}", stage.said());
}
