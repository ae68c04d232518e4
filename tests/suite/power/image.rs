//! What must hold on a disk after a power cut, at its next boot and until the goal is reached.

use std::path::Path;

use tidelock::io::fetch;
use tidelock_protocol::digest::Digest;
use tidelock_tests::power::{Boots, Disk, Mounted, Recording};
use tidelock_tests::program::run;
use tidelock_tests::world::Device;

use super::scenario::{DAMAGE, Played, Scenario};
use crate::kill::sealed_is_whole;

/// A disk as a cut left it.
pub(super) struct Image<'a> {
    pub(super) played: &'a Played<'a>,
    pub(super) disk: Disk,
    /// Whether the command had ended, so that its work must be there.
    pub(super) ended: bool,
}

impl Image<'_> {
    /// Boots the device and has it reach its goal; what the disk was asked to do meanwhile.
    ///
    /// # Panics
    /// When anything is not as it must be.
    pub(super) fn recovers(&self, boots: &Boots) -> Recording {
        let (stage, scenario) = (self.played.stage, self.played.stage.scenario);
        let start = self.disk.clone();
        let mounted =
            Mounted::new(self.disk.clone(), self.played.system).unwrap_or_else(|said| panic!("{said}"));
        boots.boot(mounted.path());
        let device = stage.device(mounted.path());
        self.live(&device, "after the cut");
        device.run(&["guard"]).well();
        self.live(&device, "after the guard");
        reach(self.played, &device);
        let recovery = mounted.recorded_since(start);
        at_rest(self.played, &device);
        let again = device.update();
        assert_eq!(again.code, scenario.rest().1, "one more update: {}", again.said());
        at_rest(self.played, &device);
        recovery
    }

    /// What is live is a release of this scenario, whole.
    fn live(&self, device: &Device, when: &str) {
        if self.played.stage.scenario == Scenario::Heal {
            self.no_worse(device, when);
        } else {
            sealed_is_whole(device, &when);
        }
        let scenario = self.played.stage.scenario;
        let page = page(device, scenario);
        assert!(scenario.pages().contains(&page.as_str()), "{when} {page:?} is live");
        assert!(
            !self.ended || page == scenario.goal(),
            "the command had ended well, and {when} {page:?} is live"
        );
    }

    /// Nothing differs from what was signed that did not before it was to be healed.
    fn no_worse(&self, device: &Device, when: &str) {
        let tree = device.live("web").unwrap();
        let place = device.app("web").join("releases").join(&tree);
        for found in fetch::verify(&place, &tree.parse::<Digest>().unwrap()).unwrap() {
            assert!(!self.ended, "the command had ended well, and {when} {found}");
            assert!(DAMAGE.map(Path::new).contains(&found.path.as_path()), "{when} {found}");
        }
    }
}

/// What a boot and a person do until the goal is reached.
fn reach(played: &Played<'_>, device: &Device) {
    let scenario = played.stage.scenario;
    let asked = device.root().join("var/lib/tidelock/journal/web.rollback.json").exists();
    let ran = match scenario {
        Scenario::Rollback => device.update(),
        _ => played.stage.perform(device),
    };
    if scenario == Scenario::Rollback && page(device, scenario) == "two" {
        assert_eq!(ran.code, 0, "{}", ran.said());
        assert!(!asked, "the wish to go back was written down and forgotten");
        played.stage.perform(device).well();
    } else {
        assert_eq!(ran.code, scenario.rest().1, "{}", ran.said());
    }
}

fn at_rest(played: &Played<'_>, device: &Device) {
    let scenario = played.stage.scenario;
    assert_eq!(page(device, scenario), scenario.goal());
    assert_eq!(device.state(scenario.app()), scenario.rest().0);
    assert_eq!(device.status()["trust_lost"], false);
    device.run(&["verify"]).well();
    // Also of what is not live: on a machine it shares what was mended.
    sealed_is_whole(device, &"at rest");
    let root = device.root().to_str().unwrap();
    let odd = [
        "-name",
        "*.part",
        "-o",
        "-name",
        "*.gone",
        "-o",
        "-name",
        "*.unreadable",
        "-o",
        "-name",
        "*.heal",
        "-o",
        "-name",
        "*.new",
    ];
    assert_eq!(run("find", &[&[root][..], &odd].concat()), "", "left behind");
    let refusals = format!("var/lib/tidelock/journal/{}.refusals.json", scenario.app());
    let refused = device.root().join(refusals).exists();
    let deserved = scenario.rest().1 == 3;
    assert_eq!(refused, deserved, "whether a release is refused");
}

fn page(device: &Device, scenario: Scenario) -> String {
    String::from_utf8(device.live_file(scenario.app(), "page").unwrap_or_default()).unwrap()
}
