//! Histories in which each step comes to rest and all of the broker is compared with a model.
//!
//! The model is exact where the broker has no choice. Where it has, the model follows what it sees and checks that it
//! is allowed: which of several consumers of one priority gets a message. Messages that reach one queue by different
//! ways in one step have no order; if such an order would decide what a limit lets in, the history ends there.

mod burial;
mod consumers;
pub mod content;
mod crash;
mod detours;
mod exchanges;
mod gathered;
pub mod layout;
mod limits;
pub mod link;
pub mod message;
mod method_rows;
mod methods;
mod model;
mod node_limits;
mod owners;
mod policies;
mod properties;
mod publishing;
mod queue;
mod remembering;
mod replies;
mod rights;
mod routing;
mod seen;
mod stage;
mod steps;
mod time;
mod transaction;
mod volatile;

use rand::RngExt;

use super::coverage::Coverage;
use stage::{Age, PLAIN, ROUNDS_MAX, Stage, TX};

/// Histories that are run by default.
pub const SEEDS: u64 = 2000;

/// Seeds that failed, or would without what was mended since: a queue was too long after a crash (5); a message rested
/// for hours because the clock was set back (251); a dead letter that its queue keeps came back without its flag (284);
/// an auto-delete queue stayed when its last consumer was late (540); a limit was lifted and a lower priority came first
/// (1025163); the model thought that what had expired on disk
/// only makes room for the next message of the same batch (3002), and that what a refused commit gives back goes before
/// what others were given meanwhile (1000298), and that nothing is missing while one copy of a message leaves a queue and
/// another one comes (1001482); it took one copy for another (1002080, 1026699, 1013039), knew what was oldest where
/// nobody could (1012155), also among letters that went on (1016035), and whether a late consumer was given more
/// (1010195), and that what waits for a full queue waits for an exchange (1019008), and whether what expired in a full
/// queue was taken by another one before something came (5003704), and that a crash in the middle of a step had left the
/// counts of its end (5008351, 5016778), and that a letter which its queue keeps rests again after a crash (5020344).
pub const REGRESSIONS: &[u64] = &[
    5, 251, 284, 540, 3002, 1_000_298, 1_001_482, 1_002_080, 1_010_195, 1_012_155, 1_013_039, 1_016_035,
    1_019_008, 1_025_163, 1_026_699, 5_003_704, 5_008_351, 5_016_778, 5_020_344, 7_001_249, 8_005_564,
    9_007_774, 10_002_080, 11_008_759,
];

/// Of these, those that are drawn as when they were found: before hashes, chance, history, replies, limits, and
/// deduplication on queues.
const NARROW: &[u64] = &[5, 251, 284, 540];

/// And those from before there were calm histories.
const RESTLESS: &[u64] = &[3002];

/// And those from before queues had owners. The others are from before exchanges looked at properties.
const RECENT: &[u64] = &[7_001_249, 8_005_564, 9_007_774];

/// And those that are drawn as all others are.
const PRESENT: &[u64] = &[10_002_080, 11_008_759];

const STEPS: u64 = 120;

/// One history.
pub fn run(seed: u64, is_told: bool, coverage: &mut Coverage) {
    let age = if NARROW.contains(&seed) {
        Age::Narrow
    } else if RESTLESS.contains(&seed) {
        Age::Restless
    } else if RECENT.contains(&seed) {
        Age::Common
    } else if REGRESSIONS.contains(&seed) && !PRESENT.contains(&seed) {
        Age::Plain
    } else {
        Age::Now
    };
    let mut stage = Stage::new(seed, is_told, age);
    while stage.model.step < STEPS && !stage.model.is_ambiguous {
        stage.step();
    }
    if stage.model.is_ambiguous {
        stage.model.coverage.note("(a history ended early)");
    } else {
        stage.finish();
    }
    coverage.add(&stage.model.coverage);
}

impl Stage {
    fn step(&mut self) {
        self.model.step += 1;
        if !self.is_narrow && self.rng.random_bool(0.06) {
            match self.rng.random_range(0..10) {
                0..3 => self.listen(),
                3..8 => self.reply(),
                _ if self.age >= Age::Common && self.rng.random_bool(0.4) => self.reach_node_limit(),
                _ => self.reach_limit(),
            }
            return self.compare();
        }
        if self.age >= Age::Common && self.rng.random_bool(0.03) {
            self.call_any();
            return self.compare();
        }
        if self.age == Age::Now && self.rng.random_bool(0.04) {
            match self.rng.random_range(0..10) {
                0..4 => self.own(),
                4..7 => self.lack_a_right(),
                _ => {
                    let which = self.rng.random_range(0..self.links.len());
                    self.end_transaction(which, (self.links[which].number, TX));
                }
            }
            return self.compare();
        }
        match self.rng.random_range(0..1000) {
            0..760 => self.act(),
            760..775 => self.rebind(),
            775..790 => self.change_policies(),
            790..815 => self.declare_or_delete(),
            815..960 => {
                let millis = match self.rng.random_range(0..20) {
                    0..12 => self.rng.random_range(1..10),
                    12..19 => self.rng.random_range(1..60),
                    _ => 10_000,
                };
                self.pass(millis);
            }
            960..985 => {
                let which = self.rng.random_range(0..self.links.len());
                self.abort(which);
            }
            _ => self.crash(),
        }
        self.compare();
    }

    /// Time goes on. The broker is called whenever it asked for it, or only in the end.
    pub fn pass(&mut self, millis: u64) {
        self.tell(&("time", millis));
        let end = self.node.millis() + millis;
        let is_punctual = millis < 100 && self.rng.random_bool(0.8);
        while is_punctual
            && let Some(next) = self.node.broker.timers.next()
            && next.millis() < end
        {
            self.node
                .advance(next.millis().saturating_sub(self.node.millis()));
            self.tick();
            self.compare();
            self.model.step += 1;
        }
        self.node.advance(end - self.node.millis());
        self.tick();
    }

    pub fn tick(&mut self) {
        let now = self.node.millis();
        for round in 0.. {
            assert!(
                round < ROUNDS_MAX,
                "the broker wants to be called again and again"
            );
            self.node.fire();
            self.pump();
            if self
                .node
                .broker
                .timers
                .next()
                .is_none_or(|next| next.millis() > now)
            {
                break;
            }
        }
        self.model.now = now;
        self.model.tick();
    }

    /// A binding comes or goes.
    fn rebind(&mut self) {
        let bindings = &mut self.model.topology.bindings;
        if !bindings.is_empty() && self.rng.random_bool(0.5) {
            let index = self.rng.random_range(0..bindings.len());
            let binding = if self.is_narrow {
                bindings.swap_remove(index)
            } else {
                // Which of two weights came first counts.
                bindings.remove(index)
            };
            self.tell(&("unbind", &binding));
            self.unbind(&binding);
            return;
        }
        let binding = self.layout.binding(&mut self.rng);
        if !bindings.contains(&binding) {
            bindings.push(binding.clone());
            self.bind(&binding);
        }
    }

    /// Bindings to queues that did not survive are made again.
    pub fn bind_again(&mut self) {
        for binding in self.layout.bindings.clone() {
            if !self.model.topology.bindings.contains(&binding) {
                self.model.topology.bindings.push(binding.clone());
                self.bind(&binding);
            }
        }
    }

    /// Takes everything out and finds nothing left behind.
    fn finish(&mut self) {
        for which in (0..self.links.len()).rev() {
            self.model.step += 1;
            self.abort(which);
        }
        for round in 0..4 {
            let names: Vec<String> = self.model.queues.keys().cloned().collect();
            for name in names {
                let spec = &self.model.queues[&name].spec;
                let place = (self.links[0].number, PLAIN);
                if spec.is_quorum && spec.is_single_active {
                    continue;
                }
                self.model.step += 1;
                while !self.model.is_ambiguous && self.get_from(0, place, &name, true) {
                    self.model.step += 1;
                }
            }
            if self.model.is_ambiguous {
                return;
            }
            self.compare();
            self.model.step += 1;
            self.pass(if round == 0 { 100 } else { 10_000 });
        }
    }
}
