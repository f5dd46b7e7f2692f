//! Limits of users, virtual hosts and the node, each with what RabbitMQ says when it is reached.

use crate::bytes::{channel_open, exchange_declare, exchange_delete, method, queue_declare, queue_delete};
use crate::client::{Client, Login, open, tune_ok};
use crate::support::{TestServer, eventually};

fn server(vhost: &str, user: &str, node: &str) -> TestServer {
    TestServer::with_config(&format!(
        "[limits]\n{node}\n[[vhosts]]\nname = '/'\n{vhost}\n[[users]]\nname = 'guest'\npassword = 'guest'\n{user}\n\
         permissions = [{{ vhost = '/', configure = '.*', write = '.*', read = '.*' }}]\n"
    ))
}

/// A client that is about to open the vhost.
fn tuned(server: &TestServer) -> Client {
    let mut client = Client::authenticated(server.address(), &Login::default());
    client.send(&tune_ok(2047, 131_072, 0));
    client
}

/// Whether the vhost can be opened now; if so it is left open.
fn opened(server: &TestServer) -> Option<Client> {
    let mut client = tuned(server);
    client.send(&open("/"));
    (client.frame()?.id() == (10, 41)).then_some(client)
}

fn connections_are_limited(server: &TestServer, max: usize, text: &str) {
    let mut clients: Vec<_> = (0..max)
        .map(|_| Client::login(server.address(), &Login::default()))
        .collect();
    tuned(server).refused(&open("/"), 0, 530, &format!("NOT_ALLOWED - {text}"), (10, 40));
    // Closed in good order a connection counts no longer once close-ok is there.
    let mut one = clients.pop().unwrap();
    one.call(
        &method(10, 50).u16(200).short("").u16(0).u16(0).on(0),
        0,
        (10, 51),
    );
    clients.push(Client::login(server.address(), &Login::default()));
    // One that is just gone counts until that is noticed.
    drop(clients.pop());
    eventually("the lost connection makes room", || opened(server));
}

#[test]
fn connections_to_a_vhost_are_limited() {
    let server = server("connections_max = 2", "", "");
    let text = "access to vhost '/' refused for user 'guest': connection limit (2) is reached";
    connections_are_limited(&server, 2, text);
}

#[test]
fn connections_of_a_user_are_limited() {
    let server = server("connections_max = 3", "connections_max = 2", "");
    let text = "connection refused for user 'guest': user connection limit (2) is reached";
    connections_are_limited(&server, 2, text);
}

#[test]
fn connections_of_the_node_are_limited() {
    let server = server(
        "connections_max = 2",
        "connections_max = 2",
        "connections_max = 2",
    );
    let text = "connection refused: node connection limit (2) is reached";
    connections_are_limited(&server, 2, text);
}

#[test]
fn a_limit_of_zero_is_none_and_of_minus_one_any() {
    let none = server("connections_max = 0", "", "");
    let text = "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (0) is reached";
    tuned(&none).refused(&open("/"), 0, 530, text, (10, 40));
    let missing = "NOT_ALLOWED - vhost nowhere not found";
    tuned(&none).refused(&open("nowhere"), 0, 530, missing, (10, 40));
    let any = server(
        "connections_max = -1\nqueues_max = -1",
        "connections_max = -1\nchannels_max = -1",
        "",
    );
    let mut client = Client::open(any.address());
    client.call(&queue_declare("any", 4, &[]), 1, (50, 11));
}

#[test]
fn channels_of_a_user_are_limited_over_all_connections() {
    let server = server("", "channels_max = 2", "");
    let mut first = Client::open(server.address());
    let mut second = Client::open(server.address());
    let text = "NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum allowed user limit \
                of (2)";
    second.refused(&channel_open(2), 0, 530, text, (0, 0));
    // The connection that asked for too much took its channels with it.
    first.call(&channel_open(2), 2, (20, 11));
    first.call(
        &method(20, 40).u16(200).short("").u16(0).u16(0).on(2),
        2,
        (20, 41),
    );
    first.call(&channel_open(3), 3, (20, 11));
    first.refused(&channel_open(4), 0, 530, text, (0, 0));
}

#[test]
fn channels_of_the_node_are_limited() {
    let server = server("", "", "channels_max = 1");
    let mut client = Client::open(server.address());
    let text = "NOT_ALLOWED - number of channels opened on node 'rabbit@localhost' has reached the maximum allowed \
                limit of (1)";
    client.refused(&channel_open(2), 0, 530, text, (0, 0));
    Client::open(server.address()).sync();
}

fn queues_are_limited(server: &TestServer, text: &str) {
    let mut client = Client::open(server.address());
    client.call(&queue_declare("one", 2, &[]), 1, (50, 11));
    client.call(&queue_declare("two", 4, &[]), 1, (50, 11));
    let text = format!("PRECONDITION_FAILED - {text}");
    client.refused(&queue_declare("three", 2, &[]), 1, 406, &text, (50, 10));
    // What is there can be declared again.
    client.call(&queue_declare("one", 2, &[]), 1, (50, 11));
    client.call(&queue_delete("one", 0), 1, (50, 41));
    client.call(&queue_declare("three", 2, &[]), 1, (50, 11));
}

#[test]
fn queues_of_a_vhost_are_limited_also_after_a_restart() {
    let mut server = server("queues_max = 2", "", "");
    let text = "cannot declare queue 'three': queue limit in vhost '/' (2) is reached";
    queues_are_limited(&server, text);
    server.kill_and_restart();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("four", 2, &[]), 1, (50, 11));
    let text = "PRECONDITION_FAILED - cannot declare queue 'five': queue limit in vhost '/' (2) is reached";
    client.refused(&queue_declare("five", 2, &[]), 1, 406, text, (50, 10));
}

#[test]
fn queues_of_the_node_are_limited() {
    let server = server("", "", "queues_max = 2");
    queues_are_limited(
        &server,
        "cannot declare queue 'three': queue limit in cluster (2) is reached",
    );
}

#[test]
fn exchanges_of_the_node_are_limited() {
    let server = server("", "", "exchanges_max = 8");
    let mut client = Client::open(server.address());
    client.call(&exchange_declare("one", "fanout", 2, &[]), 1, (40, 11));
    let text =
        "PRECONDITION_FAILED - cannot declare exchange 'two' in vhost '/': exchange limit of 8 is reached";
    client.refused(&exchange_declare("two", "fanout", 0, &[]), 1, 406, text, (40, 10));
    client.call(&exchange_declare("one", "fanout", 2, &[]), 1, (40, 11));
    client.call(&exchange_delete("one", 0), 1, (40, 21));
    client.call(&exchange_declare("two", "fanout", 0, &[]), 1, (40, 11));
}
