//! Where messages go: exchanges and bindings, looked through from end to end.

use std::collections::BTreeMap;

use super::exchanges::{ExchangeKind, ExchangeSpec, Hashed};
use super::layout::{Binding, Destination};
use super::message::{Message, Value};
use super::queue::Queue;

#[derive(Clone, Debug, Default)]
pub struct Topology {
    pub exchanges: Vec<ExchangeSpec>,
    pub bindings: Vec<Binding>,
    /// The queue that chance has chosen for the message of this step.
    pub chosen: Option<String>,
}

impl Topology {
    /// A queue is gone, with its bindings.
    pub fn forget_queue(&mut self, name: &str) {
        self.bindings
            .retain(|binding| !matches!(&binding.destination, Destination::Queue(queue) if queue == name));
    }

    fn is_chosen(&self, binding: &Binding) -> bool {
        let chosen = self.chosen.as_ref();
        chosen.is_some_and(|chosen| binding.destination == Destination::Queue(chosen.clone()))
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
            let mut matching: Vec<&Binding> = self.bindings.iter().filter(is_match).collect();
            match spec.kind {
                ExchangeKind::ConsistentHash(hashed) => {
                    matching = nearest(&matching, hash_of(hashed, &keys[0], message));
                }
                ExchangeKind::ModulusHash => matching = by_modulus(&matching, keys),
                ExchangeKind::Random | ExchangeKind::LocalRandom => {
                    matching.retain(|binding| self.is_chosen(binding));
                }
                _ => {}
            }
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

/// The destination that is nearest to the key. It has one weight, that of its first binding.
fn nearest<'a>(bindings: &[&'a Binding], key: u64) -> Vec<&'a Binding> {
    let distance = |binding: &Binding| {
        let first = bindings
            .iter()
            .find(|other| other.destination == binding.destination);
        let weight: f64 = first.unwrap_or(&binding).key.parse().expect("it is a weight");
        let high = mix(key ^ fingerprint(&binding.destination)) >> 32;
        let uniform = (f64::from(u32::try_from(high).expect("half of the bits")) + 0.5) / 2f64.powi(32);
        -uniform.ln() / weight
    };
    let all = bindings.iter().copied();
    all.min_by(|one, other| distance(one).total_cmp(&distance(other)))
        .into_iter()
        .collect()
}

/// The hash of what a consistent hash looks at. A message without it has one too.
fn hash_of(hashed: Hashed, key: &str, message: &Message) -> u64 {
    let of_text = |text: &Option<String>| text.as_ref().map_or(0, |text| hash(text.as_bytes()));
    match hashed {
        Hashed::RoutingKey => hash(key.as_bytes()),
        Hashed::MessageId => of_text(&message.label),
        Hashed::CorrelationId => of_text(&message.correlation_id),
        Hashed::Timestamp => message.timestamp.map_or(0, mix),
        Hashed::Header => match &message.h {
            None => 0,
            Some(Value::Number(number)) => hash(&[&b"i"[..], &number.to_be_bytes()].concat()),
            Some(Value::Text(text)) => {
                hash(&[&b"S"[..], &(text.len() as u64).to_be_bytes(), text.as_bytes()].concat())
            }
        },
    }
}

/// One of the sorted bindings.
fn by_modulus<'a>(bindings: &[&'a Binding], keys: &[String]) -> Vec<&'a Binding> {
    let mut sorted = bindings.to_vec();
    sorted.sort_by_key(|binding| fingerprint(&binding.destination));
    let number = keys
        .iter()
        .fold(0, |number, key| mix(number) ^ hash(key.as_bytes()));
    let index = number.checked_rem(sorted.len() as u64);
    index
        .map(|index| sorted[usize::try_from(index).expect("few")])
        .into_iter()
        .collect()
}

fn fingerprint(destination: &Destination) -> u64 {
    match destination {
        Destination::Queue(name) => hash(name.as_bytes()) ^ 1,
        Destination::Exchange(name) => hash(name.as_bytes()),
    }
}

/// FNV-1a, mixed.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    mix(hash)
}

/// The last step of `SplitMix64`.
fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn matches(kind: ExchangeKind, binding: &Binding, key: &str, message: &Message) -> bool {
    match kind {
        ExchangeKind::Direct => binding.key == key,
        ExchangeKind::Fanout
        | ExchangeKind::ConsistentHash(_)
        | ExchangeKind::ModulusHash
        | ExchangeKind::Random
        | ExchangeKind::LocalRandom
        | ExchangeKind::Deduplication
        | ExchangeKind::RecentHistory => true,
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
