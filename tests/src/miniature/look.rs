//! What the agent sees of a state: the device, and what is wanted of it.
//!
//! Never here: what happens next (`happen`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tidelock::decide::model::{
    App, Care, Check, Committed, Device, File, Files, Hold, Mode, Offer, Orphan, Pin, Process, Recipe,
    Record, Run, Space, Starter, Trial, Units, Wanted,
};
use tidelock::decide::want::{Me, Signed, want};
use tidelock_protocol::desired::{self, Build, Choice, Desired, IndexTarget, Release, Tuning};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::{AppName, Platform};
use tidelock_protocol::recipe::Activate;
use tidelock_protocol::time::{Now, Timestamp};

use super::disk::{Content, Kind, Name};
use super::hands::units_of;
use super::happen::{BAD, said};
use super::state::{Behaviour, Fleet, One, State, Terms, Wish, World, digest_of};

/// What time it always is: what a state remembers of the past moves instead, so that states stay few.
pub const NOW: Now =
    Now { wall: Timestamp::from_unix(1_800_000_000), boot: Duration::from_secs(1_000_000), trusted: true };

/// The signed words that an app's wish comes with.
pub(super) type Manifest = (Desired, BTreeMap<AppName, Offer>);

/// The manifest of each wish of each app.
pub(super) fn manifests(fleet: &Fleet) -> Vec<Vec<Manifest>> {
    let of = |app: usize, wish: &Wish| {
        let name = fleet.apps[app].0.clone();
        let mut apps = BTreeMap::new();
        let mut offers = BTreeMap::new();
        if let Some((number, interval)) = *wish {
            let tree = digest_of(app, number);
            let target = IndexTarget { name: format!("index {number}"), length: 1, sha256: tree };
            let index = File { name: target.name.clone(), length: 1, sha256: tree };
            let stable = Release {
                version: format!("{number}")
                    .parse()
                    .unwrap_or_else(|_| unreachable!("a number is a version")),
                platforms: BTreeMap::from([(Platform::any(), Build { tree, index: target })]),
            };
            let tuning = Tuning { interval, ..Tuning::default() };
            let choice = Choice {
                selector: BTreeMap::new(),
                stable,
                tuning,
                retry: 0,
                floor: 0,
                needs: std::collections::BTreeSet::new(),
            };
            apps.insert(name.clone(), vec![choice]);
            offers.insert(name, Offer { tree, bundle: index.clone(), index, counter: 1 });
        }
        let environment = "prod".parse().unwrap_or_else(|_| unreachable!("a name"));
        let source = desired::Source::default();
        (Desired { format: 1, environment, serial: 1, source, prune: false, apps }, offers)
    };
    let all = |app: usize| fleet.wishes.iter().map(|wish| of(app, wish)).collect();
    (0..fleet.apps.len()).map(all).collect()
}

impl World {
    /// The time of every turn.
    pub fn now(&self) -> Now {
        Now { trusted: !self.terms.untrusted, ..NOW }
    }

    /// The device as the agent would look at it.
    pub fn device(&self, state: &State) -> Device {
        let apps = self.fleet.apps.iter().zip(&state.apps).enumerate();
        Device {
            // Begun long enough ago for every deadline.
            process: Process::Daemon { since: NOW.boot - Duration::from_secs(600) },
            mode: if self.terms.observe { Mode::Observe } else { Mode::Apply },
            free: Space { bytes: if self.terms.full { 0 } else { 1 << 30 }, inodes: 1 << 20 },
            keep: 0,
            care: Care { every: Duration::from_secs(86_400), heal: !self.terms.unhealed },
            seed: 0,
            hold: state.hold.clone(),
            apps: apps.map(|(place, ((name, _), one))| (name.clone(), self.app(place, one))).collect(),
        }
    }

    /// What the environment wants of it.
    pub fn wanted(&self, state: &State, device: &Device) -> Wanted {
        let platform = if self.terms.foreign { "linux-armv6".parse() } else { Ok(Platform::any()) };
        let platform = platform.unwrap_or_else(|_| unreachable!("a platform"));
        let labels = BTreeMap::new();
        let mut unanswered = BTreeMap::new();
        let mut wanted = Wanted::new();
        for (place, (name, _)) in self.fleet.apps.iter().enumerate() {
            let (desired, offers) = &self.manifests[place][state.apps[place].wish];
            let (mut desired, mut offers) = (Cow::Borrowed(desired), Cow::Borrowed(offers));
            if self.terms != Terms::default() {
                self.spoil(desired.to_mut(), offers.to_mut());
            }
            if self.terms.unanswered {
                unanswered.insert(name.clone(), "the connection was refused".to_owned());
            }
            let (desired, offers, unanswered) = (&*desired, &*offers, &unanswered);
            let signed = Signed { desired, expired: self.terms.expired, offers, unanswered };
            let me = Me { platform: &platform, labels: &labels };
            let all = want(Some(signed).filter(|_| !self.terms.unjoined), me, device, self.now());
            wanted.extend(all.into_iter().filter(|(other, _)| other == name));
        }
        wanted
    }

    /// Makes the signed words what the terms say.
    fn spoil(&self, desired: &mut Desired, offers: &mut BTreeMap<AppName, Offer>) {
        desired.prune = self.terms.prune;
        for choice in desired.apps.values_mut().flatten() {
            choice.floor = if self.terms.floor { 9 } else { 0 };
            if self.terms.needs {
                choice.needs.insert("wings".to_owned());
            }
            if self.terms.foreign {
                choice.stable.platforms.clear();
            }
        }
        if self.terms.disagreed || self.terms.unanswered {
            offers.clear();
        }
    }

    /// How the release with this tree behaves.
    pub fn behaviour(&self, app: usize, tree: &Digest) -> Option<Behaviour> {
        let releases = &self.fleet.apps[app].1;
        let place = (0..releases.len()).find(|number| digest_of(app, *number) == *tree);
        place.map(|number| releases[number])
    }

    /// Whether the release can be committed in a world that stays as it is.
    pub fn is_reachable(&self, app: usize, state: &State, tree: &Digest) -> bool {
        self.behaviour(app, tree) == Some(Behaviour::Good)
            && !state.outage
            && state.apps[app].settings.now != BAD
            && state.apps[app].broken != Some(*tree)
    }

    fn recipe(&self, place: usize, behaviour: Option<Behaviour>) -> Result<Recipe, String> {
        let itself = self.itself() == Some(place);
        let starter = if self.guard || itself { Starter::Manager } else { Starter::Agent };
        recipe(behaviour, starter, if itself { Recipe::POLL } else { "http" }, self.reloads)
    }

    fn app(&self, place: usize, one: &One) -> App {
        let live = one.disk.live();
        let file = || File { name: "signed".into(), length: 1, sha256: Digest::of(b"signed") };
        let source = Files { index: file(), bundle: file() };
        let (mut memory, settings) = (one.memory.clone(), one.settings.clone());
        if one.unlaunched.is_some() && one.unlaunched == one.linked() {
            memory.said.insert(Recipe::START.into(), said(false, 0));
        }
        let mut app = App { run: one.run, memory, settings, begun: one.begun, ..App::default() };
        let ended = one.ended && matches!(one.run, Run::Started { .. });
        app.ended = ended.then(|| "its unit ended".to_owned());
        for (name, content) in live.iter() {
            let name = *name;
            match (name, content) {
                (Name::Sealed(tree), _) => {
                    app.sealed.push(tree);
                    app.sources.insert(tree, source.clone());
                    app.recipes.insert(tree, self.recipe(place, self.behaviour(place, &tree)));
                }
                (Name::Staged(tree), _) => app.staged.push(tree),
                (Name::Link, Content::Link(tree)) => app.current = Some(*tree),
                (Name::Record(_), Content::Record(record)) => match (**record).clone() {
                    Record::Trial(trial) => app.trial = trial,
                    Record::Committed(list) => app.committed = list,
                    Record::Refusals(list) => app.refusals = list,
                    Record::Setback(setback) => app.setback = setback,
                    Record::Rollback(intent) => app.rollback = intent,
                    Record::Retry(intent) => app.retry = intent,
                    Record::Orphan(orphan) => app.orphan = orphan,
                    Record::Hold(hold) => app.hold = hold,
                    Record::Pin(pin) => app.pin = pin,
                    Record::Drift(drift) => app.drift = drift,
                    Record::Heal(intent) => app.heal = intent,
                },
                _ => {}
            }
        }
        let has_units = self.guard && self.itself() != Some(place);
        if has_units && app.current.is_none_or(|tree| app.sealed.contains(&tree)) {
            app.units = match one.known == one.units() && one.known == units(app.current) {
                true if one.known.is_empty() => Units::None,
                true => Units::Placed,
                false => Units::Other,
            };
        }
        app
    }
}

/// The unit files that belong to a release, or to none.
pub(super) fn units(tree: Option<Digest>) -> BTreeMap<u8, Digest> {
    tree.iter().flat_map(|tree| units_of(tree).map(|file| (file, *tree))).collect()
}

impl One {
    /// The record of this kind, as it stands on the disk.
    pub fn record(&self, kind: Kind) -> Option<Rc<Record>> {
        match self.disk.live().get(&Name::Record(kind)) {
            Some(Content::Record(record)) => Some(record.clone()),
            _ => None,
        }
    }

    /// The open trial.
    pub fn trial(&self) -> Option<Trial> {
        match self.record(Kind::Trial).as_deref() {
            Some(Record::Trial(trial)) => trial.clone(),
            _ => None,
        }
    }

    /// What is committed, the newest first.
    pub fn committed(&self) -> Vec<Committed> {
        match self.record(Kind::Committed).as_deref() {
            Some(Record::Committed(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    /// That the environment wants it no more.
    pub fn orphan(&self) -> Option<Orphan> {
        match self.record(Kind::Orphan).as_deref() {
            Some(Record::Orphan(orphan)) => *orphan,
            _ => None,
        }
    }

    /// A person's stop, over or not.
    pub fn hold(&self) -> Option<Hold> {
        match self.record(Kind::Hold).as_deref() {
            Some(Record::Hold(hold)) => hold.clone(),
            _ => None,
        }
    }

    /// A person's choice, over or not.
    pub fn pin(&self) -> Option<Pin> {
        match self.record(Kind::Pin).as_deref() {
            Some(Record::Pin(pin)) => pin.clone(),
            _ => None,
        }
    }

    /// The unit files on the disk, of this release each; a torn one is of none.
    pub fn units(&self) -> BTreeMap<u8, Digest> {
        let of =
            |content: &Content| if let Content::Unit(tree) = content { *tree } else { Digest::of(b"torn") };
        let live = self.disk.live();
        let units = live.iter().filter_map(|(name, content)| match name {
            Name::Unit(file) => Some((*file, of(content))),
            _ => None,
        });
        units.collect()
    }

    /// The tree that the link names.
    pub fn linked(&self) -> Option<Digest> {
        match self.disk.live().get(&Name::Link) {
            Some(Content::Link(tree)) => Some(*tree),
            _ => None,
        }
    }
}

fn recipe(
    behaviour: Option<Behaviour>,
    starter: Starter,
    asked: &str,
    reloads: bool,
) -> Result<Recipe, String> {
    if behaviour == Some(Behaviour::Unusable) {
        return Err("unusable".into());
    }
    let definition = Digest::of(asked.as_bytes());
    let check = Check { definition, grace: 0, interval: 1, deadline: 2, successes: 1 };
    let checks = BTreeMap::from([(asked.to_owned(), check)]);
    Ok(Recipe {
        starter,
        start: Digest::of(b"start"),
        timeout: 10,
        units: reloads.then(|| Digest::of(b"units")),
        activate: if reloads { Activate::Reload } else { Activate::Restart },
        checks,
    })
}
