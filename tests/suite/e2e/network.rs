//! A bad network: whatever it does to a release, the device has a whole one, and gets the new one when it is over.
//! Faults stand in the order in which a device asks: what it has verified it does not ask for again.

use std::fs;
use std::net::TcpListener;

use tidelock_tests::faults::Fault;
use tidelock_tests::programs::Ours;
use tidelock_tests::world::Device;

use super::site::{Front, Plan, Site, noise};

/// A site whose next release is on its way and needs `bytes` of the bundle.
fn coming(name: &str, bytes: usize) -> Site {
    let site = Plan::new(name).front(Front::Faults).build();
    site.arrives();
    site.publish("data", noise(7, bytes));
    site
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let site = coming("cut", 4_000_000);
    site.proxy.take_seen();
    site.proxy.times(1, ".tar.gz", Fault::Cut(2_500_000));
    let first = site.device.update();
    if first.code != 0 {
        site.device.update().well();
    }
    site.is_there();
    let fetched: u64 = site
        .proxy
        .take_seen()
        .iter()
        .filter(|seen| seen.path.ends_with(".tar.gz"))
        .map(|seen| seen.bytes)
        .sum();
    assert!((3_900_000..4_800_000).contains(&fetched), "{fetched} bytes of a bundle of four million");
}

#[test]
fn a_bundle_that_is_not_there_is_waited_for() {
    let site = coming("404", 100_000);
    site.proxy.always(".tar.gz", Fault::Status(404));
    let said = site.stays();
    assert!(said.contains(".tar.gz"), "{said}");
    site.proxy.heal();
    site.arrives();
}

#[test]
fn wrong_answers_are_refused_and_change_nothing() {
    let site = coming("wrong", 600_000);
    for fault in [
        Fault::Truncate(300_000),
        Fault::Corrupt(300_000),
        Fault::Gzip,
        Fault::Html,
        Fault::Redirect,
        Fault::Endless,
        Fault::HangUp,
        Fault::Status(500),
        Fault::RetryAfter(503, 1),
    ] {
        site.proxy.always(".tar.gz", fault.clone());
        println!("{fault:?}");
        site.stays();
        site.proxy.heal();
    }
    site.arrives();
}

#[test]
fn a_server_that_knows_no_ranges_serves_all_the_same() {
    let site = coming("ranges", 600_000);
    site.arrives();
    site.publish("data2", noise(8, 300_000));
    site.proxy.always(".tar.gz", Fault::NoRange);
    site.arrives();
}

#[test]
fn a_range_that_is_not_the_one_asked_for_is_refused() {
    let site = coming("range", 2_000_000);
    site.arrives();
    site.publish("data2", noise(8, 100_000));
    site.proxy.always(".tar.gz", Fault::WrongRange);
    site.stays();
    site.proxy.heal();
    site.arrives();
}

#[test]
fn an_answer_slower_than_the_minimum_speed_is_not_waited_for() {
    let site = coming("slow", 100_000);
    site.proxy.always(".tar.gz", Fault::Trickle(1));
    let said = site.stays();
    assert!(said.contains("slower than the minimum speed"), "{said}");
    site.proxy.heal();
    site.arrives();
}

#[test]
fn an_answer_that_is_slow_and_not_too_slow_arrives() {
    let site = coming("slow-enough", 40_000);
    site.proxy.always(".tar.gz", Fault::Trickle(100));
    site.arrives();
}

#[test]
fn a_server_that_does_not_answer_in_time_is_a_timeout_to_every_command_that_asks_it() {
    let site = Site::new("timeout");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let of = |name: &str| {
        let device = Device::new(&site.room.join(name), Ours::Agent);
        device.trusts(&site.authority.certificate());
        device
    };
    let devices = ["check", "update"].map(|command| (command, of(command)));
    let config = "etc/tidelock/config.toml";
    for (_, device) in &devices {
        device.join(&site.url(), &site.fleet);
        let text = fs::read_to_string(device.root().join(config)).unwrap();
        fs::write(device.root().join(config), text.replace(&site.url(), &url)).unwrap();
    }
    let ran = std::thread::scope(|scope| {
        let asks = devices.map(|(command, device)| scope.spawn(move || device.run(&[command])));
        let (device, hash) = (of("join"), site.fleet.root_sha256());
        let join = device.run(&["join", &url, "--root-sha256", &hash, "--env", "staging"]);
        assert!(!device.root().join(config).exists(), "{}", join.said());
        [vec![join], asks.map(|ask| ask.join().unwrap()).into()].concat()
    });
    for ran in ran {
        assert!(ran.code == 4 && ran.stderr.contains("no answer in time"), "{}: {}", ran.code, ran.said());
    }
}

#[test]
fn faults_of_metadata_change_nothing_either() {
    let site = coming("metadata", 1000);
    for (part, fault) in [
        ("timestamp.json", Fault::Html),
        ("timestamp.json", Fault::Truncate(100)),
        ("timestamp.json", Fault::Corrupt(200)),
        ("timestamp.json", Fault::Endless),
        ("snapshot.json", Fault::Status(404)),
        ("snapshot.json", Fault::Corrupt(100)),
        ("snapshot.json", Fault::Cut(50)),
        ("env.staging.json", Fault::Status(503)),
        ("env.staging.desired.json", Fault::Corrupt(10)),
        ("app.files.json", Fault::Gzip),
        (".index", Fault::Corrupt(30)),
        (".index", Fault::Status(404)),
    ] {
        println!("{part}: {fault:?}");
        site.proxy.take_seen();
        site.proxy.always(part, fault);
        site.stays();
        let met = site.proxy.take_seen().iter().any(|seen| seen.path.contains(part));
        assert!(met, "the device never asked for {part}");
        site.proxy.heal();
    }
    site.arrives();
}
