//! Installing, updating, going back, on a good network.

use std::net::SocketAddr;

use tidelock_tests::client::{self, Client};
use tidelock_tests::program::until;
use tidelock_tests::world::{Device, Supervisor};

use super::site::{Front, Plan, Site};

/// Adds the web app `app` and starts its supervisor; not yet published.
fn add_web(site: &Site, app: &str) -> Supervisor {
    let address: SocketAddr = Supervisor::free_address();
    site.fleet.add_web_app(app, address.port());
    Supervisor::start(&site.device, app, address)
}

fn shows(device: &Device, web: &Supervisor, app: &str, page: &str, state: &str) {
    until(&format!("{app} shows {page:?}"), || web.page().as_deref() == Some(page));
    assert_eq!(device.state(app), state);
}

#[test]
fn a_commit_is_installed_updated_refused_and_reverted() {
    is_installed_updated_refused_and_reverted(&Site::new("web"));
}

/// What an app goes through in its life.
pub(super) fn is_installed_updated_refused_and_reverted(site: &Site) {
    let web = add_web(site, "web");
    site.fleet.want(&["files", "web"]);
    site.fleet.commit("The app web");
    site.fleet.publish().well();
    site.arrives();
    shows(&site.device, &web, "web", "version 1", "Synced Healthy");
    let first = site.device.live("web");
    site.fleet.write("apps/web/tree/page.txt", "version 2\n");
    site.fleet.commit("Version 2");
    site.fleet.publish().well();
    site.device.update().well();
    shows(&site.device, &web, "web", "version 2", "Synced Healthy");
    let second = site.device.live("web");
    assert_ne!(first, second);
    site.fleet.write("apps/web/tree/page.txt", "version 3\n");
    site.fleet.write("apps/web/tree/health.txt", "bad\n");
    site.fleet.commit("Version 3, which is broken");
    site.fleet.publish().well();
    let ran = site.device.update();
    assert_eq!(ran.code, 3, "{}", ran.said());
    shows(&site.device, &web, "web", "version 2", "OutOfSync Healthy");
    assert_eq!(site.device.live("web"), second);
    let why = site.device.run(&["why", "web"]);
    assert!(why.stdout.contains("answers") && why.stdout.contains("503"), "{}", why.stdout);
    // The same bad release is not tried again, however often the device asks.
    assert_eq!(site.device.update().code, 3);
    assert_eq!(web.page().as_deref(), Some("version 2"));
    site.fleet.git(&["revert", "--no-edit", "HEAD"]);
    site.fleet.push();
    site.fleet.publish().well();
    site.device.update().well();
    shows(&site.device, &web, "web", "version 2", "Synced Healthy");
    assert_eq!(site.device.live("web"), second);
}

#[test]
fn of_two_apps_one_fails_and_the_other_goes_on() {
    let site = Site::new("two");
    let (good, bad) = (add_web(&site, "good"), add_web(&site, "bad"));
    site.fleet.want(&["files", "good", "bad"]);
    site.device.configure("roots", "allow_root_apps = [\"good\", \"bad\"]\n");
    site.fleet.commit("Two apps");
    site.fleet.publish().well();
    site.arrives();
    for (app, web) in [("good", &good), ("bad", &bad)] {
        shows(&site.device, web, app, "version 1", "Synced Healthy");
        site.fleet.write(&format!("apps/{app}/tree/page.txt"), "version 2\n");
    }
    site.fleet.write("apps/bad/tree/health.txt", "bad\n");
    site.fleet.commit("Version 2 of both");
    site.fleet.publish().well();
    assert_eq!(site.device.update().code, 3);
    shows(&site.device, &good, "good", "version 2", "Synced Healthy");
    shows(&site.device, &bad, "bad", "version 1", "OutOfSync Healthy");
}

#[test]
fn two_publishes_within_one_second_are_two_updates() {
    let site = Site::new("second");
    site.arrives();
    for version in ["2", "3", "4"] {
        site.publish("version", version);
        site.arrives();
        assert_eq!(site.device.live_file("files", "version").unwrap(), version.as_bytes());
    }
    // A static server's ETag is often made of whole seconds and the length: two in a row must differ all the same.
    let etag = || {
        let tls = client::tls(&site.authority.certificate(), None);
        let mut client = Client::connect(site.tls.address(), Some(&tls)).unwrap();
        let answer = client.get("/metadata/timestamp.json", &[]).unwrap();
        (answer.header("etag").unwrap().to_owned(), answer.body.len())
    };
    let mut seen = vec![etag()];
    for version in ["5", "6", "7"] {
        site.publish("version", version);
        seen.push(etag());
    }
    assert!(seen.windows(2).all(|two| two[0].0 != two[1].0), "{seen:?}");
}

#[test]
fn an_update_costs_what_changed_and_a_poll_next_to_nothing() {
    let site = Site::new("cost");
    for n in 0..40 {
        site.fleet.write(&format!("apps/files/tree/{n}"), super::site::noise(n, 50_000));
    }
    site.publish("version", "2");
    site.arrives();
    let whole = site.relay.down();
    assert!(whole > 2_000_000, "{whole}");
    site.publish("7", "changed");
    site.arrives();
    let changed = site.relay.down() - whole;
    assert!(changed < 200_000, "{changed}");
    let before = site.relay.down() + site.relay.up();
    site.device.update().well();
    let poll = site.relay.down() + site.relay.up() - before;
    assert!(poll < 4_000, "{poll}");
}

#[test]
fn a_server_that_is_down_changes_nothing() {
    let site = Site::new("down");
    site.arrives();
    let nobody = Supervisor::free_address();
    site.relay.lead_to(nobody);
    site.publish("version", "2");
    site.stays();
    assert!(site.device.state("files").ends_with("Healthy"));
    site.device.run(&["verify"]).well();
    site.relay.lead_to(site.tls.address());
    site.arrives();
}

#[test]
fn a_server_that_asks_for_a_client_certificate_gets_it() {
    let site = Plan::new("client").front(Front::NginxForClients).build();
    let join = |site: &Site| {
        let hash = site.fleet.root_sha256();
        site.device.run(&["join", &site.url(), "--root-sha256", &hash, "--env", "staging"])
    };
    let refused = join(&site);
    assert_ne!(refused.code, 0, "{}", refused.said());
    site.device.carries(&site.authority.client("device"));
    join(&site).well();
    site.arrives();
    let stranger = tidelock_tests::authority::Authority::new(&site.room.join("stranger"));
    site.device.carries(&stranger.client("device"));
    site.publish("version", "2");
    site.stays();
}
