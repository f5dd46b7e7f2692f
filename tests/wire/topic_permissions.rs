//! Permissions on the routing keys of topic exchanges: publishing, copies, binding and unbinding.

use crate::bytes::{
    Fields, HEADERS, USER_ID, entry, exchange_bind, exchange_declare, publish, publish_with, queue_bind,
    queue_declare, queue_unbind,
};
use crate::client::Client;
use crate::support::TestServer;

/// Anna may write keys that begin with her name, and read those of the vhost.
const CONFIG: &str = r#"
[[vhosts]]
name = "/"
[[users]]
name = "an.na"
password = "guest"
permissions = [{ vhost = "/", configure = ".*", write = ".*", read = ".*" }]
topic_permissions = [
    { vhost = "/", exchange = "amq.topic", write = "^{username}\\.", read = "^of {vhost}:" },
    { vhost = "/", exchange = "amq.direct", write = "^$", read = "^$" },
]
"#;

fn client(server: &TestServer) -> Client {
    let mut client = Client::open_as(server.address(), "an.na");
    client.call(&queue_declare("mine", 4, &[]), 1, (50, 11));
    client.call(&exchange_declare("other", "topic", 4, &[]), 1, (40, 11));
    client
}

fn refused(client: &mut Client, sent: &[u8], access: &str, key: &str, id: (u16, u16)) {
    let text = format!(
        "ACCESS_REFUSED - {access} access to topic '{key}' in exchange 'amq.topic' in vhost '/' refused for user \
         'an.na'"
    );
    client.refused(sent, 1, 403, &text, id);
}

#[test]
fn keys_are_checked_when_publishing() {
    let server = TestServer::with_config(CONFIG);
    let mut client = client(&server);
    client.send(&publish("amq.topic", "an.na.orders", b"x"));
    client.send(&publish("amq.topic", "an.na.orders", b"x"));
    client.sync();
    for key in ["anxna.orders", "an.na", ""] {
        refused(
            &mut client,
            &publish("amq.topic", key, b"x"),
            "write",
            key,
            (60, 40),
        );
    }
    client.send(&publish("amq.topic", "an.na.orders", b"x"));
    client.sync();
}

#[test]
fn copies_need_the_permission_too_and_before_the_user_id_is_looked_at() {
    let server = TestServer::with_config(CONFIG);
    let mut client = client(&server);
    let copy = |name: &str, key: &str| {
        let values = Fields::default().u8(b'S').long(key).bytes();
        let headers = entry(name, b'A', &Fields::default().long(values).bytes());
        Fields::default().long(headers).bytes()
    };
    for name in ["CC", "BCC"] {
        let own = copy(name, "an.na.copy");
        client.send(&publish_with("amq.topic", "an.na.x", 0, HEADERS, &own, b"x"));
        client.sync();
        let other = copy(name, "bert.copy");
        let sent = publish_with("amq.topic", "an.na.x", 0, HEADERS, &other, b"x");
        refused(&mut client, &sent, "write", "bert.copy", (60, 40));
        let with_user = [other, Fields::default().short("bert").bytes()].concat();
        let sent = publish_with("amq.topic", "an.na.x", 0, HEADERS | USER_ID, &with_user, b"x");
        refused(&mut client, &sent, "write", "bert.copy", (60, 40));
    }
}

#[test]
fn keys_are_checked_when_binding_and_unbinding() {
    let server = TestServer::with_config(CONFIG);
    let mut client = client(&server);
    client.call(&queue_bind("mine", "amq.topic", "of /:a", &[]), 1, (50, 21));
    client.call(&queue_unbind("mine", "amq.topic", "of /:a", &[]), 1, (50, 51));
    client.call(&exchange_bind(30, "other", "amq.topic", "of /:a"), 1, (40, 31));
    client.call(&exchange_bind(40, "other", "amq.topic", "of /:a"), 1, (40, 51));
    for (sent, id) in [
        (queue_bind("mine", "amq.topic", "of x:a", &[]), (50, 20)),
        (queue_unbind("mine", "amq.topic", "of x:a", &[]), (50, 50)),
        (exchange_bind(30, "other", "amq.topic", "of x:a"), (40, 30)),
        (exchange_bind(40, "other", "amq.topic", "of x:a"), (40, 40)),
    ] {
        refused(&mut client, &sent, "read", "of x:a", id);
        client.call(&queue_declare("mine", 4, &[]), 1, (50, 11));
    }
}

#[test]
fn other_exchanges_take_all_keys() {
    let server = TestServer::with_config(CONFIG);
    let mut client = client(&server);
    client.call(&queue_bind("mine", "other", "any", &[]), 1, (50, 21));
    client.call(&queue_bind("mine", "amq.direct", "any", &[]), 1, (50, 21));
    client.send(&publish("other", "any", b"by topic"));
    client.send(&publish("amq.direct", "any", b"by another type"));
    assert_eq!(client.get("mine").unwrap().2, "by topic");
    assert_eq!(client.get("mine").unwrap().2, "by another type");
}
