//! What a vhost holds, for those who list and export it.

use crate::store::BindingRow;

use super::{ExchangeDefinition, Vhost, binding_row};

impl Vhost {
    /// All exchanges, in no order.
    pub fn exchanges(&self) -> Vec<ExchangeDefinition> {
        let topology = self.topology.read();
        let exchanges = topology.exchanges.values();
        exchanges.map(|exchange| exchange.definition.clone()).collect()
    }

    /// All bindings but those of the default exchange, in no order.
    pub fn bindings(&self) -> Vec<BindingRow> {
        let topology = self.topology.read();
        let exchanges = topology.exchanges.values();
        exchanges
            .flat_map(|exchange| {
                let source = &exchange.definition.name;
                exchange.bindings.iter().map(|(destination, key, arguments)| {
                    binding_row(&self.name, source, key, arguments.clone(), destination)
                })
            })
            .collect()
    }
}
