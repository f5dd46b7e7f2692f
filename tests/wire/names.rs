//! Names and texts of every length.

use crate::bytes::{
    Fields, HEADERS, Reader, consume, exchange_declare, exchange_delete, get, publish, publish_with,
    queue_bind, queue_declare, queue_purge, text,
};
use crate::client::{Client, Login, server};
use crate::support::TestServer;

#[test]
fn names_of_255_bytes_work_everywhere() {
    let server = server();
    let mut client = Client::open(server.address());
    let name = "n".repeat(255);
    client.call(&exchange_declare(&name, "direct", 4, &[]), 1, (40, 11));
    client.call(&queue_declare(&name, 4, &[]), 1, (50, 11));
    client.call(&queue_bind(&name, &name, &name, &[]), 1, (50, 21));
    client.send(&publish(&name, &name, b"x"));
    client.send(&get(&name, true));
    let arguments = client.message((60, 71)).arguments;
    let mut arguments = Reader(&arguments[9..]);
    assert_eq!((arguments.text(), arguments.text()), (name.clone(), name.clone()));
    client.call(&consume(&name, &name, 2, &[]), 1, (60, 21));
    client.send(&publish(&name, &name, b"y"));
    assert_eq!(client.delivery().2, "y");
    client.send(&publish_with("", &"x".repeat(255), 1, 0, &[], b"z"));
    client.message((60, 50));
}

#[test]
fn a_text_too_long_is_cut_and_ends_in_dots() {
    let server = server();
    let mut client = Client::open(server.address());
    let name = "n".repeat(255);
    let full = format!("NOT_FOUND - no queue '{name}' in vhost '/'");
    client.refused(
        &queue_purge(&name),
        1,
        404,
        &format!("{}...", &full[..252]),
        (50, 30),
    );
    // Not within a character.
    let name = "€".repeat(85);
    let full = format!("NOT_FOUND - no queue '{name}' in vhost '/'");
    let end = (0..=252).rev().find(|end| full.is_char_boundary(*end)).unwrap();
    client.refused(
        &queue_purge(&name),
        1,
        404,
        &format!("{}...", &full[..end]),
        (50, 30),
    );
}

#[test]
fn names_in_any_script_work() {
    let server = server();
    let mut client = Client::open(server.address());
    for name in ["заказы", "注文", "naïve \u{1F407}", " ", "'\"\\"] {
        client.call(&queue_declare(name, 4, &[]), 1, (50, 11));
        client.call(&exchange_declare(name, "fanout", 0, &[]), 1, (40, 11));
        client.call(&queue_bind(name, name, name, &[]), 1, (50, 21));
        client.send(&publish(name, name, name.as_bytes()));
        assert_eq!(client.get(name).unwrap().2, name);
        client.call(&exchange_delete(name, 0), 1, (40, 21));
    }
}

#[test]
fn users_vhosts_and_headers_may_have_names_of_255_bytes() {
    let name = "n".repeat(255);
    let server = TestServer::with_config(&format!(
        "[[vhosts]]\nname = '{name}'\n[[users]]\nname = '{name}'\npassword = 'guest'\n\
         permissions = [{{ vhost = '{name}', configure = '.*', write = '.*', read = '.*' }}]\n"
    ));
    let login = Login {
        user: &name,
        vhost: &name,
        ..Login::default()
    };
    let mut client = Client::login(server.address(), &login).with_channel();
    client.call(&exchange_declare(&name, "headers", 4, &[]), 1, (40, 11));
    client.call(&queue_declare(&name, 4, &[]), 1, (50, 11));
    let entry = text(&name, &name);
    client.call(&queue_bind(&name, &name, &name, &entry), 1, (50, 21));
    let headers = Fields::default().long(&entry).bytes();
    client.send(&publish_with(&name, &name, 0, HEADERS, &headers, b"x"));
    client.send(&get(&name, true));
    assert_eq!(client.message((60, 71)).properties[2..], headers);
    let reserved = format!("amq.{}", &name[4..]);
    client.send(&exchange_declare(&reserved, "fanout", 0, &[]));
    let close = client.close().unwrap();
    assert_eq!((close.code, close.text.len()), (403, 255));
}
