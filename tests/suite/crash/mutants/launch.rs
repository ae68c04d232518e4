//! Seeded bugs of the agent as an app of its own, and of its launcher.
//!
//! Never here: what they are laid over.

use tidelock::decide;
use tidelock::decide::model::{App, Run, Step};
use tidelock_tests::miniature::{Agent, Behaviour, Freedom, NOW, World};

use super::super::invariants as must;
use super::{Bug, each, looks};

pub(super) fn at_launch() -> Vec<Bug> {
    let launches = |at_launch| Agent { at_launch, ..Agent::REAL };
    let world = |other| World::update(other, false, Freedom::POWER).of_itself();
    vec![
        (
            "the launcher counts nothing",
            launches(|device, now| {
                decide::at_launch(device, now).filter(|step| !matches!(step, Step::Count { .. }))
            }),
            world(Behaviour::Good),
            must::COUNTED,
        ),
        (
            "the launcher never goes back",
            launches(|device, now| {
                decide::at_launch(device, now).filter(|step| !matches!(step, Step::Back { .. }))
            }),
            world(Behaviour::Hangs),
            must::COUNTED,
        ),
        (
            "the agent itself is committed without a poll",
            looks(|device| {
                each(device, |app| {
                    app.recipes.values_mut().flatten().for_each(|recipe| recipe.checks.clear());
                })
            }),
            world(Behaviour::Fails),
            must::PASSED,
        ),
        (
            "starts in vain are not counted",
            Agent {
                to_launch: |app, now| decide::to_launch(&App { begun: None, ..app.clone() }, now),
                ..Agent::REAL
            },
            World::update(Behaviour::Good, false, Freedom { ends: 1, cuts: false, ..Freedom::POWER })
                .of_itself(),
            must::COMES_TO_REST,
        ),
        (
            "the daemon takes itself for what the link names",
            looks(|device| {
                each(device, |app| {
                    if let Some(tree) = app.current {
                        app.run = Run::Started { tree, at: NOW.boot };
                    }
                })
            }),
            world(Behaviour::StartFails),
            must::PASSED,
        ),
    ]
}
