//! (b) Ten thousand connections at once.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::bystander::Bystander;
use crate::client::Client;
use crate::gauge::MIB;
use crate::publisher::Publisher;
use crate::raw::{Outgoing, Raw};
use crate::storm::{Storm, allow_files, declare_exclusive, scale};

const THREADS: usize = 4;

/// A connection from an address of its own kind, so that no address runs out of ports.
fn connect(server: SocketAddr, number: usize) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let last = u8::try_from(2 + number % 200).unwrap();
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    socket.bind(&from.into()).unwrap();
    socket.connect(&server.into()).unwrap();
    Client::over(TcpStream::from(socket)).unwrap()
}

#[test]
fn ten_thousand_connections_at_once_are_served_and_leave_nothing() {
    let connections: usize = scale(2_000, 10_000);
    // What a login shell gives at first: the broker has to ask for more.
    allow_files(1024);
    let storm = Storm::begin("crowd", scale(256, 512) * MIB, "");
    let files = allow_files(usize::MAX);
    assert!(
        files > connections + 500,
        "{connections} connections need more than {files} files"
    );
    let mut client = storm.connect();
    client.declare_exchange("all", "fanout", false).unwrap();
    let bystander = Bystander::publishing(storm.server.address());
    let address = storm.server.address();
    let start = Instant::now();
    let mut crowd: Vec<Raw> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let numbers = (0..connections).skip(thread).step_by(THREADS);
                    let join = |number: usize| {
                        let mut client = connect(address, number);
                        let queue = format!("own-{number}");
                        declare_exclusive(&mut client, &queue);
                        client.bind(&queue, "all", "").unwrap();
                        Raw::consume(client, &queue, 0, true)
                    };
                    numbers.map(join).collect::<Vec<_>>()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    println!(
        "crowd: {connections} connections after {:?}, {} MiB",
        start.elapsed(),
        storm.gauge.resident() / MIB
    );
    let mut publisher = Publisher::new(client);
    for number in 0..3 {
        let message = Outgoing {
            is_persistent: false,
            number,
            bytes: 1000,
        };
        publisher.publish_to("all", "", message, 0).unwrap();
        for member in &mut crowd {
            assert_eq!(member.delivery().number, number);
        }
    }
    println!("crowd: all have all after {:?}", start.elapsed());
    bystander.end("crowd");
    storm.check_peak();
    drop(crowd);
    drop(publisher);
    storm.end();
}
