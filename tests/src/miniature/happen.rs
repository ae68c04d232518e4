//! What may happen next in a state: the agent goes on, the world changes, the process dies, the power goes.
//!
//! Never here: in which order states are visited, or which of them are good.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tidelock::decide::STARTS;
use tidelock::decide::model::{
    Cause, Device, Extent, Heal, Hold, Launch, Memory, Orphan, Outcome, Pass, Phase, Pin, Rechecked, Recipe,
    Record, Retry, Rollback, Run, Said, Setup, Space, Step, Trial, Trouble, TroubleKind, Until,
};
use tidelock_protocol::desired::Tuning;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::time::Timestamp;

use super::disk::{Call, Content, Directory, Kind, Name};
use super::hands::{self, Act};
use super::look::{NOW, units};
use super::state::{Agent, Behaviour, Deferred, One, Stage, State, World, digest_of, less};

/// What lies further back is all the same: no back-off of [`MANY`] tries is longer, no deadline, no pause after a
/// failed start.
const HORIZON: Duration = Duration::from_secs(150);
const LATE: Duration = Duration::from_secs(3);
const LONG_DOWN: Duration = Duration::from_secs(61);
const LONG_JUDGED: Duration = Duration::from_secs(300);
/// With these settings of the device every release fails.
pub const BAD: &str = "bad";
/// More in a row are all the same.
pub const MANY: u32 = 2;

/// Takes a change in words, and the change.
type Adder<'a> = dyn FnMut(String, &dyn Fn(&mut State)) + 'a;

/// What happened.
#[derive(Clone, Debug)]
pub struct Happening {
    /// In words.
    pub what: String,
    /// What came of it.
    pub state: State,
}

/// What became of a state in which the agent went on.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The step, in words.
    pub what: String,
    /// The step; none when the boot went on.
    pub step: Option<Step>,
    /// The acts of the step and the state after each; the last one is the state after the step, if it ended.
    pub acts: Vec<(Act, State)>,
    /// Where it leads with nothing lost and nobody killed; a release that takes the machine down leads to each cut.
    pub ends: Vec<State>,
}

impl World {
    /// Everything that the world may do in `state`, by itself.
    pub fn changes(&self, state: &State, agent: &Agent) -> Vec<Happening> {
        let mut all = Vec::new();
        let mut add = |what: String, change: &dyn Fn(&mut State)| {
            let mut state = state.clone();
            change(&mut state);
            all.push(Happening { what, state });
        };
        for (place, (name, _)) in self.fleet.apps.iter().enumerate() {
            let one = &state.apps[place];
            for wish in (0..self.fleet.wishes.len()).filter(|wish| *wish != one.wish) {
                add(format!("{name}: the environment wants {:?}", self.fleet.wishes[wish]), &|state| {
                    state.apps[place].wish = wish;
                });
            }
            self.people_come(state, place, &mut add);
            let others = ["", "good", BAD].into_iter().filter(|settings| *settings != one.settings.now);
            // Settings that break a trial and are mended before its way back has ended cannot be told from a bad release.
            for settings in others.filter(|_| state.owner > 0 && one.record(Kind::Trial).is_none()) {
                add(format!("{name}: the owner sets {settings:?}"), &|state| {
                    state.owner = less(state.owner);
                    state.apps[place].settings.now = settings.to_owned();
                });
            }
            self.people_stop(state, place, &mut add);
            self.somebody_writes(state, place, &mut add);
            self.something_ends(state, place, agent, &mut add);
            let kept = one.orphan().filter(|orphan| self.terms.prune && orphan.since == NOW.wall);
            if let Some(orphan) = kept {
                add(format!("{name}: seven days go by"), &|state| {
                    let since = Timestamp::from_unix(NOW.wall.unix() - 7 * 24 * 3600);
                    state.apps[place].write(Record::Orphan(Some(Orphan { since, ..orphan })));
                });
            }
        }
        // An outage that begins before a verdict lasts until the way back has ended: what was out for the trial and
        // is there again for the release before it cannot be told from a bad release.
        let judging = state.apps.iter().any(|one| one.record(Kind::Trial).is_some());
        if self.freedom.outages && !(state.outage && judging) {
            add(format!("the network is {}", if state.outage { "back" } else { "out" }), &|state| {
                state.outage = !state.outage;
            });
        }
        if state.kills > 0 && state.stage == Stage::Running {
            add("the agent is killed".into(), &|state| *state = self.killed(state, agent));
        }
        if self.freedom.cuts {
            all.extend(self.cut(state));
        }
        all
    }

    fn people_come(&self, state: &State, place: usize, add: &mut Adder<'_>) {
        let name = &self.fleet.apps[place].0;
        if let Some(tree) = state.apps[place].linked().filter(|_| state.people.0 > 0) {
            add(format!("{name}: a person goes back from {}", tree.short()), &|state| {
                state.people.0 -= 1;
                let intent = Rollback { leave: tree, owner: "o".into(), reason: "r".into() };
                let record = Content::Record(Rc::new(Record::Rollback(Some(intent))));
                state.apps[place].disk.put(Name::Record(Kind::Rollback), record);
            });
        }
        if state.people.1 > 0 && state.apps[place].record(Kind::Refusals).is_some() {
            add(format!("{name}: a person asks to try again"), &|state| {
                state.people.1 -= 1;
                let record = Content::Record(Rc::new(Record::Retry(Some(Retry { owner: "o".into() }))));
                state.apps[place].disk.put(Name::Record(Kind::Retry), record);
            });
        }
    }

    /// A person holds or pins an app, or lets it go on; and time comes to its end for what one set up.
    fn people_stop(&self, state: &State, place: usize, add: &mut Adder<'_>) {
        let (name, one) = (&self.fleet.apps[place].0, &state.apps[place]);
        if state.stops.0 > 0 {
            add(format!("{name}: a person holds it"), &|state| {
                state.stops.0 -= 1;
                state.apps[place].write(Record::Hold(Some(hold(until(true)))));
            });
        }
        let wanted = self.fleet.wishes[one.wish].map(|(number, _)| digest_of(place, number));
        let known = one.committed().into_iter().map(|committed| committed.setup.tree).chain(wanted);
        for tree in known.filter(|_| state.stops.1 > 0).collect::<BTreeSet<_>>() {
            add(format!("{name}: a person pins it to {}", tree.short()), &|state| {
                state.stops.1 -= 1;
                state.apps[place].write(Record::Pin(Some(pin(tree, until(true)))));
            });
        }
        let (holds, pins) = (one.hold(), one.pin());
        if holds.is_some() || pins.is_some() {
            add(format!("{name}: a person lets it go on"), &|state| {
                state.apps[place].disk.take_away(Name::Record(Kind::Hold));
                state.apps[place].disk.take_away(Name::Record(Kind::Pin));
            });
        }
        if holds.is_some_and(|hold| !hold.until.is_over(NOW)) {
            add(format!("{name}: the hold is over"), &|state| {
                state.apps[place].write(Record::Hold(Some(hold(until(false)))));
            });
        }
        if let Some(before) = pins.filter(|pin| !pin.until.is_over(NOW)) {
            add(format!("{name}: the pin is over"), &|state| {
                state.apps[place].write(Record::Pin(Some(pin(before.setup.tree, until(false)))));
            });
        }
    }

    fn somebody_writes(&self, state: &State, place: usize, add: &mut Adder<'_>) {
        let name = &self.fleet.apps[place].0;
        let one = &state.apps[place];
        let linked = one.linked();
        // What is ruined between a hash and what it was asked for can be told by nobody.
        let trial = one.trial();
        let back = trial.as_ref().is_some_and(|trial| trial.phase != Phase::Opened);
        let hashed = one.memory.rechecked.as_ref();
        let believed = hashed.is_some_and(|found| back || Some(found.tree) != linked);
        if state.drifts == 0 || one.memory.whole.is_some() || believed {
            return;
        }
        let live = one.disk.live();
        for tree in
            live.keys().filter_map(|name| if let Name::Sealed(tree) = name { Some(*tree) } else { None })
        {
            let hit = linked.is_some_and(|linked| one.inodes.get(&linked) == one.inodes.get(&tree));
            if trial.as_ref().is_some_and(|trial| trial.to.tree != tree || linked != Some(tree)) {
                // In those minutes only what is tried writes; what others do to a tree is seen when it is looked after.
                continue;
            }
            let asked = if hit && trial.is_none() { ", and a person asks to mend it" } else { "" };
            add(format!("{name}: something writes into {}{asked}", tree.short()), &|state| {
                state.drifts -= 1;
                let one = &mut state.apps[place];
                one.ruin(&tree);
                if hit && trial.is_none() {
                    one.write(Record::Heal(Some(Heal { owner: "o".into() })));
                }
                one.unseen = trial.is_some();
            });
        }
    }

    fn something_ends(&self, state: &State, place: usize, agent: &Agent, add: &mut Adder<'_>) {
        let (name, one) = (&self.fleet.apps[place].0, &state.apps[place]);
        if let Run::Starting { .. } = one.run {
            add(format!("{name}: a person ends its start, or it was never made"), &|state| {
                state.apps[place].run = Run::Unclear;
            });
        }
        let Run::Started { tree, .. } = one.run else { return };
        if state.ends == 0 || one.trial().is_some() || one.ended || one.linked() != Some(tree) {
            return;
        }
        if self.itself() == Some(place) {
            add(format!("{name}: from now on it ends at every start"), &|state| {
                state.ends -= 1;
                state.apps[place].broken = Some(tree);
                *state = self.killed(state, agent);
            });
        } else if self.guard {
            add(format!("{name}: something of it ends by itself"), &|state| {
                state.ends -= 1;
                state.apps[place].ended = true;
            });
        }
    }

    /// Every state that a power cut in `state` may leave.
    pub fn cut(&self, state: &State) -> Vec<Happening> {
        let mut states = vec![state.clone()];
        for place in 0..state.apps.len() {
            let cuts = state.apps[place].disk.cuts();
            states = (states.iter())
                .flat_map(|state| {
                    cuts.iter().map(|disk| {
                        let mut state = state.clone();
                        let one = &mut state.apps[place];
                        (one.disk, one.run, one.memory) = (disk.clone(), Run::Stopped, Memory::default());
                        one.disk.doubt();
                        (one.settings.started, one.settings.tried) = (None, None);
                        (one.ended, one.begun) = (false, None);
                        // The service manager reads the unit files before anything runs.
                        one.known = one.units();
                        state.stage = if self.guard { Stage::Booting } else { self.after_boot() };
                        state
                    })
                })
                .collect();
        }
        let happening = |mut state| {
            settle(&mut state);
            Happening { what: "the power is cut".into(), state }
        };
        states.into_iter().map(happening).collect()
    }

    /// The process dies, and the next one takes the lock; what runs goes on.
    pub fn killed(&self, state: &State, agent: &Agent) -> State {
        let mut state = state.clone();
        state.kills = less(state.kills);
        for one in &mut state.apps {
            one.memory = Memory::default();
            (agent.take)().iter().for_each(|call| one.disk.call(call));
            // That a cut takes a unit's name much later has too many states, and the guard looks at units at every boot.
            one.disk.call(&Call::SyncDirectory(Directory::Units));
            if !self.freedom.cuts {
                // A name that can be seen is not lost where the power never goes.
                one.disk.call(&Call::SyncAll);
            }
        }
        if state.stage == Stage::Running {
            state.stage = self.after_boot();
        }
        settle(&mut state);
        state
    }

    /// The agent (before the apps start: the guard) goes on.
    pub fn proceed(&self, state: &State, agent: &Agent) -> Moved {
        let device = (agent.look)(self.device(state));
        let step = match state.stage {
            Stage::Booting => match (agent.at_boot)(&device, self.now()) {
                Some(step) => step,
                None => return self.boots(state),
            },
            Stage::Launching => match (agent.at_launch)(&device, self.now()) {
                Some(step) => step,
                None => return self.launches(state, &device, agent),
            },
            Stage::Running => (agent.next)(&self.wanted(state, &device), &device, self.now()),
        };
        let what = step.to_string();
        let mut now = state.clone();
        let mut acts = Vec::new();
        let place = self.fleet.apps.iter().position(|(name, _)| Some(name) == step.app());
        if let Some(place) = place {
            let list = (agent.acts)(&step);
            let last = list.len().saturating_sub(1);
            now.apps[place].memory.before(&step);
            witness(&mut now.apps[place], &step);
            for (number, act) in list.into_iter().enumerate() {
                let survives = self.act(&mut now, place, &act);
                if number == last {
                    now.apps[place].memory.after(&step);
                }
                acts.push((act, now.clone()));
                if !survives {
                    let ends = self.cut(&now).into_iter().map(|cut| cut.state).collect();
                    return Moved { what, step: Some(step), acts, ends };
                }
            }
        }
        if step == Step::UnholdAll {
            now.hold = None;
        }
        match &step {
            Step::Wait { pause } | Step::Rest { again: Some(pause) } => pass(&mut now, *pause),
            _ => {}
        }
        if let Step::Rest { .. } = step {
            for one in &mut now.apps {
                // The next turn knows of no tree that it is still as it was.
                one.memory.rechecked = None;
                // Whoever came so far has polled.
                one.begun = one.begun.filter(|_| now.outage || one.run == Run::Stopped);
            }
        }
        settle(&mut now);
        Moved { what, step: Some(step), acts, ends: vec![now] }
    }

    /// The service manager starts what the links name.
    fn boots(&self, state: &State) -> Moved {
        let mut now = state.clone();
        now.stage = self.after_boot();
        let mut survives = true;
        for place in 0..now.apps.len() {
            now.apps[place].memory = Memory::default();
            if self.itself() == Some(place) {
                continue;
            }
            now.apps[place].foreign |=
                now.apps[place].linked().is_none() && !now.apps[place].known.is_empty();
            if let Some(tree) = now.apps[place].linked().filter(|_| !now.apps[place].known.is_empty()) {
                survives &= self.act(&mut now, place, &Act::Start(tree));
                now.apps[place].memory = Memory::default();
                now.apps[place].settings.started = None;
                if now.apps[place].run == Run::Unclear {
                    now.apps[place].run = Run::Stopped;
                }
            }
        }
        let cut = || self.cut(&now).into_iter().map(|cut| cut.state).collect();
        let mut ends = if survives { vec![now.clone()] } else { cut() };
        ends.iter_mut().for_each(settle);
        Moved { what: "the apps start".into(), step: None, acts: Vec::new(), ends }
    }

    /// What a new process of the agent begins as.
    fn after_boot(&self) -> Stage {
        if self.itself().is_some() { Stage::Launching } else { Stage::Running }
    }

    /// The launcher becomes what it is to run; one that hangs is killed, one that dies is started again.
    fn launches(&self, state: &State, device: &Device, agent: &Agent) -> Moved {
        let mut now = state.clone();
        now.stage = Stage::Running;
        now.apps.iter_mut().for_each(|one| one.memory = Memory::default());
        if let Some(place) = self.itself() {
            let one = &mut now.apps[place];
            (one.run, one.unlaunched) = (Run::Stopped, None);
            match (agent.to_launch)(&device.apps[&self.fleet.apps[place].0], self.now()) {
                Launch::Trial(tree, _) => drop(self.start(one, place, tree)),
                Launch::Committed(begun) => {
                    // Elsewhere each comes as far as a poll.
                    one.begun = Some(begun).filter(|_| self.freedom.ends > 0);
                    self.start(one, place, begun.tree);
                }
                Launch::Packaged => {}
                Launch::InVain(tree, _) => one.unlaunched = Some(tree),
            }
            let dies = matches!(one.run, Run::Started { tree, .. }
                if one.broken == Some(tree) || self.behaviour(place, &tree) == Some(Behaviour::Hangs));
            let dies = dies || one.run == Run::Unclear;
            if dies {
                (one.run, now.stage) = (Run::Stopped, Stage::Launching);
            }
        }
        settle(&mut now);
        Moved { what: "the agent starts".into(), step: None, acts: Vec::new(), ends: vec![now] }
    }

    /// Does one act; false when it takes the machine down.
    fn act(&self, state: &mut State, place: usize, act: &Act) -> bool {
        let outage = state.outage;
        let one = &mut state.apps[place];
        match act {
            Act::Disk(call) => {
                one.disk.call(call);
                if one.record(Kind::Trial).is_none() {
                    one.started = 0;
                }
            }
            Act::HealOthers(_) if outage || self.terms.missing => {}
            Act::Index(tree) | Act::Fetch(tree) | Act::Heal(tree) if outage || self.terms.missing => {
                let tries = one.memory.trouble.as_ref().map_or(1, |trouble| 2.min(trouble.tries + 1));
                let (kind, message) = if outage {
                    (TroubleKind::Network, "the network is out".into())
                } else {
                    (TroubleKind::Unavailable, "answered 404".into())
                };
                one.memory.trouble = Some(Trouble { tree: *tree, kind, message, tries, at: NOW.boot });
            }
            Act::Index(tree) => {
                let staged = Name::Staged(*tree);
                if !matches!(one.disk.live().get(&staged), Some(Content::Begun | Content::Whole)) {
                    one.disk.call(&Call::Write(staged, Content::Begun));
                }
                one.memory.need = Some((*tree, Space { bytes: 1, inodes: 1 }));
            }
            Act::Fetch(tree) => {
                let staged = Name::Staged(*tree);
                if one.disk.live().get(&staged) != Some(&Content::Whole) {
                    one.disk.call(&Call::Write(staged, Content::Whole));
                }
                one.memory.whole = Some(*tree);
                self.take_over(one, *tree);
            }
            Act::Tell => one.known = one.units(),
            Act::Inspect(..) | Act::Recheck(..) | Act::HealOthers(_) | Act::Heal(_) => one.care(act),
            Act::Note(settings) => one.settings.started = Some(settings.clone()),
            Act::Tried(tried) => one.settings.tried.clone_from(tried),
            Act::Unclear => one.run = Run::Unclear,
            Act::Starting(tree) => {
                one.settings.started = Some(one.settings.now.clone());
                // Without a service manager nobody but the agent knows what it began.
                one.run = Run::Unclear;
                if self.guard {
                    one.counts_start(*tree);
                    one.run = Run::Starting { tree: *tree };
                }
            }
            Act::Stop(_) => (one.run, one.ended) = (Run::Stopped, false),
            Act::Start(tree) => {
                one.ended = false;
                return self.start(one, place, *tree);
            }
            Act::Reload(tree) | Act::Await(tree) => {
                let settings = one.settings.started.clone();
                let survives = self.start(one, place, *tree);
                one.settings.started = settings;
                return survives;
            }
            Act::Revive(tree) => {
                (one.run, one.ended) = (Run::Started { tree: *tree, at: NOW.boot }, false);
            }
            Act::Launch => {
                // To hand over is of use, too.
                (one.run, one.begun) = (Run::Stopped, None);
                state.apps.iter_mut().for_each(|one| one.memory = Memory::default());
                state.stage = Stage::Launching;
            }
            Act::Probe { tree, check, passes, timeout } => {
                self.probe(state, place, (tree, check), *passes, *timeout);
            }
        }
        true
    }

    /// Asks a check, which has its numbers of passes for either answer.
    fn probe(
        &self,
        state: &mut State,
        place: usize,
        of: (&Digest, &String),
        passes: (u32, u32),
        timeout: u64,
    ) {
        let ((tree, check), outage, one) = (of, state.outage, &state.apps[place]);
        let behaviour = match one.run {
            // The agent itself is asked whichever it is; the packaged one is good.
            Run::Started { tree, .. } if self.itself() == Some(place) => self.behaviour(place, &tree),
            _ if self.itself() == Some(place) => Some(Behaviour::Good),
            _ => self.behaviour(place, tree),
        };
        let one = &mut state.apps[place];
        let passed = behaviour == Some(Behaviour::Good) && !outage && one.settings.now != BAD;
        one.memory.said.insert(check.clone(), said(passed, if passed { passes.0 } else { passes.1 }));
        if behaviour == Some(Behaviour::Hangs) {
            pass(state, Duration::from_secs(timeout));
            if let Some(said) = state.apps[place].memory.said.get_mut(check) {
                said.at = NOW.boot;
            }
        }
    }

    /// What a tree has in common with the live one: each file is hashed before it is taken over.
    fn take_over(&self, one: &mut One, tree: Digest) {
        let live = one.linked();
        let spoilt = live.filter(|live| one.is_ruined(live));
        if let Some(tree) = spoilt {
            one.memory.rechecked = Some(Rechecked { tree, differing: 1, first: Vec::new() });
        }
        let taken = live.filter(|_| self.shares && spoilt.is_none());
        let inode = taken.and_then(|live| one.inodes.get(&live).copied()).unwrap_or_else(|| one.fresh());
        one.inodes.insert(tree, inode);
    }

    fn start(&self, one: &mut One, place: usize, tree: Digest) -> bool {
        one.settings.started = Some(one.settings.now.clone());
        one.foreign |= self.guard && self.itself() != Some(place) && one.known != units(Some(tree));
        let goes_on = matches!(one.run, Run::Starting { .. });
        if !goes_on {
            one.counts_start(tree);
        }
        match self.behaviour(place, &tree) {
            Some(Behaviour::StartFails) => {
                if goes_on {
                    one.run = Run::Unclear;
                }
                one.memory.said.insert(Recipe::START.into(), said(false, 0));
            }
            Some(Behaviour::Panics) => {
                one.run = Run::Unclear;
                return false;
            }
            _ => one.run = Run::Started { tree, at: NOW.boot },
        }
        true
    }
}

/// Not over yet, or just over; civil time alone counts, as after a boot.
pub fn until(ahead: bool) -> Until {
    Until { wall: NOW.wall.after(Duration::from_secs(if ahead { 7200 } else { 0 })), boot: None }
}

/// A person's stop.
pub fn hold(until: Until) -> Hold {
    Hold { owner: "ann".into(), reason: "the fair".into(), until }
}

/// A person's choice.
pub fn pin(tree: Digest, until: Until) -> Pin {
    let setup = Setup { tree, tuning: Tuning::default(), version: None };
    Pin { setup, owner: "ann".into(), reason: "the fair".into(), until }
}

impl One {
    /// A start of what is tried is one more that its record must know of.
    fn counts_start(&mut self, tree: Digest) {
        let newest = self.committed().into_iter().next();
        let passed = |trial: &Trial| {
            newest.is_some_and(|newest| newest.serial == trial.serial && newest.setup.is(&trial.to))
        };
        if self.trial().is_some_and(|trial| trial.to.tree == tree && !passed(&trial)) {
            self.started += 1;
        }
    }

    /// Something writes into a tree, and so into every other one that has the inode.
    pub fn ruin(&mut self, tree: &Digest) {
        self.ruined.extend(self.inodes.get(tree));
    }

    /// Whether a tree is not as it was signed.
    pub fn is_ruined(&self, tree: &Digest) -> bool {
        self.inodes.get(tree).is_some_and(|inode| self.ruined.contains(inode))
    }

    /// The other trees that have the inode of this one.
    pub fn sharing(&self, tree: &Digest) -> impl Iterator<Item = Digest> {
        let inode = self.inodes.get(tree);
        self.inodes
            .iter()
            .filter(move |(other, found)| *other != tree && Some(*found) == inode)
            .map(|(other, _)| *other)
    }

    /// A tree is hashed, or mended.
    fn care(&mut self, act: &Act) {
        match act {
            Act::Inspect(tree, is_second) => {
                let differing = u64::from(*is_second && self.is_ruined(tree));
                let next = (!is_second).then(|| "m".to_owned());
                let first = if differing > 0 { vec!["m is missing".to_owned()] } else { Vec::new() };
                self.memory.pass = Some(Pass { tree: *tree, next, at: NOW.boot, differing, first });
            }
            Act::Recheck(tree, extent) => {
                let seen = *extent == Extent::Whole || self.sharing(tree).next().is_some();
                let differing = u64::from(seen && self.is_ruined(tree));
                self.memory.rechecked = Some(Rechecked { tree: *tree, differing, first: Vec::new() });
            }
            Act::HealOthers(tree) => {
                let others: Vec<Digest> = self.sharing(tree).collect();
                let fresh = self.fresh();
                self.inodes.extend(others.into_iter().map(|other| (other, fresh)));
            }
            Act::Heal(tree) => {
                self.forgotten |= self.is_ruined(tree) && self.sharing(tree).next().is_some();
                let fresh = self.fresh();
                self.inodes.insert(*tree, fresh);
                (self.memory.mended, self.memory.rechecked) = (Some(*tree), Some(Rechecked::right(*tree)));
            }
            _ => {}
        }
    }

    fn fresh(&self) -> u8 {
        self.inodes.values().max().map_or(0, |most| most + 1)
    }

    /// Trees that are gone have no inodes; which number an inode has is all the same.
    fn settle_inodes(&mut self) {
        let live = self.disk.live();
        let is_here = |tree: &Digest| {
            live.contains_key(&Name::Sealed(*tree)) || live.contains_key(&Name::Staged(*tree))
        };
        self.inodes.retain(|tree, _| is_here(tree));
        let mut numbers = BTreeMap::new();
        for inode in self.inodes.values_mut() {
            let next = u8::try_from(numbers.len()).unwrap_or(u8::MAX);
            *inode = *numbers.entry(*inode).or_insert(next);
        }
        self.ruined = self.ruined.iter().filter_map(|inode| numbers.get(inode).copied()).collect();
    }

    /// What was hashed or mended is asked only as long as a decision hangs on it.
    fn settle_hashes(&mut self) {
        let (linked, trial) = (self.linked(), self.trial());
        let back = trial.filter(|trial| trial.phase != Phase::Opened).and_then(|trial| trial.from);
        let back = back.map(|from| from.tree);
        let noted = match self.record(Kind::Drift).as_deref() {
            Some(Record::Drift(Some(drift))) => Some(drift.tree),
            _ => None,
        };
        let memory = &mut self.memory;
        let open =
            |found: &Rechecked| found.differing > 0 || Some(found.tree) != linked || back == Some(found.tree);
        memory.rechecked = memory.rechecked.take().filter(open);
        memory.mended = memory.mended.filter(|tree| [linked, noted].contains(&Some(*tree)));
        memory.pass = memory.pass.take().filter(|pass| Some(pass.tree) == linked);
    }

    /// Somebody else writes a record, durably.
    pub fn write(&mut self, record: Record) {
        let kind = hands::kind(&record);
        self.disk.put(Name::Record(kind), Content::Record(Rc::new(record)));
    }
}

pub(super) fn said(passed: bool, passes: u32) -> Said {
    let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
    Said { outcome, passes, at: NOW.boot, output: String::new() }
}

/// What really happens, and no record tells whole.
fn witness(one: &mut One, step: &Step) {
    match step {
        Step::Back {
            trial: Trial { to, phase: Phase::Back { cause: Cause::Operator { .. } }, .. }, ..
        } => {
            one.left = Some(to.clone());
        }
        Step::Forget { .. } => one.left = None,
        Step::Defer { setback, .. } => {
            let before = one.deferred.take().filter(|before| before.setup.is(&setback.setup));
            let times =
                before.map_or(1, |before| if before.closing { before.times } else { before.times + 1 });
            let (setup, cause) = (setback.setup.clone(), setback.cause.clone());
            one.deferred = Some(Deferred { setup, cause, times: times.min(MANY), closing: true });
        }
        _ => {}
    }
}

/// Time passes: everything that is remembered lies further back.
fn pass(state: &mut State, time: Duration) {
    // Civil time is told in whole seconds.
    let time = Duration::from_secs(time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
    let back = |at: &mut Duration, most| *at = at.saturating_sub(time).max(NOW.boot - most);
    for one in &mut state.apps {
        let most = if one.ended { LONG_DOWN } else { LATE };
        if let Run::Started { at, .. } = &mut one.run {
            back(at, most);
        }
        one.memory.said.values_mut().for_each(|said| back(&mut said.at, LONG_DOWN));
        let verdict = one.settings.tried.iter_mut().filter_map(|tried| tried.verdict.as_mut());
        verdict.for_each(|said| back(&mut said.at, LONG_JUDGED));
        one.memory.trouble.iter_mut().for_each(|trouble| back(&mut trouble.at, HORIZON));
        one.memory.pass.iter_mut().for_each(|pass| back(&mut pass.at, HORIZON));
        one.disk.change(|content| {
            if let Content::Record(record) = content
                && matches!(**record, Record::Setback(_))
                && let Record::Setback(Some(setback)) = Rc::make_mut(record)
            {
                let ago = (NOW.wall.since(setback.at) + time).min(HORIZON);
                let ago = i64::try_from(ago.as_secs()).unwrap_or(0);
                setback.at = Timestamp::from_unix(NOW.wall.unix() - ago);
            }
        });
    }
}

/// States that differ only in how large a number grew are one state.
fn settle(state: &mut State) {
    for one in &mut state.apps {
        let newest = one.committed().first().map_or(0, |newest| newest.serial);
        let trial = one.trial();
        one.disk.change(|content| {
            if let Content::Record(record) = content {
                let mut settled = (**record).clone();
                settle_record(&mut settled, newest, trial.as_ref());
                if settled != **record {
                    *record = Rc::new(settled);
                }
            }
        });
        let opened = trial.as_ref().is_some_and(|trial| trial.phase == Phase::Opened);
        one.started = if opened { one.started.min(STARTS + 1) } else { 0 };
        let open = trial.is_some();
        let judged =
            one.settings.tried.as_ref().is_some_and(|tried| {
                tried.verdict.as_ref().is_none_or(|said| said.outcome == Outcome::Failed)
            });
        // Until it is asked again nobody reads how long ago a verdict was.
        let verdict = one.settings.tried.iter_mut().filter_map(|tried| tried.verdict.as_mut());
        verdict.filter(|said| said.at + LONG_JUDGED > NOW.boot).for_each(|said| said.at = NOW.boot);
        one.memory.said.retain(|name, _| open || judged || name == Recipe::START);
        // Where a person waits, nobody asks when the last piece ended.
        if one.record(Kind::Heal).is_some() {
            one.memory.pass.iter_mut().for_each(|pass| pass.at = NOW.boot - HORIZON);
        }
        one.deferred = one.deferred.take().filter(|_| open || one.record(Kind::Setback).is_some());
        one.deferred.iter_mut().for_each(|deferred| deferred.closing &= open);
        one.begun = one.begun.filter(|begun| one.linked() == Some(begun.tree));
        one.unlaunched = one.unlaunched.filter(|tree| one.linked() == Some(*tree));
        one.disk.sweep();
        one.settle_inodes();
        one.settle_hashes();
    }
}

fn settle_record(record: &mut Record, newest: u64, trial: Option<&Trial>) {
    let serial = |serial: u64| if newest == 0 { 1 } else { (serial + 2).saturating_sub(newest) };
    match record {
        Record::Committed(list) => list.iter_mut().for_each(|one| one.serial = serial(one.serial)),
        Record::Trial(Some(trial)) => {
            trial.serial = serial(trial.serial);
            // On the way back nobody reads how often it was started.
            if trial.phase != Phase::Opened {
                trial.starts = 0;
            }
            if let Some(earlier) = &mut trial.earlier {
                // Nobody reads when it was.
                (earlier.tries, earlier.at) = (earlier.tries.min(MANY), NOW.wall);
            }
        }
        Record::Setback(Some(setback)) => {
            setback.tries = setback.tries.min(MANY);
            // It was over when the trial was opened.
            if trial.is_some_and(|trial| trial.to.is(&setback.setup) && trial.phase == Phase::Opened) {
                setback.at = Timestamp::from_unix(NOW.wall.unix() - HORIZON.as_secs().cast_signed());
            }
        }
        _ => {}
    }
}
