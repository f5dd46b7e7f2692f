//! Resource alarms: while one stands, connections that publish are not read.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// A resource that is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// Memory is above its mark.
    Memory,
    /// Free disk space is below its mark.
    Disk,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        })
    }
}

/// The alarms that stand.
#[derive(Debug, Default)]
pub struct Alarms {
    standing: Mutex<Vec<Alarm>>,
    /// Whether there are any: publishers ask with each message.
    any: AtomicBool,
}

impl Alarms {
    /// Raises or clears an alarm. Returns what stands now, if that changed.
    pub fn set(&self, alarm: Alarm, stands: bool) -> Option<Vec<Alarm>> {
        let mut alarms = self.standing.lock();
        let stood = alarms.contains(&alarm);
        if stood == stands {
            return None;
        }
        if stands {
            alarms.push(alarm);
            alarms.sort_unstable();
        } else {
            alarms.retain(|other| *other != alarm);
        }
        self.any.store(!alarms.is_empty(), Ordering::Relaxed);
        Some(alarms.clone())
    }

    /// All alarms that stand, memory before disk.
    pub fn standing(&self) -> Vec<Alarm> {
        self.standing.lock().clone()
    }

    /// Whether this one stands.
    pub fn stands(&self, alarm: Alarm) -> bool {
        self.standing.lock().contains(&alarm)
    }

    /// Whether any alarm stands.
    #[inline]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }
}

/// The reason of `connection.blocked`, in RabbitMQ's words; `None` without an alarm.
pub fn blocked_reason(alarms: &[Alarm]) -> Option<String> {
    let causes: Vec<String> = alarms.iter().map(Alarm::to_string).collect();
    if causes.is_empty() {
        None
    } else {
        Some(format!("low on {}", causes.join(" & ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_rabbitmqs() {
        let alarms = Alarms::default();
        assert_eq!(blocked_reason(&alarms.standing()), None);
        assert_eq!(alarms.set(Alarm::Disk, true), Some(vec![Alarm::Disk]));
        assert_eq!(alarms.set(Alarm::Disk, true), None);
        assert_eq!(blocked_reason(&alarms.standing()).as_deref(), Some("low on disk"));
        alarms.set(Alarm::Memory, true);
        assert_eq!(
            blocked_reason(&alarms.standing()).as_deref(),
            Some("low on memory & disk")
        );
        assert_eq!(alarms.set(Alarm::Disk, false), Some(vec![Alarm::Memory]));
    }
}
