//! Histories checked against the books of the clients: what they sent, what they were told and what that promises.
//!
//! Clients read late, disks write late, and the broker dies in the middle of anything.

mod actions;
mod channel;
mod client;
mod ledger;
mod topology;
mod world;

use world::World;

const STEPS: usize = 1500;

/// One history.
pub fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.finish();
}
