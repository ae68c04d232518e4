//! The walk: every reachable state once, breadth first.
//!
//! Never here: what may happen (`world`), what must hold (`invariants`).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

use tidelock::decide::model::{Run, Step, Want};
use tidelock_tests::miniature::{Agent, Happening, Moved, State, World};

use super::invariants::{self, Broken, COMES_TO_REST, ENDLESS, REACHED};

/// More states than this are a mistake in the world.
const MOST: usize = 25_000;

/// How much was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// States in which the agent was asked.
    pub states: usize,
    /// Ways from one to another.
    pub edges: usize,
    /// Of these, cuts of the power.
    pub cuts: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.states += other.states;
        self.edges += other.edges;
        self.cuts += other.cuts;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states, {} edges, {} power cuts", self.states, self.edges, self.cuts)
    }
}

/// An invariant that does not hold, and the way there.
#[derive(Debug)]
pub struct Found {
    pub broken: Broken,
    pub trail: Vec<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken: {}", self.broken)?;
        self.trail.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// States are looked up by their hash and never listed in its order.
type Places = HashMap<Rc<State>, usize>;

struct Walk<'a> {
    world: &'a World,
    agent: &'a Agent,
    places: Places,
    states: Vec<Rc<State>>,
    /// From where, and by what.
    came: Vec<(usize, String)>,
    /// Where each state leads when the world stands still.
    steady: Vec<Option<(usize, bool)>>,
    counts: Counts,
}

/// Walks `world`, and then lets it stand still in each of its states.
pub fn walk(world: &World, agent: &Agent) -> Result<Counts, Found> {
    let begin = Rc::new(world.begin());
    let mut walk = Walk {
        world,
        agent,
        places: HashMap::from([(begin.clone(), 0)]),
        states: vec![begin],
        came: vec![(0, "the device is what it should be".into())],
        steady: Vec::new(),
        counts: Counts::default(),
    };
    let mut place = 0;
    while place < walk.states.len() {
        walk.visit(place)?;
        place += 1;
        if place == MOST {
            return Err(walk.found(place - 1, "and so on: too many states", ENDLESS));
        }
    }
    walk.stand_still()?;
    walk.counts.states = walk.states.len();
    Ok(walk.counts)
}

impl Walk<'_> {
    fn visit(&mut self, place: usize) -> Result<(), Found> {
        let state = self.states[place].clone();
        for happening in self.world.changes(&state, self.agent) {
            self.reach(place, || happening.what.clone(), happening.state)?;
        }
        let moved = self.world.proceed(&state, self.agent);
        if let Some(broken) =
            moved.step.as_ref().and_then(|step| invariants::of_step(self.world, &state, step))
        {
            return Err(self.found(place, &moved.what, broken));
        }
        self.interrupt(place, &moved)?;
        let mut first = None;
        for end in moved.ends {
            let reached = self.reach(place, || moved.what.clone(), end)?;
            first = first.or(Some(reached));
        }
        let rests = matches!(moved.step, Some(Step::Rest { .. }));
        self.steady.push(first.map(|first| (first, rests)));
        Ok(())
    }

    /// Cuts the power and kills the process after each effect of a step.
    fn interrupt(&mut self, place: usize, moved: &Moved) -> Result<(), Found> {
        let mut seen = HashSet::new();
        for (act, state) in &moved.acts {
            let what = || format!("{}, {act:?}", moved.what);
            if let Some(broken) = invariants::of_state(self.world, state) {
                return Err(self.found(place, &what(), broken));
            }
            let mut after = if self.world.freedom.cuts { self.world.cut(state) } else { Vec::new() };
            self.counts.cuts += after.len();
            if state.kills > 0 {
                let state = self.world.killed(state, self.agent);
                after.push(Happening { what: "killed".into(), state });
            }
            for Happening { what: how, state } in after {
                if seen.insert(state.clone()) {
                    self.reach(place, || format!("{}; {how}", what()), state)?;
                }
            }
        }
        Ok(())
    }

    fn reach(&mut self, from: usize, what: impl Fn() -> String, state: State) -> Result<usize, Found> {
        self.counts.edges += 1;
        if let Some(place) = self.places.get(&state) {
            return Ok(*place);
        }
        if let Some(broken) = invariants::of_state(self.world, &state) {
            return Err(self.found(from, &what(), broken));
        }
        let place = self.states.len();
        let state = Rc::new(state);
        self.places.insert(state.clone(), place);
        self.states.push(state);
        self.came.push((from, what()));
        Ok(place)
    }

    /// With power and a world that stands still, each state leads to rest: at the wanted release when it is good and
    /// not refused. A way that never rests, or goes round between rests without need, is broken.
    fn stand_still(&self) -> Result<(), Found> {
        let mut judged: Vec<Option<usize>> = vec![None; self.states.len()];
        for start in 0..self.states.len() {
            let mut way = Vec::new();
            let mut place = start;
            while judged[place].is_none() {
                judged[place] = Some(start);
                way.push(place);
                match self.steady[place] {
                    Some((next, _)) => place = next,
                    None => break,
                }
            }
            if judged[place] != Some(start) {
                continue;
            }
            let round: Vec<usize> = way.iter().copied().skip_while(|other| *other != place).collect();
            let rests = round.iter().filter(|place| matches!(self.steady[**place], Some((_, true))));
            let rests: Vec<usize> = rests.copied().collect();
            if rests.is_empty() {
                return Err(self.found(place, "and so on, for ever", COMES_TO_REST));
            }
            if let Some(place) = rests.into_iter().find(|place| !self.arrived(*place)) {
                return Err(self.found(place, "and stays there", REACHED));
            }
        }
        Ok(())
    }

    /// Whether each app is what it should be, as far as it can be.
    fn arrived(&self, place: usize) -> bool {
        let state = &self.states[place];
        let device = self.world.device(state);
        let wanted = self.world.wanted(state, &device);
        state.apps.iter().zip(wanted.values()).enumerate().all(|(app, (one, want))| match want {
            Want::Be(goal) if self.world.is_reachable(app, state, &goal.setup.tree) => {
                one.linked() == Some(goal.setup.tree) && invariants::committed_now(one, goal.setup.tree)
            }
            Want::Gone { .. } => one.linked().is_none() && one.run == Run::Stopped,
            _ => true,
        })
    }

    fn found(&self, from: usize, what: &str, broken: Broken) -> Found {
        let mut trail = vec![what.to_owned()];
        let mut place = from;
        while place != 0 {
            trail.push(self.came[place].1.clone());
            place = self.came[place].0;
        }
        trail.reverse();
        Found { broken, trail }
    }
}
