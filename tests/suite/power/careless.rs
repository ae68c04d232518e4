//! The suite itself: an agent that only says that it synced must be seen to break.

use std::collections::BTreeMap;

use tidelock_tests::power::{Boots, Dice, System};
use tidelock_tests::strace::only_said;

use super::image::Image;
use super::outcome;
use super::scenario::{Home, Neighbour, Played, Scenario, Stage};
use super::systems;

/// Images of one recording at most; most are broken before a tenth of them.
const ENOUGH: u64 = 60;

/// What is broken of an update whose agent skips some of these calls, by file system.
fn broken(call: &str, which: &str) -> BTreeMap<String, String> {
    let stage = Stage::new(Scenario::Update, Home::Root);
    let log = stage.scratch.join("strace");
    let careless = |device: &tidelock_tests::world::Device| {
        device.run_altered(&["update"], |command| only_said(&command, call, which, &log))
    };
    let played = std::thread::scope(|scope| {
        scope.spawn(|| Played::record_with(&stage, &[Neighbour::None], careless)).join().unwrap()
    });
    let found: BTreeMap<String, String> = std::thread::scope(|scope| {
        let judge = |played| scope.spawn(move || (played, first_broken(played)));
        let judging: Vec<_> = played.iter().map(judge).collect();
        let judged = judging.into_iter().map(|thread| thread.join().unwrap());
        judged.filter_map(|(played, broken)| Some((format!("{:?}", played.system), broken?))).collect()
    });
    println!("{call}{which}: {found:#?}");
    found
}

fn first_broken(played: &Played<'_>) -> Option<String> {
    let (boots, mut dice) = (Boots::begin(), Dice::new(7));
    (0..ENOUGH).find_map(|number| {
        let cut = played.recording.any_cut(&mut dice);
        let image =
            Image { played, disk: played.recording.image(cut), ended: played.recording.had_ended(cut) };
        outcome(image, &boots).err().map(|words| format!("image {number}: {words}"))
    })
}

#[test]
fn an_agent_that_does_not_sync_is_seen_to_break() {
    assert_eq!(broken("fsync", "").len(), systems().len());
}

#[test]
fn an_agent_that_seals_a_tree_without_syncing_it_is_seen_to_break() {
    assert_eq!(broken("syncfs", "").len(), systems().len());
}

#[test]
fn an_agent_that_skips_every_other_sync_is_seen_to_break() {
    for which in [":when=1+2", ":when=2+2"] {
        // Plain ext4 writes out early what is renamed over something, and f2fs everything at the fsync of a directory:
        // there it may go well.
        let found = broken("fsync", which);
        for system in systems().into_iter().filter(|system| [System::Ext4Bare, System::Xfs].contains(system))
        {
            assert!(found.contains_key(&format!("{system:?}")), "{which} on {system:?}: {found:?}");
        }
    }
}
