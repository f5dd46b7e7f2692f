//! What connections and queues cost that do nothing, and how fast they come. No message is published here.

use std::{
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Instant,
};

use amq_protocol::protocol::{AMQPClass, basic, queue};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::bench::{
    client::Client,
    error::BenchError,
    outcome::{Outcome, Phase},
    plan::{Flow, Plan},
    process::{Usage, resident_bytes},
    statistics::float,
    trial::Target,
};

/// Connections are opened by so many threads, so that the way there and back does not bound the rate.
const OPENING_THREADS: u64 = 4;

/// Makes what the plan counts, takes the figures and removes it.
///
/// # Errors
/// As the broker's refusals come; `Socket` too when this process may not open so many files.
pub(super) fn run(target: &Target, plan: &Plan, entity: &str) -> Result<Outcome, BenchError> {
    let is_aborted = Arc::new(AtomicBool::new(false));
    let mut control = Client::open(&target.uri, &is_aborted)?;
    let count = plan.messages_max;
    let resident_before = target.pid.and_then(resident_bytes);
    let usage_before = target.pid.and_then(Usage::of);
    let start = Instant::now();
    let clients = if plan.flow == Flow::Connections {
        open_connections(target, count, &is_aborted)?
    } else {
        declare_queues(&mut control, entity, count)?;
        Vec::new()
    };
    let seconds = start.elapsed().as_secs_f64();
    let resident_bytes_max = target.pid.and_then(resident_bytes);
    let phase = Phase {
        published: count,
        received: Vec::new(),
        latencies: Vec::new(),
        seconds,
        broker: target
            .pid
            .and_then(Usage::of)
            .zip(usage_before)
            .map(|(end, start)| end.since(start)),
        generator: None,
        resident_bytes_max,
    };
    for mut client in clients {
        check_alive(&mut client)?;
    }
    if plan.flow == Flow::Queues {
        delete_queues(&mut control, entity, count)?;
    }
    let mut outcome = phase.outcome(control.broker.clone(), false);
    outcome.resident_bytes_each = resident_bytes_max
        .zip(resident_before)
        .map(|(after, before)| (float(after) - float(before)) / float(count));
    Ok(outcome)
}

fn open_connections(
    target: &Target,
    count: u64,
    is_aborted: &Arc<AtomicBool>,
) -> Result<Vec<Client>, BenchError> {
    raise_file_limit();
    let opened: Vec<Result<Vec<Client>, BenchError>> = thread::scope(|scope| {
        let open_share = |number| {
            let share = (number..count).step_by(usize::try_from(OPENING_THREADS).expect("a small number"));
            scope.spawn(move || share.map(|_| Client::open(&target.uri, is_aborted)).collect())
        };
        let threads: Vec<_> = (0..OPENING_THREADS).map(open_share).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("opening returns its errors"));
        joined.collect()
    });
    let mut clients = Vec::new();
    for share in opened {
        clients.append(&mut share?);
    }
    Ok(clients)
}

fn declare_queues(control: &mut Client, entity: &str, count: u64) -> Result<(), BenchError> {
    for number in 0..count {
        let declare = queue::Declare {
            queue: format!("{entity}-{number}").into(),
            // The last answer says that all before it are done.
            nowait: number + 1 < count,
            ..queue::Declare::default()
        };
        let is_last = !declare.nowait;
        let method = AMQPClass::Queue(queue::AMQPMethod::Declare(declare));
        if is_last {
            control.call(method)?;
        } else {
            control.tell(method)?;
        }
    }
    Ok(())
}

fn delete_queues(control: &mut Client, entity: &str, count: u64) -> Result<(), BenchError> {
    for number in 0..count {
        let delete = queue::Delete {
            queue: format!("{entity}-{number}").into(),
            ..queue::Delete::default()
        };
        control.call(AMQPClass::Queue(queue::AMQPMethod::Delete(delete)))?;
    }
    Ok(())
}

/// A broker that drops idle connections must not look cheap.
fn check_alive(client: &mut Client) -> Result<(), BenchError> {
    let qos = basic::Qos {
        prefetch_count: 1,
        global: false,
    };
    client
        .call(AMQPClass::Basic(basic::AMQPMethod::Qos(qos)))
        .map(drop)
}

/// Takes all the files that this process may have. If it is too few, opening a connection says so.
fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
