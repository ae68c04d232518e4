//! Scenarios as text: what happens to a device, and what the agent does about it and says of it, word for word.
//!
//! Each file of `tests/golden/` has a title, the apps with the behaviour of their releases, and lines that begin with
//! `>`: something happens. What stands below such a line was recorded: the steps until the device is at rest, and why
//! each app is where it is, in the words of `why` and of observe mode. `TIDELOCK_GOLDEN=write` records anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tidelock::decide;
use tidelock::decide::model::{Heal, Orphan, Record, Retry, Rollback, Step};
use tidelock_protocol::names::AppName;
use tidelock_protocol::time::Timestamp;
use tidelock_tests::miniature::disk::{Content, Kind, Name};
use tidelock_tests::miniature::{
    Agent, Behaviour, Fleet, Freedom, NOW, One, Stage, State, Terms, World, digest_of, hold, name, pin, until,
};

/// A scenario that takes more steps than this does not come to rest.
const MOST: usize = 200;

struct Scenario {
    world: World,
    state: State,
    told: String,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "txt")).collect();
    files.sort();
    files
}

#[test]
fn every_scenario_is_told_as_it_was_recorded() {
    let files = files();
    assert!(files.len() >= 15, "{} scenarios", files.len());
    let mut differing = Vec::new();
    for path in files {
        let recorded = std::fs::read_to_string(&path).unwrap();
        let told = tell(&recorded);
        if std::env::var_os("TIDELOCK_GOLDEN").is_some_and(|value| value == "write") {
            std::fs::write(&path, &told).unwrap();
        } else if told != recorded {
            differing.push(format!("{}: is now told as\n{told}", path.display()));
        }
    }
    assert!(differing.is_empty(), "{}\nif that is right: TIDELOCK_GOLDEN=write", differing.join("\n"));
}

/// Every reason that a scenario can show is shown by one.
#[test]
fn the_scenarios_show_the_reasons() {
    let all: String = files().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for code in [
        "synced",
        "no-manifest",
        "not-wanted",
        "orphan",
        "agent-too-old",
        "platform",
        "disagreed",
        "below-floor",
        "expired",
        "clock",
        "refused",
        "hold",
        "pin",
        "backing-off",
        "disk",
        "unavailable",
        "fetch",
        "other-trial",
        "queued",
        "observe",
        "installing",
        "trying",
        "going-back",
        "restoring",
        "down",
        "nothing-to-go-back-to",
        "retrying",
        "settings",
        "degraded",
        "tidying",
        "drifted",
        "healing",
    ] {
        assert!(all.contains(&format!(": {code}: ")), "no scenario shows {code}");
    }
}

/// The text as it is told now: what is given and what happens is kept, the rest is written anew.
fn tell(text: &str) -> String {
    let mut scenario: Option<Scenario> = None;
    let mut apps = Vec::new();
    let mut head = String::new();
    for line in text.lines() {
        if let Some(app) = line.strip_prefix("app ") {
            apps.push(app_of(app));
            writeln!(head, "{line}").unwrap();
        } else if let Some(event) = line.strip_prefix("> ") {
            scenario.get_or_insert_with(|| Scenario::of(apps.clone(), head.clone())).happen(event);
        } else if line.starts_with('#') && scenario.is_none() {
            writeln!(head, "{line}").unwrap();
        }
    }
    scenario.map(|scenario| scenario.told).unwrap_or(head)
}

fn app_of(text: &str) -> (AppName, Vec<Behaviour>) {
    let (app, releases) = text.split_once(": ").unwrap();
    (name(app), releases.split(", ").map(behaviour).collect())
}

fn behaviour(word: &str) -> Behaviour {
    match word {
        "good" => Behaviour::Good,
        "fails" => Behaviour::Fails,
        "hangs" => Behaviour::Hangs,
        "start-fails" => Behaviour::StartFails,
        "panics" => Behaviour::Panics,
        "unusable" => Behaviour::Unusable,
        other => panic!("no release is {other}"),
    }
}

impl Scenario {
    fn of(apps: Vec<(AppName, Vec<Behaviour>)>, told: String) -> Self {
        let releases = apps.iter().map(|(_, releases)| releases.len()).max().unwrap();
        let plain = (0..releases).map(|number| Some((number, None)));
        let tuned = (0..releases).map(|number| Some((number, Some(2))));
        let wishes = [None].into_iter().chain(plain).chain(tuned).collect();
        let world = World::of(Fleet { apps, wishes }, false, Freedom { ends: 1, ..Freedom::POWER });
        let state = world.begin();
        Self { world, state, told }
    }

    /// Does what a line says, then lets the agent go on; `…; N steps` only so far.
    fn happen(&mut self, event: &str) {
        let (what, steps) = match event.split_once("; ") {
            Some((what, steps)) => (what, steps.strip_suffix(" steps").unwrap().parse().unwrap()),
            None => (event, MOST),
        };
        writeln!(self.told, "\n> {event}").unwrap();
        let words: Vec<&str> = what.split(' ').collect();
        match words[..] {
            ["terms", "fine"] => self.world.terms = Terms::default(),
            ["terms", ref terms @ ..] => terms.iter().for_each(|term| self.spoil(term)),
            ["network", "out"] => self.state.outage = true,
            ["network", "back"] => self.state.outage = false,
            ["power", "cut"] => self.state = self.world.cut(&self.state).swap_remove(0).state,
            ["agent", "killed"] => self.state = self.world.killed(&self.state, &Agent::REAL),
            ["guard", "before", "the", "apps"] => self.world.guard = true,
            [app, "ends", "at", "every", "start"] => {
                let one = self.one(app);
                one.broken = one.linked();
                self.state = self.world.killed(&self.state, &Agent::REAL);
            }
            [app, "ends", "by", "itself"] => self.one(app).ended = true,
            ["reload"] => self.world.reloads = true,
            ["go", "on"] => {}
            ["wait"] => self.state = self.world.proceed(&self.state, &Agent::REAL).ends.swap_remove(0),
            [app, "wants", "nothing"] => self.one(app).wish = 0,
            [app, "wants", number] => self.one(app).wish = 1 + number.parse::<usize>().unwrap(),
            [app, "wants", number, "tuned"] => {
                let releases = (self.world.fleet.wishes.len() - 1) / 2;
                self.one(app).wish = 1 + releases + number.parse::<usize>().unwrap();
            }
            [app, "rollback"] => {
                let leave = self.one(app).linked().unwrap();
                let intent = Rollback { leave, owner: "ann".into(), reason: "slow".into() };
                self.one(app).write(Record::Rollback(Some(intent)));
            }
            [app, "drifts"] => {
                let one = self.one(app);
                one.linked().iter().for_each(|tree| one.ruin(tree));
            }
            [app, "verify", "--heal"] => {
                self.one(app).write(Record::Heal(Some(Heal { owner: "ann".into() })));
            }
            ["a", "day", "passes"] => self.state.apps.iter_mut().for_each(a_day_passes),
            [app, "sets", settings] => self.one(app).settings.now = settings.to_owned(),
            [app, "retry"] => {
                self.one(app).write(Record::Retry(Some(Retry { owner: "ann".into() })));
            }
            [app, "is", "gone", "for", "seven", "days"] => {
                let since = Timestamp::from_unix(NOW.wall.unix() - 7 * 24 * 3600);
                self.one(app).write(Record::Orphan(Some(Orphan { since, trusted: true })));
            }
            [app, "release", number, "now", word] => {
                let apps = &mut self.world.fleet.apps;
                let releases = apps.iter_mut().find(|(name, _)| name.as_str() == app).unwrap();
                releases.1[number.parse::<usize>().unwrap()] = behaviour(word);
            }
            [app, "loses", "its", kind] => {
                let kind = if kind == "trial" { Kind::Trial } else { Kind::Committed };
                self.one(app).disk.put(Name::Record(kind), Content::Torn);
            }
            _ if self.is_stopped_or_let_go(&words) => {}
            _ => panic!("nothing is called {what:?}"),
        }
        self.go_on(steps);
    }

    /// Does what a line says of holds and pins; false: it is of something else.
    fn is_stopped_or_let_go(&mut self, words: &[&str]) -> bool {
        match *words {
            ["hold", "everything"] => self.state.hold = Some(hold(until(true))),
            ["the", "hold", "of", "everything", "is", "over"] => self.state.hold = Some(hold(until(false))),
            ["resume", "everything"] => self.state.hold = None,
            [app, "hold"] => self.one(app).write(Record::Hold(Some(hold(until(true))))),
            [app, "hold", "is", "over"] => self.one(app).write(Record::Hold(Some(hold(until(false))))),
            [app, "pin", number] => {
                let place = self.world.fleet.apps.iter().position(|(name, _)| name.as_str() == app).unwrap();
                let tree = digest_of(place, number.parse().unwrap());
                self.one(app).write(Record::Pin(Some(pin(tree, until(true)))));
            }
            [app, "pin", "is", "over"] => {
                let before = self.one(app).pin().unwrap();
                self.one(app).write(Record::Pin(Some(pin(before.setup.tree, until(false)))));
            }
            [app, "resume"] => {
                self.one(app).disk.take_away(Name::Record(Kind::Hold));
                self.one(app).disk.take_away(Name::Record(Kind::Pin));
            }
            _ => return false,
        }
        true
    }

    fn go_on(&mut self, steps: usize) {
        for _ in 0..steps {
            let moved = self.world.proceed(&self.state, &Agent::REAL);
            if !moved.what.starts_with("rest") {
                writeln!(self.told, "{}", moved.what).unwrap();
            }
            if matches!(moved.step, Some(Step::Rest { .. })) {
                // The next turn believes of no tree that it is still as it was.
                self.state.apps.iter_mut().for_each(|one| one.memory.rechecked = None);
                break;
            }
            self.state = moved.ends.into_iter().next().unwrap();
        }
        if self.state.stage == Stage::Running {
            let device = self.world.device(&self.state);
            let wanted = self.world.wanted(&self.state, &device);
            let (step, why) = decide::next(&wanted, &device, self.world.now());
            let next = if matches!(step, Step::Rest { .. }) { "" } else { "next, " };
            writeln!(self.told, "  {next}{step}").unwrap();
            why.to_string().lines().for_each(|line| writeln!(self.told, "  {line}").unwrap());
        }
    }

    fn one(&mut self, app: &str) -> &mut One {
        let place = self.world.fleet.apps.iter().position(|(name, _)| name.as_str() == app).unwrap();
        &mut self.state.apps[place]
    }

    fn spoil(&mut self, term: &str) {
        let terms = &mut self.world.terms;
        let member = match term {
            "unjoined" => &mut terms.unjoined,
            "expired" => &mut terms.expired,
            "untrusted-clock" => &mut terms.untrusted,
            "observe" => &mut terms.observe,
            "full" => &mut terms.full,
            "missing" => &mut terms.missing,
            "unanswered" => &mut terms.unanswered,
            "disagreed" => &mut terms.disagreed,
            "needs" => &mut terms.needs,
            "foreign" => &mut terms.foreign,
            "floor" => &mut terms.floor,
            "no-healing" => &mut terms.unhealed,
            "prune" => &mut terms.prune,
            "shared-inodes" => &mut self.world.shares,
            other => panic!("no term is {other}"),
        };
        *member = true;
    }
}

/// What was committed, hashed or mended lies a day further back.
fn a_day_passes(one: &mut One) {
    let back = |at: &mut Timestamp| *at = Timestamp::from_unix(at.unix() - 86_400);
    one.disk.change(|content| {
        let Content::Record(record) = content else { return };
        match Rc::make_mut(record) {
            Record::Committed(list) => list.iter_mut().for_each(|one| back(&mut one.at)),
            Record::Drift(Some(drift)) => {
                back(&mut drift.at);
                drift.healed.iter_mut().for_each(back);
            }
            _ => {}
        }
    });
}
