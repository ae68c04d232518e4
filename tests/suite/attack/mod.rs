//! Attacks on a device's trust, each a short test: a repository that signs in memory, a real socket, the agent's own hands.
//!
//! Every attack runs twice, on the walk that begins at the root and on the poll that asks for the timestamp first. What
//! the public conformance suite checks stands here as well.

mod delegations;
mod freeze;
mod names;
mod roles;
mod rollback;
mod roots;
mod store;
mod tls;
mod transport;
mod two_parties;

use std::time::Duration;

use serde_json::Value;
use tidelock::config::Connection;
use tidelock::decide::clock::{Floor, Reading};
use tidelock::io::http::{Http, Pace};
use tidelock::io::refresh::{Expiry, Failure, Found, Kind, Manifest, Trust, WantedBuild};
use tidelock_protocol::names::{EnvironmentName, Platform};
use tidelock_protocol::release::ReleaseTargets;
use tidelock_protocol::time::{Now, Timestamp};
use tidelock_tests::repository::{Reply, Repository, Site};
use tidelock_tests::scratch::Scratch;

/// The moment of every test; its days are counted from here.
const TODAY: &str = "2026-11-24T08:00:00Z";

/// How a device asks for news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    RootFirst,
    TimestampFirst,
}

/// Declares attacks that run in both orders; each is told a world in which the device has had one good walk.
macro_rules! attacks {
    ($($(#[$about:meta])* $name:ident($world:ident) $body:block)*) => { $(
        mod $name {
            #[allow(unused_imports, reason = "not every attack needs every word")]
            use super::*;

            $(#[$about])*
            fn attack(mut $world: World) $body

            #[test]
            fn root_first() {
                attack(World::new(Order::RootFirst));
            }

            #[test]
            fn timestamp_first() {
                attack(World::new(Order::TimestampFirst));
            }
        }
    )* };
}
use attacks;

/// The answer must be disbelieved for this reason.
macro_rules! disbelieved {
    ($answer:expr, $reason:pat) => {
        match $answer {
            Err(Failure::Trust { source: $reason, .. }) => {}
            other => panic!("expected {}, found {other:?}", stringify!($reason)),
        }
    };
}
use disbelieved;

/// One device and its publisher.
struct World {
    site: Site,
    scratch: Scratch,
    trust: Trust,
    http: Http,
    reading: Reading,
    order: Order,
}

impl World {
    /// A device that has had one good walk; what it asked so far is forgotten.
    fn new(order: Order) -> Self {
        let mut world = Self::before_contact(order, Repository::tidelock());
        world.update().unwrap();
        world.site.take_asked();
        world
    }

    /// A device that trusts the repository's first root and has asked nothing yet.
    fn before_contact(order: Order, repository: Repository) -> Self {
        let root = repository.files["metadata/1.root.json"].clone();
        let site = Site::serve(repository);
        let scratch = Scratch::new("attack");
        let (trust, found) = Trust::open(&scratch.join("trust"), Some(&root), floor()).unwrap();
        assert_eq!(found, Found::Begun);
        let http = client(&site.url());
        Self { site, scratch, trust, http, reading: reading(0), order }
    }

    /// Asks for news in this world's order.
    fn update(&mut self) -> Result<Manifest, Failure> {
        match self.order {
            Order::RootFirst => self.trust.walk(&self.http, &prod(), self.reading),
            Order::TimestampFirst => self.trust.poll(&self.http, &prod(), self.reading),
        }
    }

    /// Changes the repository, then asks for news.
    fn after(&mut self, change: impl FnOnce(&mut Repository)) -> Result<Manifest, Failure> {
        change(&mut self.site.repository());
        self.update()
    }

    /// The files of the build of `web` that the device believes to be wanted.
    fn release(&mut self) -> Result<ReleaseTargets, Failure> {
        let manifest = self.trust.manifest(&prod()).unwrap();
        let app = "web".parse().unwrap();
        let release = &manifest.desired.apps[&app][0].stable;
        let platform = Platform::any();
        let build = &release.platforms[&platform];
        let wanted = WantedBuild { app: &app, version: &release.version, platform: &platform, build };
        self.trust.release(&self.http, wanted, Expiry::Judged, self.reading)
    }

    /// The release of `web` that the device believes to be wanted, from what it has stored.
    fn believes(&self) -> String {
        let manifest = self.trust.manifest(&prod()).unwrap();
        manifest.desired.apps[&"web".parse().unwrap()][0].stable.version.to_string()
    }

    /// The stored version of a role; 0: none.
    fn version(&self, role: &str) -> u64 {
        let bytes = std::fs::read(self.scratch.join(format!("trust/{role}.json"))).unwrap_or_default();
        let role: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        role["signed"]["version"].as_u64().unwrap_or(0)
    }

    /// Stored versions of root, timestamp, snapshot and targets.
    fn versions(&self) -> [u64; 4] {
        ["root", "timestamp", "snapshot", "targets"].map(|role| self.version(role))
    }

    /// The agent starts again, and finds its trust so.
    fn restart(&mut self) -> Found {
        let root = self.site.repository().files["metadata/1.root.json"].clone();
        let (trust, found) = Trust::open(&self.scratch.join("trust"), Some(&root), floor()).unwrap();
        self.trust = trust;
        found
    }
}

fn prod() -> EnvironmentName {
    "prod".parse().unwrap()
}

fn floor() -> Floor {
    Floor { at: Timestamp::from_unix(0), learnt: Duration::ZERO }
}

/// So many days after [`TODAY`], by a clock that somebody keeps right.
fn reading(days: i64) -> Reading {
    let civil = Timestamp::from_unix(TODAY.parse::<Timestamp>().unwrap().unix() + days * 86_400);
    Reading { civil, boot: Duration::from_secs(1000), synchronised: true }
}

fn day(days: i64) -> Value {
    serde_json::to_value(reading(days).civil).unwrap()
}

fn client(url: &str) -> Http {
    let connection = Connection { url: url.into(), ca_file: None, header_file: None, client: None };
    let now = Now { wall: reading(0).civil, boot: Duration::ZERO, trusted: true };
    let pace = Pace { window: Duration::from_millis(300), bytes: 1000, head: Duration::from_millis(1500) };
    Http::new(&connection, now).unwrap().with_pace(pace)
}
