//! The publisher's web room answers as nginx does for the same files, where HTTP leaves no choice.

use std::fs;
use std::net::SocketAddr;

use tidelock_tests::client::{Answer, Client};
use tidelock_tests::nginx::Config;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::served::Served;

#[test]
fn the_same_requests_get_the_same_answers_as_from_nginx() {
    let scratch = Scratch::new("like-nginx");
    let target = format!("targets/{}.app.web.1.any.tar.gz", "c".repeat(64));
    for directory in ["metadata", "targets"] {
        fs::create_dir(scratch.join(directory)).unwrap();
    }
    fs::write(scratch.join("metadata/timestamp.json"), "{\"signed\":1}").unwrap();
    fs::write(scratch.join("metadata/3.env.prod.json"), "{}").unwrap();
    fs::write(scratch.join(&target), (0..=255).cycle().take(100_000).collect::<Vec<u8>>()).unwrap();
    let nginx = Config::files(scratch.path()).start();
    let ours = Served::start(scratch.path(), None).unwrap();
    let files = ["metadata/timestamp.json", "metadata/3.env.prod.json", &target, "metadata/9.root.json"];
    for path in files {
        for header in [
            "X: y",
            "Range: bytes=0-0",
            "Range: bytes=5-",
            "Range: bytes=-7",
            "Range: bytes=3-99999999",
            "Range: bytes=100000-",
            "Range: lines=1-2",
            "If-None-Match: ETAG",
            "If-None-Match: W/ETAG",
            "If-None-Match: \"other\", ETAG",
            "If-None-Match: *",
            "If-None-Match: \"other\"",
            "If-Range: ETAG\r\nRange: bytes=0-1",
            "If-Range: \"other\"\r\nRange: bytes=0-1",
            "If-None-Match: ETAG\r\nRange: bytes=0-1",
            "Accept-Encoding: gzip",
        ] {
            let compared = |address: SocketAddr| {
                let mut client = Client::connect(address, None).unwrap();
                let etag = client.get(&format!("/{path}"), &[]).unwrap();
                let etag = etag.header("etag").unwrap_or("\"none\"");
                let answer = client.get(&format!("/{path}"), &[&header.replace("ETAG", etag)]).unwrap();
                essence(&answer)
            };
            assert_eq!(compared(ours.address()), compared(nginx.address()), "{path} {header}");
        }
        for method in ["HEAD", "POST", "DELETE"] {
            let compared = |address: SocketAddr| {
                let head = format!("{method} /{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
                Client::connect(address, None).unwrap().send(&head).unwrap().status
            };
            let (ours, nginx) = (compared(ours.address()), compared(nginx.address()));
            // nginx refuses a method before it looks for the file, or after: both are right.
            assert!(ours == nginx || (ours, nginx) == (405, 404), "{method} {path}: {ours} {nginx}");
        }
    }
}

/// What both must agree on: the words of an error page and the validators are each server's own.
fn essence(answer: &Answer) -> (u16, Option<String>, Option<String>, Vec<u8>) {
    let header = |name| answer.header(name).map(str::to_owned);
    let good = answer.status < 400;
    let kind = if good && answer.status != 304 { header("content-type") } else { None };
    let body = if good { answer.body.clone() } else { Vec::new() };
    (answer.status, header("content-range"), kind, body)
}
