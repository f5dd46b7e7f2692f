//! A file of definitions, on a broker without a disk: refused, or exported again as the same broker.

use leveret::definitions::{Conflict, Definitions, Origin, export, import};

use serde_json::Value;

use crate::memory::within;
use crate::node::Node;

const ORIGIN: Origin<'_> = Origin {
    product: "Fuzz",
    version: "1",
    cluster_name: "fuzz",
};

pub fn run(input: &[u8]) {
    // A pattern compiles to 10 MB at most, and every entry may have three.
    within((64 << 20) + 1024 * input.len(), || {
        for vhost in [None, Some("/")] {
            if let Ok(definitions) = Definitions::read(input, vhost) {
                taken(&definitions);
            }
        }
    });
}

fn taken(definitions: &Definitions) {
    for conflict in [Conflict::IsRefused, Conflict::IsTold] {
        let mut node = Node::new(8, 1 << 20);
        if import(definitions, &node.broker, conflict).is_err() {
            continue;
        }
        let first = export(&node.broker, ORIGIN);
        import(definitions, &node.broker, Conflict::IsTold).expect("what was imported can be again");
        assert_eq!(export(&node.broker, ORIGIN).json, first.json, "twice is once");
        // An export reads as definitions, and describes a broker that exports the same.
        let again = Definitions::read(first.json.as_bytes(), None).expect("an export can be read");
        let other = Node::new(8, 1 << 20);
        import(&again, &other.broker, Conflict::IsRefused).expect("an export can be imported");
        if first.notes.is_empty() {
            assert_eq!(export(&other.broker, ORIGIN).json, first.json);
        }
        node.durable.commit_all();
        let wall_clock = node.millis();
        node.crash(wall_clock);
        let after = export(&node.broker, ORIGIN).json;
        assert_eq!(durable(&after), durable(&first.json), "all of it was stored");
    }
}

/// The durable topology of an export. Accounts are left out: those of the configuration win at a start.
fn durable(json: &str) -> Value {
    let mut file: Value = serde_json::from_str(json).expect("it is JSON");
    for list in ["users", "vhosts", "permissions"] {
        file[list].take();
    }
    let mut gone = Vec::new();
    for list in ["queues", "exchanges"] {
        let entries = file[list].as_array_mut().expect("it is a list");
        let (kept, lost): (Vec<_>, Vec<_>) = entries.drain(..).partition(|entry| entry["durable"] == true);
        *entries = kept;
        let names = |entry: &Value| (entry["vhost"].clone(), entry["name"].clone());
        gone.extend(lost.iter().map(names));
    }
    let bindings = file["bindings"].as_array_mut().expect("it is a list");
    bindings.retain(|binding| {
        let mut ends = ["source", "destination"].iter();
        !ends.any(|end| gone.contains(&(binding["vhost"].clone(), binding[*end].clone())))
    });
    file
}
