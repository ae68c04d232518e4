//! Wrong clocks, late clocks, and time that passes quickly.

use std::fs;
use std::time::Duration;

use tidelock_tests::program::until;
use tidelock_tests::programs::Ours;
use tidelock_tests::world::{Daemon, Supervisor};

use super::site::{Plan, Site, noise};

/// A site whose device reads its clock from a file.
fn at(name: &str, clock: &str) -> Site {
    let plan = Plan { agent: Ours::AgentWithTestClock, clock: Some((clock, 1)), ..Plan::new(name) };
    plan.build()
}

fn set(site: &Site, clock: &str) {
    fs::write(site.room.join("clock"), format!("{clock}\n")).unwrap();
}

#[test]
fn a_board_that_boots_in_1970_without_ntp_updates_from_the_first_second() {
    let site = at("1970", "1970-01-01T00:00:10Z unsynchronised");
    site.arrives();
    site.publish("version", "2");
    site.arrives();
}

#[test]
fn a_board_that_boots_in_2100_without_ntp_updates_all_the_same() {
    let site = at("2100", "2100-01-01T00:00:00Z unsynchronised");
    site.arrives();
    site.publish("version", "2");
    site.arrives();
}

#[test]
fn an_expired_timestamp_forbids_what_is_new_and_nothing_else() {
    let site = at("expired", "1970-01-01T00:00:10Z unsynchronised");
    site.arrives();
    set(&site, "2100-01-01T00:00:00Z synchronised");
    site.publish("version", "2");
    let said = site.stays();
    assert!(said.contains("expired"), "{said}");
    assert!(site.device.state("files").ends_with("Healthy"));
    site.device.run(&["verify"]).well();
    set(&site, "1970-01-01T00:00:10Z unsynchronised");
    site.arrives();
}

#[test]
fn an_hour_without_network_during_a_trial_and_a_download_refuses_nothing() {
    const SPEED: u32 = 200;
    let site = Plan {
        agent: Ours::AgentWithTestClock,
        clock: Some(("1970-01-01T00:00:10Z unsynchronised", SPEED)),
        ..Plan::new("outage")
    };
    let site = site.build();
    let hour = Duration::from_secs(3600) / SPEED;
    let address = Supervisor::free_address();
    site.fleet.add_web_app("web", address.port());
    // Every number is long, since even the time that a hook takes passes quickly here.
    let recipe = site.fleet.repository().join("apps/web/tree/release.toml");
    let slow = fs::read_to_string(&recipe).unwrap();
    let slow = slow.replace("timeout = 10", "timeout = 3600").replace("deadline = 2", "deadline = 7200");
    fs::write(&recipe, slow.replace("interval = 1", "interval = 60\nsuccesses = 15")).unwrap();
    let web = Supervisor::start(&site.device, "web", address);
    site.device.configure("poll", "poll = \"1m\"\n");
    site.fleet.want(&["files", "web"]);
    site.fleet.commit("The app web");
    site.fleet.publish().well();
    let daemon = Daemon::start(&site.device, &site.room.join("agent.log"));
    until("version 1 is healthy", || site.device.state("web") == "Synced Healthy");
    // The trial of version 2 has begun when the network goes away.
    site.fleet.write("apps/web/tree/page.txt", "version 2\n");
    site.fleet.commit("Version 2");
    site.fleet.publish().well();
    until("version 2 runs", || web.page().as_deref() == Some("version 2"));
    assert_ne!(site.device.state("web"), "Synced Healthy", "the trial is over already");
    site.relay.lead_to(Supervisor::free_address());
    site.relay.cut();
    std::thread::sleep(hour);
    assert_eq!(web.page().as_deref(), Some("version 2"));
    assert!(site.device.state("web").ends_with("Healthy"), "{}", site.device.state("web"));
    site.relay.lead_to(site.tls.address());
    // The download of version 3 has begun when the network goes away.
    site.fleet.write("apps/web/tree/page.txt", "version 3\n");
    site.fleet.write("apps/web/tree/data", noise(3, 4_000_000));
    site.fleet.commit("Version 3");
    site.relay.fall_silent_after(1_000_000);
    site.fleet.publish().well();
    until("a part of version 3 has come", || site.relay.is_silent());
    site.relay.lead_to(Supervisor::free_address());
    site.relay.cut();
    site.relay.speak();
    std::thread::sleep(hour);
    assert_eq!(web.page().as_deref(), Some("version 2"));
    site.relay.lead_to(site.tls.address());
    // After an hour of failures the device asks again within an hour; a person need not wait for that.
    until("version 3 is healthy", || {
        daemon.poke();
        web.page().as_deref() == Some("version 3") && site.device.state("web") == "Synced Healthy"
    });
    let why = site.device.run(&["why"]).stdout;
    assert!(!why.contains("refus"), "{why}");
    daemon.stop();
}
