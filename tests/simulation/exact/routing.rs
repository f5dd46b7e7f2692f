//! Where messages go: exchanges and bindings, looked through from end to end.

use std::collections::BTreeMap;

use super::layout::{Binding, Destination, ExchangeKind, ExchangeSpec};
use super::message::Message;
use super::queue::Queue;

#[derive(Clone, Debug, Default)]
pub struct Topology {
    pub exchanges: Vec<ExchangeSpec>,
    pub bindings: Vec<Binding>,
}

impl Topology {
    /// A queue is gone, with its bindings.
    pub fn forget_queue(&mut self, name: &str) {
        self.bindings
            .retain(|binding| !matches!(&binding.destination, Destination::Queue(queue) if queue == name));
    }

    /// The queues that a message reaches from an exchange, each once.
    pub fn route(
        &self,
        exchange: &str,
        keys: &[String],
        message: &Message,
        queues: &BTreeMap<String, Queue>,
    ) -> Vec<String> {
        if exchange.is_empty() {
            let mut found: Vec<String> = Vec::new();
            for key in keys {
                if queues.contains_key(key) && !found.contains(key) {
                    found.push(key.clone());
                }
            }
            return found;
        }
        let mut reached: Vec<String> = Vec::new();
        let mut exchanges = vec![exchange.to_owned()];
        let mut next = 0;
        while next < exchanges.len() {
            let name = exchanges[next].clone();
            next += 1;
            let Some(spec) = self.exchanges.iter().find(|spec| spec.name == name) else {
                continue;
            };
            let is_match = |binding: &&Binding| {
                binding.source == name && keys.iter().any(|key| matches(spec.kind, binding, key, message))
            };
            let matching: Vec<&Binding> = self.bindings.iter().filter(is_match).collect();
            let alternate = spec.alternate.filter(|_| matching.is_empty());
            for destination in matching.iter().map(|binding| &binding.destination) {
                let (list, name) = match destination {
                    Destination::Queue(name) => (&mut reached, name),
                    Destination::Exchange(name) => (&mut exchanges, name),
                };
                if !list.contains(name) {
                    list.push(name.clone());
                }
            }
            exchanges.extend(alternate.map(str::to_owned));
            let mut seen = Vec::new();
            exchanges.retain(|name| {
                let is_new = !seen.contains(name);
                seen.push(name.clone());
                is_new
            });
        }
        reached
    }
}

fn matches(kind: ExchangeKind, binding: &Binding, key: &str, message: &Message) -> bool {
    match kind {
        ExchangeKind::Direct => binding.key == key,
        ExchangeKind::Fanout => true,
        ExchangeKind::Headers => binding.k == message.k,
        ExchangeKind::Topic => {
            let pattern: Vec<&str> = binding.key.split('.').collect();
            let words: Vec<&str> = key.split('.').collect();
            matches_words(&pattern, &words)
        }
    }
}

fn matches_words(pattern: &[&str], words: &[&str]) -> bool {
    match pattern {
        [] => words.is_empty(),
        ["#", rest @ ..] => (0..=words.len()).any(|count| matches_words(rest, &words[count..])),
        [first, rest @ ..] => {
            let fits = words.first().is_some_and(|word| *first == "*" || first == word);
            fits && matches_words(rest, &words[1..])
        }
    }
}
