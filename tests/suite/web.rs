//! The publisher's web room over TLS: renewal of the certificate, resumption, and what an idle poll costs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tidelock_tests::authority::{Authority, Pair};
use tidelock_tests::client::{self, Client};
use tidelock_tests::program::until;
use tidelock_tests::scratch::Scratch;
use tidelock_tests::served::Served;

fn tree(root: &Path) {
    fs::create_dir_all(root.join("metadata")).unwrap();
    fs::write(root.join("metadata/timestamp.json"), "{}").unwrap();
}

/// Puts another pair where the server looks, one file after the other, as an ACME client does.
fn replace(pair: &Pair, by: &Pair) {
    fs::rename(&by.chain, &pair.chain).unwrap();
    fs::rename(&by.key, &pair.key).unwrap();
}

#[test]
fn an_idle_poll_on_a_kept_tls_connection_costs_at_most_360_bytes() {
    let scratch = Scratch::new("idle");
    tree(scratch.path());
    let authority = Authority::new(&scratch.join("ca"));
    let served = Served::start(scratch.path(), Some(&authority.server("server"))).unwrap();
    let mut client =
        Client::connect(served.address(), Some(&client::tls(&authority.certificate(), None))).unwrap();
    let etag = client.get("/metadata/timestamp.json", &[]).unwrap().header("etag").unwrap().to_owned();
    let before = client.wire_bytes();
    // What a device sends, under a host name of usual length.
    let poll = format!(
        "GET /metadata/timestamp.json HTTP/1.1\r\nhost: updates.example.com:8443\r\nuser-agent: tidelock/0.1.0\r\n\
         accept: */*\r\naccept-encoding: identity\r\nif-none-match: {etag}\r\n\r\n"
    );
    assert_eq!(client.send(&poll).unwrap().status, 304);
    let cost = client.wire_bytes() - before;
    println!("idle poll: {cost} bytes");
    assert!(cost <= 360, "{cost} bytes");
}

#[test]
fn a_session_is_resumed_and_costs_at_most_1500_bytes_with_its_poll() {
    let scratch = Scratch::new("resume");
    tree(scratch.path());
    let authority = Authority::new(&scratch.join("ca"));
    let served = Served::start(scratch.path(), Some(&authority.server("server"))).unwrap();
    let tls = client::tls(&authority.certificate(), None);
    let poll = || {
        let mut client = Client::connect(served.address(), Some(&tls)).unwrap();
        client.get("/metadata/timestamp.json", &["If-None-Match: *"]).unwrap();
        (client.resumed(), client.wire_bytes())
    };
    assert!(!poll().0);
    let (resumed, cost) = poll();
    assert!(resumed);
    println!("resumed poll: {cost} bytes");
    assert!(cost <= 1500, "{cost} bytes");
}

#[test]
fn a_renewed_certificate_is_shown_and_open_connections_stay() {
    let scratch = Scratch::new("renew");
    tree(scratch.path());
    let authority = Authority::new(&scratch.join("ca"));
    let pair = authority.server("server");
    let served = Served::start(scratch.path(), Some(&pair)).unwrap();
    let tls = client::tls(&authority.certificate(), None);
    let mut old = Client::connect(served.address(), Some(&tls)).unwrap();
    let first = old.server_certificate();
    replace(&pair, &authority.server("renewed"));
    until("the new certificate is shown", || {
        let tls = client::tls(&authority.certificate(), None);
        Client::connect(served.address(), Some(&tls)).unwrap().server_certificate() != first
    });
    assert_eq!(old.get("/metadata/timestamp.json", &[]).unwrap().status, 200);
}

#[test]
fn a_renewal_that_cannot_be_used_leaves_the_old_certificate_until_the_next_one() {
    let scratch = Scratch::new("bad-renewal");
    tree(scratch.path());
    let authority = Authority::new(&scratch.join("ca"));
    let pair = authority.server("server");
    let served = Served::start(scratch.path(), Some(&pair)).unwrap();
    let shown = || {
        let tls = client::tls(&authority.certificate(), None);
        Client::connect(served.address(), Some(&tls)).unwrap().server_certificate()
    };
    let first = shown();
    fs::write(&pair.key, authority.server("other").key.display().to_string()).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(shown(), first);
    replace(&pair, &authority.server("renewed"));
    until("the good certificate is shown", || shown() != first);
}

#[test]
fn a_certificate_that_cannot_be_used_is_an_error_that_names_the_file() {
    let scratch = Scratch::new("bad");
    let authority = Authority::new(&scratch.join("ca"));
    let (good, other) = (authority.server("server"), authority.server("other"));
    let said = |chain: &Path, key: &Path| {
        let pair = Pair { chain: chain.to_owned(), key: key.to_owned() };
        let error = Served::start(scratch.path(), Some(&pair)).err().unwrap();
        let cause = std::error::Error::source(&error).unwrap();
        format!("{error}: {cause}")
    };
    let missing = scratch.join("missing.pem");
    let empty = scratch.join("empty.pem");
    fs::write(&empty, "").unwrap();
    assert!(said(&missing, &good.key).contains("cannot read a certificate from"));
    assert!(said(&missing, &good.key).contains("missing.pem"));
    assert!(said(&empty, &good.key).contains("no certificate in"));
    assert!(said(&good.chain, &empty).contains("cannot read a private key from"));
    let unlike = said(&good.chain, &other.key);
    assert!(unlike.contains("other.key does not fit the certificate in") && unlike.contains("server.pem"));
}

#[test]
fn plain_http_on_the_https_port_is_turned_away() {
    let scratch = Scratch::new("plain");
    tree(scratch.path());
    let authority = Authority::new(&scratch.join("ca"));
    let served = Served::start(scratch.path(), Some(&authority.server("server"))).unwrap();
    let mut plain = Client::connect(served.address(), None).unwrap();
    assert!(plain.get("/metadata/timestamp.json", &[]).is_err());
    let stranger = Authority::new(&scratch.join("stranger"));
    let tls = client::tls(&stranger.certificate(), None);
    assert!(Client::connect(served.address(), Some(&tls)).is_err());
}
