//! Honest power cuts on the host's own file systems: a disk that forgets what was not flushed, below the real agent.
//!
//! What the disk is asked to do while the agent works is recorded; then images are made of it, each cut after another
//! operation, with other blocks lost of what no flush followed. Each is mounted and booted, and the device must reach its
//! goal. While it does, the power may go again. `TIDELOCK_POWER` is how many images (60), `TIDELOCK_POWER_SEED` which,
//! `TIDELOCK_POWER_ON=f2fs` of which file system instead of those that every kernel has.
//! Devices without systemd and machines that systemd runs, whose releases share inodes; of systemd itself nothing is there.

mod careless;
mod f2fs;
mod image;
mod rig;
mod scenario;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidelock_tests::power::{Boots, Dice, Recording, System};

use self::image::Image;
use self::scenario::{Kind, Played, Scenario, Stage};

/// Most of an image's time is waiting for the kernel to mount and unmount.
const AT_ONCE: usize = 6;
/// One of so many recoveries is cut again.
const AGAIN: u64 = 3;
/// From one image to the next it goes by so many recordings, so that a few images are of every scenario. No divisor of their
/// number.
const STRIDE: usize = 7;

/// The file systems that are cut.
fn systems() -> Vec<System> {
    match std::env::var("TIDELOCK_POWER_ON").as_deref() {
        Ok("f2fs") => vec![System::F2fs],
        Ok(other) => panic!("TIDELOCK_POWER_ON={other}: not f2fs"),
        Err(_) => System::EVERYWHERE.to_vec(),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// How often each kind of image was seen, and what was wrong with those that were broken.
#[derive(Debug, Default)]
struct Seen {
    images: BTreeMap<Kind, usize>,
    again: usize,
    fingerprints: BTreeSet<(Kind, Vec<usize>)>,
    broken: Vec<String>,
}

#[test]
fn whatever_a_power_cut_takes_the_device_reaches_its_goal() {
    let wanted = usize::try_from(number("TIDELOCK_POWER").unwrap_or(60)).unwrap();
    let seed = number("TIDELOCK_POWER_SEED")
        .unwrap_or_else(|| std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400);
    println!("power: {wanted} images of seed {seed}");
    let stages = Stage::all();
    let played: Vec<Played<'_>> = std::thread::scope(|scope| {
        let playing: Vec<_> = stages.iter().map(|stage| scope.spawn(|| Played::record(stage))).collect();
        playing.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_ne!(played.len() % STRIDE, 0);
    let (seen, next) = (Mutex::new(Seen::default()), AtomicUsize::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let boots = Boots::begin();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let total = seen.lock().unwrap().total();
                    if total >= wanted || place > 3 * wanted {
                        break;
                    }
                    let dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(place as u64));
                    one(&played[(place * STRIDE) % played.len()], dice, &boots, &seen);
                }
            });
        }
    });
    seen.into_inner().unwrap().judge(wanted, began.elapsed());
}

/// One image, and, for some, one more of its recovery.
fn one(played: &Played<'_>, mut dice: Dice, boots: &Boots, seen: &Mutex<Seen>) {
    let first = played.recording.any_cut(&mut dice);
    if !seen.lock().unwrap().fingerprints.insert((played.kind(), played.recording.fingerprint(first))) {
        return;
    }
    let mut told = format!("{:?}, {first:?} of {}", played.kind(), played.recording.length());
    let image =
        Image { played, disk: played.recording.image(first), ended: played.recording.had_ended(first) };
    let recovery = survives(image, boots, &told, seen);
    let (true, Some(recovery)) = (dice.throw(AGAIN) == 0, recovery) else { return };
    let second = recovery.any_cut(&mut dice);
    told += &format!(", then {second:?} of {}", recovery.length());
    let image = Image { played, disk: recovery.image(second), ended: recovery.had_ended(second) };
    survives(image, boots, &told, seen);
    seen.lock().unwrap().again += 1;
}

fn survives(image: Image<'_>, boots: &Boots, told: &str, seen: &Mutex<Seen>) -> Option<Recording> {
    let kind = image.played.kind();
    let outcome = outcome(image, boots);
    let mut seen = seen.lock().unwrap();
    *seen.images.entry(kind).or_default() += 1;
    if seen.total().is_multiple_of(500) {
        println!("power: {} images so far, {} broken", seen.total(), seen.broken.len());
        seen.tell_by_scenario();
    }
    match outcome {
        Ok(recovery) => Some(recovery),
        Err(words) => {
            seen.broken.push(format!("{told}: {words}"));
            None
        }
    }
}

/// How an image does; what is wrong with it, when it is broken.
fn outcome(image: Image<'_>, boots: &Boots) -> Result<Recording, String> {
    catch_unwind(AssertUnwindSafe(|| image.recovers(boots))).map_err(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

impl Seen {
    fn total(&self) -> usize {
        self.images.values().sum()
    }

    /// Says how many images of each scenario there were, on each kind of device; of how many scenarios.
    fn tell_by_scenario(&self) -> usize {
        let mut of_scenario = BTreeMap::<_, usize>::new();
        for (kind, count) in &self.images {
            *of_scenario.entry((kind.0, kind.1)).or_default() += count;
        }
        for (scenario, count) in &of_scenario {
            println!("power {scenario:?}: {count} images in all");
        }
        of_scenario.len()
    }

    fn judge(self, wanted: usize, took: Duration) {
        for (kind, count) in &self.images {
            println!("power {kind:?}: {count} images");
        }
        let scenarios = self.tell_by_scenario();
        let (total, again, broken) = (self.total(), self.again, self.broken.len());
        println!(
            "power: {total} images, {again} of them of a recovery, {broken} broken, in {} s",
            took.as_secs()
        );
        assert!(self.broken.is_empty(), "{broken} broken images:\n{}", self.broken.join("\n"));
        assert!(total >= wanted, "only {total} different images");
        assert_eq!(scenarios, Scenario::ALL.len() + Scenario::SHARED.len(), "of every scenario");
    }
}
