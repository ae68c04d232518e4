//! What a world is made of, and one state of it.
//!
//! Never here: what happens in it (`happen`), or which states are good (`crash::invariants`).

use std::collections::{BTreeMap, BTreeSet};

use tidelock::decide;
use tidelock::decide::model::{
    App, Begun, Cause, Device, Hold, Launch, Memory, Run, Settings, Setup, Step, Wanted, is_itself,
};
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::AppName;
use tidelock_protocol::time::Now;

use super::disk::{Call, Disk};
use super::hands::{self, Act};
use super::look::{Manifest, manifests};

/// How a release behaves once it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Behaviour {
    /// It passes its check unless the network is out.
    Good,
    /// Its check fails at once.
    Fails,
    /// Its check hangs.
    Hangs,
    /// Its start hook fails.
    StartFails,
    /// Its start takes the machine down.
    Panics,
    /// Its `release.toml` cannot be used.
    Unusable,
}

/// What may be wanted of the one app of a place: a release by its number, with a tuned interval or not.
pub type Wish = Option<(usize, Option<u32>)>;

/// The repository: releases, and the wishes that the environment may have.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The apps, each with its releases by number.
    pub apps: Vec<(AppName, Vec<Behaviour>)>,
    /// The wishes that each app may have.
    pub wishes: Vec<Wish>,
}

/// What may happen besides changed wishes: each walk takes some, since all together have too many states.
#[derive(Clone, Copy, Debug)]
pub struct Freedom {
    /// How often the owner may change the settings of the device; [`ALWAYS`] may be without end.
    pub owner: u8,
    /// Whether the network may go out.
    pub outages: bool,
    /// How often a person goes back, and how often one asks to try again.
    pub people: (u8, u8),
    /// How often a person holds an app, and how often one pins it.
    pub stops: (u8, u8),
    /// How often something that runs and passed ends by itself; the agent itself then ends at every start from there on.
    pub ends: u8,
    /// How often something writes into a sealed tree; into the live one, and a person asks to have it mended.
    pub drifts: u8,
    /// Whether the power may be cut after every effect.
    pub cuts: bool,
    /// How often the process may be killed, after any effect.
    pub kills: u8,
}

/// As often as it likes.
pub const ALWAYS: u8 = u8::MAX;

impl Freedom {
    /// The power goes, and the process dies.
    pub const POWER: Self = Self {
        owner: 0,
        outages: false,
        people: (0, 0),
        stops: (0, 0),
        ends: 0,
        drifts: 0,
        cuts: true,
        kills: ALWAYS,
    };
    /// The power goes, and people go back and try again.
    pub const PEOPLE: Self = Self { people: (1, 1), kills: 0, ..Self::POWER };
    /// The power goes, and a person holds.
    pub const HOLDS: Self = Self { stops: (1, 0), kills: 0, ..Self::POWER };
    /// The power goes, and a person pins.
    pub const PINS: Self = Self { stops: (0, 1), kills: 0, ..Self::POWER };
    /// The power goes, and something writes into a sealed tree.
    pub const DRIFT: Self = Self { drifts: 1, kills: 0, ..Self::POWER };
    /// The network goes, and the process dies.
    pub const NETWORK: Self = Self { outages: true, cuts: false, ..Self::POWER };
}

/// What is not as it should be, on the device or at the publisher; all of it is the whole time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// No verified desired state is here.
    pub unjoined: bool,
    /// The metadata has expired.
    pub expired: bool,
    /// The clock is not synchronised.
    pub untrusted: bool,
    /// The agent only watches.
    pub observe: bool,
    /// The disk is full.
    pub full: bool,
    /// The publisher does not have the files.
    pub missing: bool,
    /// The app's role could not be asked.
    pub unanswered: bool,
    /// The app's role names another index.
    pub disagreed: bool,
    /// The desired state needs a word that nobody knows.
    pub needs: bool,
    /// There is no build for this platform.
    pub foreign: bool,
    /// Everything lies below the signed floor.
    pub floor: bool,
    /// The owner wants drift told, not mended.
    pub unhealed: bool,
    /// What is wanted no more is deleted in the end.
    pub prune: bool,
}

/// What the world may do.
#[derive(Clone, Debug)]
pub struct World {
    /// The repository.
    pub fleet: Fleet,
    /// Whether the apps are units that a service manager starts at boot, after the guard: otherwise the agent starts
    /// them by hooks.
    pub guard: bool,
    /// Whether releases share inodes.
    pub shares: bool,
    /// Whether each release brings the same units as the others, and says that these are reloaded.
    pub reloads: bool,
    /// What may happen besides.
    pub freedom: Freedom,
    /// What is not as it should be.
    pub terms: Terms,
    pub(super) manifests: Vec<Vec<Manifest>>,
}

impl World {
    /// A world of one app whose only release behaves like this: everything that a first install meets.
    pub fn first(behaviour: Behaviour, guard: bool, freedom: Freedom) -> Self {
        let apps = vec![(name("web"), vec![behaviour])];
        Self::of(Fleet { apps, wishes: vec![None, Some((0, None))] }, guard, freedom)
    }

    /// A world of one app with a good release 0, which is committed when it begins, and `other` as release 1.
    pub fn update(other: Behaviour, guard: bool, freedom: Freedom) -> Self {
        let apps = vec![(name("web"), vec![Behaviour::Good, other])];
        Self::of(Fleet { apps, wishes: vec![Some((0, None)), Some((1, None))] }, guard, freedom)
    }

    /// The same worlds of the agent as an app of its own.
    pub fn of_itself(mut self) -> Self {
        self.fleet.apps[0].0 = name("tidelock");
        Self::of(self.fleet, self.guard, self.freedom)
    }

    /// The same world where releases share inodes.
    pub fn sharing(self) -> Self {
        Self { shares: true, ..self }
    }

    /// The same world where what runs is reloaded.
    pub fn reloading(self) -> Self {
        Self { reloads: true, ..self }
    }

    /// Which of the apps is the agent itself.
    pub(super) fn itself(&self) -> Option<usize> {
        self.fleet.apps.iter().position(|(name, _)| is_itself(name))
    }

    /// A world of these apps.
    pub fn of(fleet: Fleet, guard: bool, freedom: Freedom) -> Self {
        let manifests = manifests(&fleet);
        let (shares, reloads) = (false, false);
        Self { fleet, guard, shares, reloads, freedom, terms: Terms::default(), manifests }
    }

    /// A device that is what it should be by the first wish, which nothing disturbed.
    pub fn begin(&self) -> State {
        let mut state = State {
            apps: self.fleet.apps.iter().map(|_| One::default()).collect(),
            stage: Stage::Running,
            outage: false,
            people: self.freedom.people,
            stops: self.freedom.stops,
            hold: None,
            drifts: self.freedom.drifts,
            ends: self.freedom.ends,
            owner: self.freedom.owner,
            kills: self.freedom.kills,
        };
        let fine = Self { terms: Terms::default(), ..self.clone() };
        for _ in 0..100 {
            let moved = fine.proceed(&state, &Agent::REAL);
            if let (Some(Step::Rest { again: None }), _) | (_, None) = (moved.step, moved.ends.first()) {
                break;
            }
            state = moved.ends.into_iter().next().unwrap_or(state);
        }
        state
    }
}

/// One time less.
pub(super) const fn less(times: u8) -> u8 {
    if times == ALWAYS { ALWAYS } else { times.saturating_sub(1) }
}

/// The app of this name.
pub fn name(text: &str) -> AppName {
    text.parse().unwrap_or_else(|_| unreachable!("{text} is a name"))
}

/// The agent: its decisions, and what its hands do; a seeded bug replaces one of them.
#[derive(Clone, Copy)]
pub struct Agent {
    /// What is seen of the device before anything is decided.
    pub look: fn(Device) -> Device,
    /// `decide::next`, after `decide::want::want`.
    pub next: fn(&Wanted, &Device, Now) -> Step,
    /// `decide::at_boot`
    pub at_boot: fn(&Device, Now) -> Option<Step>,
    /// `decide::at_launch`
    pub at_launch: fn(&Device, Now) -> Option<Step>,
    /// `decide::to_launch`
    pub to_launch: fn(&App, Now) -> Launch,
    /// What is done before anything that is found is believed.
    pub take: fn() -> Vec<Call>,
    /// The order of the effects of a step.
    pub acts: fn(&Step) -> Vec<Act>,
}

impl Agent {
    /// The agent as it is.
    pub const REAL: Self = Self {
        look: |device| device,
        next: |wanted, device, now| decide::next(wanted, device, now).0,
        at_boot: decide::at_boot,
        at_launch: decide::at_launch,
        to_launch: decide::to_launch,
        take: hands::take,
        acts: hands::acts,
    };
}

/// Where the device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Before the apps start: the guard is asked.
    Booting,
    /// Before the agent itself starts: its launcher is asked.
    Launching,
    /// The agent is asked.
    Running,
}

/// A trial that was closed without verdict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deferred {
    /// Of what.
    pub setup: Setup,
    /// Why.
    pub cause: Cause,
    /// How often in a row.
    pub times: u32,
    /// Its record is still there.
    pub closing: bool,
}

/// One app's part of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct One {
    /// Its files.
    pub disk: Disk,
    /// What runs.
    pub run: Run,
    /// What the process remembers.
    pub memory: Memory,
    /// What the owner of the device set for it; every release fails with `bad`.
    pub settings: Settings,
    /// The unit files that the service manager knows, of this release each.
    pub known: BTreeMap<u8, Digest>,
    /// Which of the wishes the environment has.
    pub wish: usize,
    /// Something of what runs has ended.
    pub ended: bool,
    /// Of the agent itself: how often its committed release was begun in vain.
    pub begun: Option<Begun>,
    /// Of the agent itself: the release that the packaged one runs instead of.
    pub unlaunched: Option<Digest>,
    /// What really happened: this release of the agent passed, and ends at every start by now.
    pub broken: Option<Digest>,
    /// What really happened: the service manager started a unit of another release than the link named.
    pub foreign: bool,
    /// The inode of the file that all releases have alike, in each tree.
    pub inodes: BTreeMap<Digest, u8>,
    /// What really happened: something wrote into these inodes.
    pub ruined: BTreeSet<u8>,
    /// What really happened: a release in trial wrote where it may not, and nobody saw it.
    pub unseen: bool,
    /// What really happened: a tree was mended, and another one that had the same inode was not.
    pub forgotten: bool,
    /// What really happened: starts of the release in trial since its trial was opened.
    pub started: u32,
    /// What really happened: a person went back from this, and nobody asked to try it again.
    pub left: Option<Setup>,
    /// What really happened: the setup that was last put off, why, and how often in a row.
    pub deferred: Option<Deferred>,
}

/// One state of the world.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The apps, in the order of the fleet.
    pub apps: Vec<One>,
    /// Where the device is.
    pub stage: Stage,
    /// Whether the network is out.
    pub outage: bool,
    /// How often people may still go back, and ask to try again.
    pub people: (u8, u8),
    /// How often a person may still hold, and pin.
    pub stops: (u8, u8),
    /// A person's stop of the whole device.
    pub hold: Option<Hold>,
    /// How often something may still write into a live tree.
    pub drifts: u8,
    /// How often something may still end by itself.
    pub ends: u8,
    /// How often the owner may still change settings.
    pub owner: u8,
    /// How often the process may still be killed.
    pub kills: u8,
}

/// The digest that stands for the tree `number` of `app`.
pub fn digest_of(app: usize, number: usize) -> Digest {
    Digest::of(format!("{app} {number}").as_bytes())
}
