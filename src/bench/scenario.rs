//! The pieces of work that can be measured, by name: `confirmed-1k` is the kind `confirmed` with the
//! parameter 1024.

use std::{fmt, str::FromStr};

use crate::bench::plan::{Flow, Plan, Routing};

/// Body of the scenarios whose parameter is something else.
const SMALL_BODY_BYTES: u64 = 16;
/// Body of the messages of a backlog.
const BACKLOG_BODY_BYTES: u64 = 1024;
/// Largest parameter that any kind takes.
const PARAMETER_MAX: u64 = 100_000_000;

/// Each kind with the form of its parameter and what it does.
const KINDS: &[(&str, Kind, &str)] = &[
    (
        "transient",
        Kind::Transient,
        "transient messages of N bytes, 1 producer, 1 consumer, automatic acks",
    ),
    (
        "acked",
        Kind::Acked,
        "the same with an ack for each 100 messages, prefetch 1000",
    ),
    (
        "acked-single",
        Kind::AckedSingle,
        "the same with an ack for each message, prefetch 1000",
    ),
    (
        "publish",
        Kind::Publish,
        "transient messages of N bytes to a queue without consumer",
    ),
    (
        "consume",
        Kind::Consume,
        "transient messages of N bytes from a filled queue, automatic acks",
    ),
    (
        "confirmed",
        Kind::Confirmed,
        "persistent messages of N bytes, confirms in a window of 1000, acked",
    ),
    (
        "confirm-window",
        Kind::ConfirmWindow,
        "persistent messages of 1 KiB, confirms in a window of N, acked",
    ),
    ("jobs", Kind::Jobs, "the same with an ack for each message"),
    (
        "fanout",
        Kind::Fanout,
        "fanout exchange with N queues and consumers, 16 bytes",
    ),
    (
        "topic",
        Kind::Topic,
        "topic exchange with N bindings of which one matches, 16 bytes",
    ),
    (
        "latency",
        Kind::Latency,
        "N transient messages of 16 bytes a second, each acked",
    ),
    (
        "backlog",
        Kind::Backlog,
        "N persistent messages of 1 KiB, confirmed, into a queue without consumer",
    ),
    (
        "backlog-drain",
        Kind::BacklogDrain,
        "consumes the N messages that backlog-N left with --keep-backlog",
    ),
    (
        "connections",
        Kind::Connections,
        "N connections that do nothing: how fast they open and what each takes",
    ),
    (
        "queues",
        Kind::Queues,
        "N queues that do nothing: how fast they are declared and what each takes",
    ),
    (
        "pairs",
        Kind::Pairs,
        "N producers, N consumers, N queues, 16 bytes, automatic acks",
    ),
];

/// What is run when nothing is named.
pub(super) const STANDARD: &[&str] = &[
    "transient-16",
    "acked-16",
    "acked-single-16",
    "transient-1k",
    "publish-16",
    "consume-16",
    "confirmed-1k",
    "confirmed-16",
    "confirm-window-1",
    "confirm-window-10",
    "jobs-10",
    "fanout-10",
    "topic-1000",
    "topic-100k",
    "latency-5k",
    "latency-20k",
    "pairs-16",
    "connections-1000",
    "connections-10k",
    "queues-10k",
    "backlog-1m",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transient,
    Acked,
    AckedSingle,
    Publish,
    Consume,
    Confirmed,
    ConfirmWindow,
    Jobs,
    Fanout,
    Topic,
    Latency,
    Backlog,
    BacklogDrain,
    Connections,
    Queues,
    Pairs,
}

/// A kind of work with its parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    name: String,
    kind: Kind,
    parameter: u64,
}

impl Scenario {
    /// Its numbers.
    pub(super) fn plan(&self) -> Plan {
        let base = Plan::flood(self.body_bytes());
        let many = u16::try_from(self.parameter).unwrap_or(u16::MAX);
        match self.kind {
            Kind::Transient => base,
            Kind::Acked => base.acked(100),
            Kind::AckedSingle => base.acked(1),
            Kind::Publish => Plan {
                flow: Flow::Publish,
                ..base.with_bounded_queue()
            },
            Kind::Consume => Plan {
                flow: Flow::Consume,
                ..base.with_bounded_queue()
            },
            Kind::Confirmed => base.confirmed(1000),
            Kind::ConfirmWindow => base.confirmed(self.parameter),
            Kind::Jobs => base.confirmed(self.parameter).acked(1),
            Kind::Fanout => {
                let ahead_max = base.ahead_max / u64::from(many);
                Plan {
                    routing: Routing::Fanout,
                    queues: many,
                    ahead_max,
                    ..base
                }
            }
            Kind::Topic => Plan {
                routing: Routing::Topic(self.parameter),
                ..base
            },
            Kind::Latency => Plan {
                rate: Some(self.parameter),
                ..base.acked(1)
            },
            Kind::Backlog => {
                let messages_max = self.parameter;
                Plan {
                    flow: Flow::Backlog,
                    messages_max,
                    is_timed: false,
                    ..base.confirmed(10_000)
                }
            }
            Kind::BacklogDrain => Plan {
                flow: Flow::Drain,
                messages_max: self.parameter,
                ..base.confirmed(10_000)
            },
            Kind::Connections => base.idle(Flow::Connections, self.parameter),
            Kind::Queues => base.idle(Flow::Queues, self.parameter),
            Kind::Pairs => {
                let ahead_max = base.ahead_max / u64::from(many);
                Plan {
                    queues: many,
                    producers: many,
                    ahead_max,
                    ..base
                }
            }
        }
    }

    /// Name of its queue or exchange; the drain of a backlog finds the backlog's.
    pub(super) fn entity(&self) -> String {
        match self.kind {
            Kind::Backlog | Kind::BacklogDrain => "leveret-bench-backlog".to_owned(),
            _ => format!("leveret-bench-{}", self.name),
        }
    }

    /// Whether its messages can be kept for a restart.
    pub(super) fn is_backlog(&self) -> bool {
        self.kind == Kind::Backlog
    }

    /// How many messages a backlog or its drain counts.
    pub(super) fn parameter(&self) -> u64 {
        self.parameter
    }

    /// The kinds, a line each, for the help text.
    pub(super) fn describe_kinds() -> String {
        let lines = KINDS
            .iter()
            .map(|(name, _, text)| format!("  {:<18} {text}\n", format!("{name}-N")));
        lines.collect()
    }

    fn body_bytes(&self) -> u64 {
        match self.kind {
            Kind::ConfirmWindow | Kind::Jobs | Kind::Backlog | Kind::BacklogDrain => BACKLOG_BODY_BYTES,
            kind if kind.counts_bytes() => self.parameter,
            _ => SMALL_BODY_BYTES,
        }
    }

    fn parse_parameter(kind: Kind, text: &str) -> Option<u64> {
        let (digits, unit) = match text.strip_suffix('k') {
            Some(digits) if kind.counts_bytes() => (digits, 1024),
            Some(digits) => (digits, 1000),
            None => text
                .strip_suffix('m')
                .map_or((text, 1), |digits| (digits, 1_000_000)),
        };
        let value = digits.parse::<u64>().ok()?.checked_mul(unit)?;
        let range = match kind {
            _ if kind.counts_bytes() => SMALL_BODY_BYTES..=16 * 1024 * 1024,
            Kind::Fanout | Kind::Pairs => 1..=500,
            Kind::Topic | Kind::Queues => 1..=1_000_000,
            Kind::Connections => 1..=50_000,
            _ => 1..=PARAMETER_MAX,
        };
        range.contains(&value).then_some(value)
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let (kind, parameter) = name.rsplit_once('-').unwrap_or((name, ""));
        let known = KINDS.iter().find(|(known, ..)| *known == kind);
        let Some((_, kind, _)) = known else {
            return Err(format!(
                "there is no such scenario; there are:\n{}",
                Self::describe_kinds()
            ));
        };
        let parameter = Self::parse_parameter(*kind, parameter).ok_or_else(|| {
            format!("`{parameter}` is not a number in this scenario's range, such as 16, 1k or 1m")
        })?;
        Ok(Self {
            name: name.to_owned(),
            kind: *kind,
            parameter,
        })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl Kind {
    fn counts_bytes(self) -> bool {
        matches!(
            self,
            Self::Transient
                | Self::Acked
                | Self::AckedSingle
                | Self::Publish
                | Self::Consume
                | Self::Confirmed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str) -> Plan {
        name.parse::<Scenario>().unwrap().plan()
    }

    #[test]
    fn every_standard_scenario_has_a_plan() {
        for name in STANDARD {
            let plan = plan(name);
            assert!(plan.body_bytes >= 16 && plan.ahead_max > 0, "{name}");
        }
    }

    #[test]
    fn names_carry_their_parameter() {
        assert_eq!(plan("confirmed-1k").body_bytes, 1024);
        assert_eq!(plan("confirm-window-10").confirm_window, Some(10));
        assert_eq!(plan("acked-single-16").ack_each, Some(1));
        assert_eq!(plan("latency-5k").rate, Some(5000));
        assert_eq!(plan("backlog-1m").messages_max, 1_000_000);
        assert_eq!(plan("pairs-16").producers, 16);
        assert_eq!(plan("topic-100k").routing, Routing::Topic(100_000));
    }

    #[test]
    fn unknown_names_and_parameters_out_of_range_are_refused() {
        for name in [
            "",
            "transient",
            "transient-",
            "transient-15",
            "transient-16x",
            "other-16",
            "fanout-0",
            "latency-0",
        ] {
            assert!(name.parse::<Scenario>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_producer_ahead_of_its_consumer_stays_within_the_byte_bound() {
        assert_eq!(plan("transient-16").ahead_max, 200_000);
        assert_eq!(plan("transient-1k").ahead_max, 65_536);
    }
}
