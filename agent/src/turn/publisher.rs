//! What the publisher says, as far as it is known: the desired state that is believed, and what the apps' roles say of
//! the builds that are about to be entered.
//!
//! Never here: what follows from it.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use tidelock_protocol::names::AppName;
use tidelock_protocol::time::Now;

use super::in_words;
use crate::decide::clock::Floor;
use crate::decide::model::{Device, File, Offer};
use crate::decide::want::{Me, Signed, entering};
use crate::io::clock;
use crate::io::http::Http;
use crate::io::lock::Lock;
use crate::io::refresh::{Expiry, Failure, Found, Kind, Manifest, Reset, Trust, WantedBuild};
use crate::look::Site;

/// The publisher of this device's fleet.
#[derive(Debug)]
pub struct Publisher {
    /// None: a look at a device whose next turn will begin its trust anew.
    trust: Option<Trust>,
    found: Found,
    http: Option<Http>,
    manifest: Option<Manifest>,
    offers: BTreeMap<AppName, Offer>,
    unanswered: BTreeMap<AppName, String>,
}

impl Publisher {
    /// What is believed, from the disk alone; begun anew from the root in `/etc` where that is necessary.
    /// `http`: the connection of an earlier turn.
    ///
    /// # Errors
    /// There is no root in `/etc`, or what is stored cannot be read.
    pub fn open(site: &Site, http: Option<Http>) -> Result<Self, Failure> {
        let (trust, found) = Trust::open(&site.paths.trust(), Some(&root(site)?), Floor::of_build())?;
        match found {
            Found::Known | Found::Begun => {}
            Found::Moved => log::warn!(
                "{} is another root than before: trust begins again from it",
                site.paths.root_json().display()
            ),
            Found::Lost => {
                log::error!("what was trusted cannot be read (trust-lost): trust begins again from the root")
            }
        }
        Ok(Self::of(site, Some(trust), found, http))
    }

    /// The same for whoever only looks.
    ///
    /// # Errors
    /// As [`Publisher::open`].
    pub fn peek(site: &Site) -> Result<Self, Failure> {
        let (trust, found) = Trust::peek(&site.paths.trust(), &root(site)?, Floor::of_build())?;
        Ok(Self::of(site, trust, found, None))
    }

    /// Nobody: for what is done without any publisher.
    pub fn nobody(site: &Site) -> Self {
        Self::of(site, None, Found::Begun, None)
    }

    /// Forgets what was fetched; the next poll begins again from the root in `/etc`.
    ///
    /// # Errors
    /// As [`Publisher::open`].
    pub fn reset(_lock: &Lock, site: &Site, reset: Reset) -> Result<(), Failure> {
        Trust::reset(&site.paths.trust(), &root(site)?, reset)
    }

    fn of(site: &Site, trust: Option<Trust>, found: Found, http: Option<Http>) -> Self {
        let manifest = trust.as_ref().and_then(|trust| trust.manifest(&site.settings.environment));
        Self { trust, found, http, manifest, offers: BTreeMap::new(), unanswered: BTreeMap::new() }
    }

    /// The connection, for the next turn.
    pub fn into_connection(self) -> Option<Http> {
        self.http
    }

    /// The desired state that is believed, expired or not.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Whether trust was lost, and no complete walk has mended it since.
    pub fn is_lost(&self) -> bool {
        self.trust.as_ref().map_or(self.found == Found::Lost, Trust::is_lost)
    }

    /// Who had trust begun anew, where no complete walk has followed yet.
    pub fn was_reset(&self) -> Option<&Reset> {
        self.trust.as_ref()?.was_reset()
    }

    /// The time that things are judged by at this moment.
    pub fn now(&self) -> Now {
        self.trust.as_ref().map_or_else(unsigned_now, |trust| trust.now(clock::read()))
    }

    /// Asks for news.
    ///
    /// # Errors
    /// Whatever kept it from being known whether there is any; what was believed still is.
    pub fn poll(&mut self, site: &Site) -> Result<(), Failure> {
        self.connect(site)?;
        let (Some(trust), Some(http)) = (&mut self.trust, &self.http) else { return Ok(()) };
        self.manifest = Some(trust.poll(http, &site.settings.environment, clock::read())?);
        self.offers.clear();
        self.unanswered.clear();
        Ok(())
    }

    /// Asks the roles of those apps that are about to enter something, once per turn and app.
    pub(super) fn ask_offers(&mut self, site: &Site, device: &Device) {
        let Some(manifest) = self.manifest.clone() else { return };
        let me = Me { platform: &site.platform, labels: &site.settings.labels };
        for (app, wanted) in entering(&manifest.desired, me, device, self.now()) {
            let known = self.offers.get(&app).is_some_and(|offer| offer.tree == wanted.build.tree);
            if known || self.unanswered.contains_key(&app) {
                continue;
            }
            let wanted = WantedBuild {
                app: &app,
                version: wanted.version,
                platform: &wanted.platform,
                build: wanted.build,
            };
            match self.offer(site, wanted) {
                Ok(offer) => drop(self.offers.insert(app, offer)),
                Err(error) if error.kind() == Kind::Disagreed => log::warn!("{app}: {}", in_words(&error)),
                Err(error) => drop(self.unanswered.insert(app, in_words(&error))),
            }
        }
    }

    fn offer(&mut self, site: &Site, wanted: WantedBuild<'_>) -> Result<Offer, Failure> {
        self.connect(site)?;
        let (Some(trust), Some(http)) = (&mut self.trust, &self.http) else {
            return Err(Failure::NoTrust { directory: site.paths.trust() });
        };
        let found = trust.release(http, wanted, Expiry::Judged, clock::read())?;
        let file = |file: tidelock_protocol::release::File| File {
            name: file.name,
            length: file.length,
            sha256: file.sha256,
        };
        let (index, bundle) = (file(found.index), file(found.bundle));
        Ok(Offer { tree: found.tree, index, bundle, counter: found.counter })
    }

    /// The connection, made when it is first needed, and told what time it is.
    pub(super) fn connect(&mut self, site: &Site) -> Result<&Http, Failure> {
        let now = self.now();
        let http = match self.http.take() {
            Some(http) => http,
            None => Http::new(&site.settings.connection, now)?,
        };
        http.set_now(now);
        Ok(self.http.insert(http))
    }

    /// What is signed, as it is decided about.
    pub(super) fn signed(&self, now: Now) -> Option<Signed<'_>> {
        let manifest = self.manifest.as_ref()?;
        Some(Signed {
            desired: &manifest.desired,
            expired: manifest.expires <= now.wall,
            offers: &self.offers,
            unanswered: &self.unanswered,
        })
    }
}

/// The time as far as it is known without any signature.
pub fn unsigned_now() -> Now {
    Floor::of_build().now(clock::read())
}

/// The root of trust that `join` wrote.
#[expect(
    clippy::disallowed_methods,
    reason = "the root is what a person put there; a turn reads it, nothing writes it"
)]
fn root(site: &Site) -> Result<Vec<u8>, Failure> {
    let path = site.paths.root_json();
    match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::NoTrust { directory: site.paths.etc() })
        }
        root => root.map_err(|source| Failure::Read { path, source }),
    }
}
