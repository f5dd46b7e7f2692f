//! The end of a vhost: everything in it goes, in memory and in the store.

use crate::store::{Hold, Sequence};

use super::Vhost;
use super::queues::DeleteConditions;

impl Vhost {
    /// Deletes all queues and exchanges with their bindings; nothing can be declared from now on. It is on disk, in
    /// one group, once the returned number is committed.
    pub fn delete(&self) -> Option<Sequence> {
        let _hold = Hold::new(&*self.stores.durable);
        self.topology.write().is_deleted = true;
        let mut last = None;
        for queue in self.queues() {
            let removed = self.remove_queue(&queue, DeleteConditions::default());
            let (_, sequence) = removed.expect("without conditions there is nothing to refuse");
            last = last.max(sequence);
        }
        let mut operations = Vec::new();
        let mut topology = self.topology.write();
        let exchanges = topology.exchanges.keys().cloned().collect();
        self.remove_exchanges(&mut topology, exchanges, &mut operations);
        self.touch();
        last.max(self.append_change(operations))
    }
}
