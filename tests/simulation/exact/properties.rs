//! Properties that a message may have for exchanges to look at.

use rand::RngExt;

use super::exchanges::{BY_PROPERTIES, EXCHANGES, ExchangeKind, Hashed};
use super::message::{Message, Value};
use super::model::Model;
use super::stage::{Age, Stage};

/// What the exchange of this name hashes, unless it is the routing key or nothing.
fn hashed(exchange: &str) -> Option<Hashed> {
    let mut exchanges = EXCHANGES[BY_PROPERTIES].iter();
    let spec = exchanges.find(|spec| spec.name == exchange)?;
    match spec.kind {
        ExchangeKind::ConsistentHash(hashed) => Some(hashed),
        _ => None,
    }
}

impl Model {
    /// A hash of a property or header has chosen a queue, if there is one.
    pub fn note_hash(&mut self, message: &Message, is_routed: bool) {
        let Some(hashed) = hashed(&message.exchange).filter(|_| is_routed) else {
            return;
        };
        let has_none = match hashed {
            Hashed::Header => message.h.is_none(),
            Hashed::MessageId => message.label.is_none(),
            Hashed::CorrelationId => message.correlation_id.is_none(),
            Hashed::Timestamp => message.timestamp.is_none(),
            Hashed::RoutingKey => false,
        };
        let bindings = self.topology.bindings.iter();
        let mut of_it = bindings.filter(|binding| binding.source == message.exchange);
        let first = of_it.next();
        let has_choice =
            of_it.any(|binding| first.is_some_and(|first| first.destination != binding.destination));
        if has_none && has_choice {
            self.coverage
                .note("a hash chose among several for want of what it looks at");
        }
        self.coverage.note(match hashed {
            _ if has_none => "a hash chose a queue for want of what it looks at",
            Hashed::Header => "a hash of a header chose a queue",
            _ => "a hash of a property chose a queue",
        });
    }
}

impl Stage {
    /// Gives a message what its exchange looks at, and sometimes what it does not.
    pub fn adorn(&mut self, message: &mut Message) {
        if self.age < Age::Common {
            return;
        }
        let wanted = hashed(&message.exchange);
        let rng = &mut self.rng;
        let mut is_wanted = |part| rng.random_bool(if wanted == Some(part) { 0.85 } else { 0.04 });
        let has = [
            is_wanted(Hashed::Header),
            is_wanted(Hashed::MessageId),
            is_wanted(Hashed::CorrelationId),
            is_wanted(Hashed::Timestamp),
        ];
        let number = rng.random_range(0..6_u32);
        let is_text = rng.random_bool(0.5);
        message.h = has[0].then(|| {
            if is_text {
                Value::Text(format!("h{number}"))
            } else {
                Value::Number(i64::from(number) - 2)
            }
        });
        message.label = has[1].then(|| format!("m{number}"));
        message.correlation_id = has[2].then(|| format!("c{number}"));
        message.timestamp = has[3].then_some(number.into());
        let says_how_long = message.duplicate_key.is_some() && rng.random_bool(0.3);
        message.cache_ttl = says_how_long.then(|| [-5, 0, 5, 20, 200][rng.random_range(0..5)]);
    }
}
