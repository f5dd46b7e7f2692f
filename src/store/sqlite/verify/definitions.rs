//! Definitions: they parse, and what they name is there. A start refuses what does not.

use std::sync::Arc;

use rusqlite::Connection;
use rustc_hash::FxHashSet;

use super::Findings;
use crate::store::sqlite::{access, database, definitions, remembered};
use crate::store::{DestinationKind, StoreError};

pub(super) fn look(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let exchanges = definitions::exchanges(connection)?;
    let queues = definitions::queues(connection)?;
    let bindings = definitions::bindings(connection)?;
    let levels = definitions::levels(connection)?;
    definitions::policies(connection)?;
    access::read(connection)?;
    remembered::keys(connection)?;
    remembered::history(connection)?;
    findings.exchanges = exchanges.len() as u64;
    findings.queues = queues.len() as u64;
    findings.bindings = bindings.len() as u64;

    let known_exchanges: FxHashSet<_> = exchanges.iter().map(|row| (&row.vhost, &row.name)).collect();
    let known_queues: FxHashSet<_> = queues.iter().map(|row| (&row.vhost, &row.name)).collect();
    if known_queues.len() < queues.len() {
        findings.problem("two queues have one name".to_owned());
    }
    for binding in &bindings {
        let source = (&binding.vhost, &binding.source);
        let destination = (&binding.vhost, &binding.destination);
        // Those that every vhost has are not stored.
        let is_exchange =
            |name: &(_, &Arc<str>)| name.1.starts_with("amq.") || known_exchanges.contains(name);
        let is_there = match binding.destination_kind {
            DestinationKind::Queue => known_queues.contains(&destination),
            DestinationKind::Exchange => is_exchange(&destination),
        };
        if !is_exchange(&source) || !is_there {
            findings.problem(format!(
                "a binding from {:?} to {:?} in vhost {:?} has lost an end",
                binding.source, binding.destination, binding.vhost
            ));
        }
    }
    for level in &levels {
        if queues.binary_search_by_key(&level.queue, |row| row.id).is_err() {
            findings.problem(format!("level {} is of a queue that is not there", level.id.0));
        }
    }
    numbers(connection, findings)
}

/// No number is given out twice.
fn numbers(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let failed = database("read the queues' numbers");
    let number = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(&failed)
    };
    let next = number("SELECT value FROM meta WHERE name = 'next_queue'")?;
    let numbers = "(SELECT id FROM queue UNION ALL SELECT id FROM level UNION ALL SELECT id FROM delays)";
    let used = number(&format!("SELECT coalesce(max(id), -1) FROM {numbers}"))?;
    if used >= next {
        findings.problem(format!(
            "the next queue would be number {next}, and there is one of number {used}"
        ));
    }
    if number(&format!("SELECT count(*) - count(DISTINCT id) FROM {numbers}"))? > 0 {
        findings.problem("two queues have one number".to_owned());
    }
    Ok(())
}
