//! Histories in which messages move: dead letters, expiry, limits, priorities, retries, delays and shares, while
//! clients read slowly, the disk writes late, and the broker dies anywhere.
//!
//! What moves where depends on moments, so there is no model. Every message has one way at a time, and so the check
//! is conservation: what was confirmed is in one place, once, until it is acked; what was acked or refused is nowhere.

mod topology;
mod world;

use crate::coverage::Coverage;
use world::World;

const STEPS: usize = 1200;

/// What has to happen in a run of the default length.
pub const EVENTS: &[&str] = &[
    "a client was gone",
    "a crash kept what was in doubt",
    "a crash lost what was in doubt",
    "a delivery had moved",
    "a delivery was late for its reader",
    "a publish was refused",
    "the broker died with messages on their way",
];

/// One history.
pub fn run(seed: u64, _: bool, coverage: &mut Coverage) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.finish();
    coverage.add(&world.coverage);
}
