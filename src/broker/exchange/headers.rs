//! Headers: a binding's arguments ask for headers of the message; the routing key does not matter.
//!
//! Bindings that want all of the same names share a group, which is looked into once, by value, however many they
//! are. Bindings that want any are found by name and value. So a route costs the names that occur in the message.

use std::collections::HashMap;
use std::hash::Hash;

use smallvec::SmallVec;

use crate::amqp::field_table::{self, Value};

use super::comparable;
use super::destinations::Destinations;

/// The argument that says how the others count.
pub(super) const X_MATCH: &str = "x-match";

/// Header name, any bytes.
type Name = Box<[u8]>;

/// Comparable form of one or several values.
type Comparable = Box<[u8]>;

/// Bindings by what they ask for.
#[derive(Clone, Debug)]
pub(super) struct Headers<D> {
    /// Bindings that want all of nothing.
    unconditional: Destinations<D>,
    /// Bindings that want all, under the first of their names, then by all their names, then by the values.
    all: HashMap<Name, HashMap<Names, HashMap<Comparable, Destinations<D>>>>,
    /// Bindings that want any, under each of their names.
    any: HashMap<Name, Any<D>>,
}

/// The names that a group of bindings wants to be there, sorted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Names {
    /// With equal values.
    compared: Box<[Name]>,
    /// With whatever value (the argument is void).
    present: Box<[Name]>,
}

#[derive(Clone, Debug)]
struct Any<D> {
    present: Destinations<D>,
    values: HashMap<Comparable, Destinations<D>>,
}

/// What one binding asks for.
struct Conditions<'a> {
    any: bool,
    /// Sorted by name.
    arguments: SmallVec<[(&'a [u8], Value<'a>); 8]>,
}

impl<D> Default for Headers<D> {
    fn default() -> Self {
        Self {
            unconditional: Destinations::default(),
            all: HashMap::new(),
            any: HashMap::new(),
        }
    }
}

impl<D> Default for Any<D> {
    fn default() -> Self {
        Self {
            present: Destinations::default(),
            values: HashMap::new(),
        }
    }
}

impl<D: Clone + Eq + Hash> Headers<D> {
    /// `arguments` are raw table entries, as are the message's headers below.
    pub(super) fn add(&mut self, arguments: &[u8], destination: D) {
        let conditions = Conditions::read(arguments);
        if conditions.any {
            for (name, value) in conditions.arguments {
                let any = self.any.entry(name.into()).or_default();
                any.add(value, destination.clone());
            }
        } else if let Some((pivot, _)) = conditions.arguments.first() {
            let groups = self.all.entry((*pivot).into()).or_default();
            let group = groups.entry(conditions.names()).or_default();
            group.entry(conditions.comparable()).or_default().add(destination);
        } else {
            self.unconditional.add(destination);
        }
    }

    pub(super) fn remove(&mut self, arguments: &[u8], destination: &D) {
        let conditions = Conditions::read(arguments);
        if conditions.any {
            self.remove_any(&conditions, destination);
        } else if conditions.arguments.is_empty() {
            self.unconditional.remove(destination);
        } else {
            self.remove_all(&conditions, destination);
        }
    }

    /// Hands out what matches; more than once when several bindings do. No headers are as good as empty ones.
    pub(super) fn route(&self, headers: &[u8], found: &mut dyn FnMut(&D)) {
        self.unconditional.each(found);
        if self.all.is_empty() && self.any.is_empty() {
            return;
        }
        let headers = comparable::sorted(headers);
        let value_of = |name: &[u8]| {
            let place = headers.binary_search_by_key(&name, |(name, _)| name).ok()?;
            Some(headers[place].1)
        };
        let mut scratch = Vec::new();
        for (name, value) in &headers {
            if let Some(any) = self.any.get(*name) {
                any.present.each(found);
                scratch.clear();
                comparable::write(&mut scratch, *value);
                if let Some(destinations) = any.values.get(scratch.as_slice()) {
                    destinations.each(found);
                }
            }
            for (names, group) in self.all.get(*name).into_iter().flatten() {
                scratch.clear();
                let complete = names.present.iter().all(|name| value_of(name).is_some())
                    && names.compared.iter().all(|name| {
                        value_of(name).is_some_and(|value| {
                            comparable::write(&mut scratch, value);
                            true
                        })
                    });
                if complete && let Some(destinations) = group.get(scratch.as_slice()) {
                    destinations.each(found);
                }
            }
        }
    }

    fn remove_any(&mut self, conditions: &Conditions<'_>, destination: &D) {
        for (name, value) in &conditions.arguments {
            let Some(any) = self.any.get_mut(*name) else {
                continue;
            };
            any.remove(*value, destination);
            if any.present.is_empty() && any.values.is_empty() {
                self.any.remove(*name);
            }
        }
    }

    fn remove_all(&mut self, conditions: &Conditions<'_>, destination: &D) {
        let Some((pivot, _)) = conditions.arguments.first() else {
            return;
        };
        let Some(groups) = self.all.get_mut(*pivot) else {
            return;
        };
        let names = conditions.names();
        let Some(group) = groups.get_mut(&names) else {
            return;
        };
        let comparable = conditions.comparable();
        let Some(destinations) = group.get_mut(&comparable) else {
            return;
        };
        destinations.remove(destination);
        if destinations.is_empty() {
            group.remove(&comparable);
        }
        if group.is_empty() {
            groups.remove(&names);
        }
        if groups.is_empty() {
            self.all.remove(*pivot);
        }
    }
}

impl<D: Clone + Eq + Hash> Any<D> {
    fn add(&mut self, value: Value<'_>, destination: D) {
        if value == Value::Void {
            self.present.add(destination);
        } else {
            self.values
                .entry(comparable_of(value))
                .or_default()
                .add(destination);
        }
    }

    fn remove(&mut self, value: Value<'_>, destination: &D) {
        if value == Value::Void {
            return self.present.remove(destination);
        }
        let comparable = comparable_of(value);
        let Some(destinations) = self.values.get_mut(&comparable) else {
            return;
        };
        destinations.remove(destination);
        if destinations.is_empty() {
            self.values.remove(&comparable);
        }
    }
}

impl<'a> Conditions<'a> {
    /// `x-match` and, unless it ends in `-with-x`, all names that begin with `x-` ask for nothing.
    fn read(arguments: &'a [u8]) -> Self {
        let (any, with_x) = match field_table::lookup(arguments, X_MATCH.as_bytes()) {
            Some(Value::LongString(b"any")) => (true, false),
            Some(Value::LongString(b"all-with-x")) => (false, true),
            Some(Value::LongString(b"any-with-x")) => (true, true),
            _ => (false, false),
        };
        let mut arguments = comparable::sorted(arguments);
        arguments.retain(|(name, _)| *name != X_MATCH.as_bytes() && (with_x || !name.starts_with(b"x-")));
        Self { any, arguments }
    }

    fn names(&self) -> Names {
        let names = |void: bool| {
            let arguments = self
                .arguments
                .iter()
                .filter(|(_, value)| (*value == Value::Void) == void);
            arguments.map(|(name, _)| Name::from(*name)).collect()
        };
        Names {
            compared: names(false),
            present: names(true),
        }
    }

    /// The values that are compared, in the order of their names.
    fn comparable(&self) -> Comparable {
        let mut comparable = Vec::new();
        for (_, value) in self.arguments.iter().filter(|(_, value)| *value != Value::Void) {
            comparable::write(&mut comparable, *value);
        }
        comparable.into()
    }
}

fn comparable_of(value: Value<'_>) -> Comparable {
    let mut comparable = Vec::new();
    comparable::write(&mut comparable, value);
    comparable.into()
}

#[cfg(test)]
mod tests;
