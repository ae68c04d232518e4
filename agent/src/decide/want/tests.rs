//! What may be entered, and what forbids it, one rule after the other.

use std::time::Duration;

use tidelock_protocol::desired::Tuning;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::time::Timestamp;

use super::*;
use crate::decide::model::{Care, Cause, Committed, Ground, Hold, Mode, Phase, Space, Trial, Until};

const TREE: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A device, what the environment wants of its app `web`, and what the app's role says.
struct Case {
    device: Device,
    desired: Desired,
    offers: BTreeMap<AppName, Offer>,
    unanswered: BTreeMap<AppName, String>,
    expired: bool,
    trusted: bool,
    labels: BTreeMap<LabelKey, String>,
    platform: Platform,
}

fn web() -> AppName {
    "web".parse().unwrap()
}

fn setup() -> Setup {
    Setup { tree: TREE.parse().unwrap(), tuning: Tuning::default(), version: Some("1".parse().unwrap()) }
}

impl Case {
    fn new() -> Self {
        let text = format!(
            r#"{{"format":1,"environment":"prod","serial":1,"source":{{}},"apps":{{"web":[
            {{"stable":{{"version":"1","platforms":{{"linux-armv6":{{"tree":"{TREE}",
            "index":{{"name":"i","length":1,"sha256":"{TREE}"}}}}}}}}}}]}}}}"#
        );
        let desired = Desired::parse(text.as_bytes(), &"prod".parse().unwrap()).unwrap();
        let index = File { name: "i".into(), length: 1, sha256: TREE.parse().unwrap() };
        let offer = Offer { tree: setup().tree, bundle: index.clone(), index, counter: 5 };
        let free = Space { bytes: 1, inodes: 1 };
        let care = Care { every: Duration::from_secs(86_400), heal: true };
        let apps = BTreeMap::from([(web(), App::default())]);
        Self {
            device: Device {
                mode: Mode::Apply,
                process: crate::decide::model::Process::Command,
                free,
                keep: 0,
                care,
                seed: 0,
                hold: None,
                apps,
            },
            desired,
            offers: BTreeMap::from([(web(), offer)]),
            unanswered: BTreeMap::new(),
            expired: false,
            trusted: true,
            labels: BTreeMap::new(),
            platform: "linux-armv7".parse().unwrap(),
        }
    }

    fn app(&mut self) -> &mut App {
        self.device.apps.get_mut(&web()).unwrap()
    }

    fn choice(&mut self) -> &mut Choice {
        &mut self.desired.apps.get_mut(&web()).unwrap()[0]
    }

    fn me(&self) -> Me<'_> {
        Me { platform: &self.platform, labels: &self.labels }
    }

    fn now(&self) -> Now {
        Now { wall: Timestamp::from_unix(9), boot: Duration::ZERO, trusted: self.trusted }
    }

    fn want(&self) -> Want {
        let signed = Signed {
            desired: &self.desired,
            expired: self.expired,
            offers: &self.offers,
            unanswered: &self.unanswered,
        };
        want(Some(signed), self.me(), &self.device, self.now()).remove(&web()).unwrap()
    }

    /// `be`, or the code of the reason to stay.
    fn says(&self) -> &'static str {
        match self.want() {
            Want::Be(_) => "be",
            Want::Stay { reason, .. } => reason.code(),
            Want::Gone { .. } => "gone",
        }
    }

    fn commit(&mut self, current: bool) {
        let committed =
            Committed { serial: 1, setup: setup(), at: Timestamp::from_unix(0), passed: BTreeMap::new() };
        self.app().committed = vec![committed];
        self.app().current = current.then(|| setup().tree);
    }

    fn refuse(&mut self, retry: u64) {
        let ground = Ground::Trial(Cause::Starts);
        self.app().refusals = vec![Refusal { setup: setup(), retry, at: Timestamp::from_unix(0), ground }];
    }
}

#[test]
fn what_both_roles_name_is_wanted_with_its_bundle() {
    let case = Case::new();
    let Want::Be(goal) = case.want() else { panic!("{:?}", case.want()) };
    assert_eq!(
        (goal.setup, goal.files.map(|files| files.bundle)),
        (setup(), Some(case.offers[&web()].bundle.clone()))
    );
    let device = &case.device;
    assert_eq!(
        entering(&case.desired, case.me(), device, case.now())[&web()].platform.as_str(),
        "linux-armv6"
    );
}

#[test]
fn without_a_desired_state_and_without_a_matching_choice_nothing_is_wanted() {
    let mut case = Case::new();
    let now = Now { wall: Timestamp::from_unix(9), boot: Duration::ZERO, trusted: true };
    let stays = |want: &Want| matches!(want, Want::Stay { reason: Reason::NoManifest, .. });
    assert!(stays(&want(None, case.me(), &case.device, now)[&web()]));
    case.choice().selector.insert("site".parse().unwrap(), "north".into());
    assert_eq!(case.says(), "not-wanted");
    case.labels.insert("site".parse().unwrap(), "north".into());
    assert_eq!(case.says(), "be");
}

#[test]
fn an_unknown_word_a_foreign_platform_and_the_floor_leave_the_app_alone() {
    let mut case = Case::new();
    case.choice().needs.insert("wings".into());
    assert_eq!(case.says(), "agent-too-old");
    case.choice().needs.clear();
    case.platform = "linux-arm64".parse().unwrap();
    assert_eq!(case.says(), "platform");
    case.platform = "linux-armv7".parse().unwrap();
    case.choice().floor = 6;
    assert_eq!(case.says(), "below-floor");
    case.choice().floor = 5;
    assert_eq!(case.says(), "be");
}

#[test]
fn an_index_that_one_role_does_not_name_is_not_entered() {
    let changes: [fn(&mut Offer); 3] = [
        |offer| offer.tree = Digest::of(b"other"),
        |offer| offer.index.length += 1,
        |offer| offer.index.sha256 = Digest::of(b"other"),
    ];
    for change in changes {
        let mut case = Case::new();
        change(case.offers.get_mut(&web()).unwrap());
        assert_eq!(case.says(), "disagreed");
    }
    let mut case = Case::new();
    case.offers.clear();
    assert_eq!(case.says(), "disagreed");
    case.unanswered.insert(web(), "no route".into());
    assert_eq!(case.says(), "fetch");
}

#[test]
fn expired_metadata_forbids_what_is_new_and_nothing_that_was_committed_here() {
    let mut case = Case::new();
    case.expired = true;
    assert_eq!(case.says(), "expired");
    case.trusted = false;
    assert_eq!(case.says(), "clock");
    for current in [true, false] {
        case.commit(current);
        assert_eq!(case.says(), "be");
        case.offers.clear();
        assert_eq!(case.says(), "be", "and it needs nobody's word");
        let Want::Be(goal) = case.want() else { unreachable!() };
        assert_eq!(goal.files, None);
    }
}

#[test]
fn the_floor_holds_for_what_was_left_and_not_for_what_runs() {
    let mut case = Case::new();
    case.choice().floor = 6;
    case.commit(false);
    assert_eq!(case.says(), "below-floor");
    case.offers.clear();
    assert_eq!(case.says(), "disagreed", "nobody says that it is above the floor");
    case.commit(true);
    assert_eq!(case.says(), "be");
}

#[test]
fn a_refusal_ends_with_another_setup_or_a_higher_retry_counter() {
    let mut case = Case::new();
    case.choice().retry = 2;
    case.refuse(2);
    assert_eq!(case.says(), "refused");
    assert_eq!(case.want().retry(), 2);
    assert!(entering(&case.desired, case.me(), &case.device, case.now()).is_empty());
    case.refuse(3);
    assert_eq!(case.says(), "refused");
    case.refuse(1);
    assert_eq!(case.says(), "be");
    case.refuse(2);
    case.choice().tuning.deadline = Some(9);
    assert_eq!(case.says(), "be");
}

#[test]
fn the_roles_are_asked_only_about_what_the_app_is_not_and_does_not_try() {
    let asked = |case: &Case| !entering(&case.desired, case.me(), &case.device, case.now()).is_empty();
    let mut case = Case::new();
    assert!(asked(&case));
    case.commit(false);
    assert!(asked(&case), "it may be brought back, and then its bundle is needed");
    case.commit(true);
    assert!(!asked(&case));
    case.choice().tuning.deadline = Some(9);
    assert!(asked(&case));
    let to = Setup { tuning: case.choice().tuning, ..setup() };
    let phase = Phase::Opened;
    case.app().trial = Some(Trial { serial: 2, from: None, to, phase, starts: 0, retry: 0, earlier: None });
    assert!(!asked(&case));
}

#[test]
fn an_app_that_only_the_device_has_is_spoken_of() {
    let mut case = Case::new();
    case.desired.apps.clear();
    assert_eq!(case.says(), "not-wanted");
}

fn until(wall: i64) -> Until {
    Until { wall: Timestamp::from_unix(wall), boot: None }
}

#[test]
fn a_hold_of_the_app_or_of_everything_comes_before_all_else_until_it_is_over() {
    let mut case = Case::new();
    let hold = |wall| Some(Hold { owner: "anna".into(), reason: "fair".into(), until: until(wall) });
    case.app().hold = hold(10);
    assert_eq!(case.says(), "hold");
    assert!(
        entering(&case.desired, case.me(), &case.device, case.now()).is_empty(),
        "nobody is asked for it"
    );
    case.app().hold = hold(9);
    assert_eq!(case.says(), "be");
    case.device.hold = hold(10);
    assert_eq!(case.says(), "hold");
    case.device.hold = hold(9);
    assert_eq!(case.says(), "be");
    case.app().hold = hold(10);
    case.choice().retry = 4;
    assert_eq!(case.want().retry(), 4, "a way back under a hold remembers the signed counter");
}

#[test]
fn a_pin_keeps_what_is_there_brings_back_what_passed_and_follows_the_environment_where_both_agree() {
    let mut case = Case::new();
    let other = |name: &str| Setup { tree: Digest::of(name.as_bytes()), ..setup() };
    let pin = |setup| Some(Pin { setup, owner: "anna".into(), reason: "fair".into(), until: until(10) });
    case.app().pin = pin(other("old"));
    assert_eq!(case.says(), "pin", "what was never here cannot be had");
    assert!(entering(&case.desired, case.me(), &case.device, case.now()).is_empty());
    case.commit(true);
    let newest = case.app().committed[0].clone();
    case.app().committed.push(Committed { setup: other("old"), ..newest });
    assert_eq!(case.says(), "pin", "its files are gone");
    case.app().sealed = vec![other("old").tree];
    let Want::Be(goal) = case.want() else { panic!("{:?}", case.want()) };
    assert_eq!((goal.setup, goal.files), (other("old"), None));
    case.app().current = Some(other("old").tree);
    assert_eq!(case.says(), "pin");
    case.app().pin = pin(setup());
    assert_eq!(case.says(), "be");
    case.refuse(0);
    assert_eq!(case.says(), "refused", "a pin forces nothing");
    let pinned = Pin { until: until(9), ..pin(other("old")).unwrap() };
    case.app().refusals.clear();
    case.app().pin = Some(pinned);
    assert_eq!(case.says(), "be", "its time is over");
}

#[test]
fn what_is_here_and_named_no_more_goes_unless_the_desired_state_cannot_be_believed_or_a_person_said_otherwise()
 {
    let mut case = Case::new();
    case.desired.apps.clear();
    assert_eq!(case.says(), "not-wanted", "there is nothing to take away");
    case.commit(true);
    assert_eq!(case.want(), Want::Gone { prune: false });
    case.app().committed[0].serial = 0;
    assert_eq!(case.says(), "not-wanted", "it was adopted, and never named");
    case.app().committed[0].serial = 1;
    case.desired.prune = true;
    assert_eq!(case.want(), Want::Gone { prune: true });
    case.expired = true;
    assert_eq!(case.says(), "expired");
    case.trusted = false;
    assert_eq!(case.says(), "clock");
    case.expired = false;
    case.app().hold = Some(Hold { owner: "anna".into(), reason: "fair".into(), until: until(10) });
    assert_eq!(case.says(), "hold");
    case.app().hold = None;
    case.app().pin =
        Some(Pin { setup: setup(), owner: "anna".into(), reason: "fair".into(), until: until(10) });
    assert_eq!(case.says(), "pin");
    case.app().pin = None;
    let nobody = want(None, case.me(), &case.device, case.now());
    assert!(matches!(nobody[&web()], Want::Stay { reason: Reason::NoManifest, .. }));
}
