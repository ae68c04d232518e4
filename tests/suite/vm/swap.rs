//! The plug is pulled while link and units change together.

use tidelock_tests::power::{Cut, Dice, Loss};

use super::stage::{GOOD, Stage};

/// How often.
const CUTS: u64 = 5;

#[test]
fn a_cut_while_link_and_units_are_swapped_leaves_one_release_whole_and_the_next_update_arrives() {
    let mut stage = Stage::new("swap");
    stage.arrives(1);
    stage.machine.run("systemctl enable tidelock-guard.service").well();
    stage.publish(2, GOOD);
    stage.tidelock("check");
    let start = stage.machine.disk();
    stage.arrives(2);
    let recording = stage.machine.recording(start);
    // From the link to the commit is the second half of what an update writes.
    let length = u64::try_from(recording.length()).unwrap();
    let mut dice = Dice::new(u64::from(std::process::id()));
    for cut in 0..CUTS {
        let after = length / 2 + length * cut / (2 * CUTS) + dice.throw(length / (2 * CUTS) + 1);
        let cut = Cut { after: usize::try_from(after).unwrap(), loss: Loss::Some(dice.throw(u64::MAX)) };
        println!("{} of {}", cut.after, recording.told());
        stage.machine.replace_disk(recording.image(cut));
        stage.machine.power_on(None);
        assert!(stage.machine.boots(std::time::Duration::from_secs(400)), "{cut:?}");
        let version = "cat /var/lib/tidelock/apps/web/current/tree/version";
        let version: u32 = stage.machine.run(version).well().stdout.trim().parse().unwrap();
        stage.comes_to(version);
        stage.tidelock("verify").well();
        stage.arrives(2);
        stage.is_well();
    }
}
