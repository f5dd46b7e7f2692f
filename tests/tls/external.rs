//! Mechanisms without a password: EXTERNAL, by the client's certificate, and ANONYMOUS.

use crate::authority::Authority;
use crate::client::{Answer, Client, connect, tls};
use crate::support::TestServer;

/// A broker where `user` may open the vhost `theirs`, and nobody else.
fn server(authority: &Authority, rest: &str, user: &str) -> TestServer {
    TestServer::with_config(&format!(
        "{}auth.mechanisms = ['EXTERNAL', 'PLAIN']\n{rest}\n\
         vhosts = [{{ name = 'theirs' }}]\n\
         [[users]]\nname = '{user}'\n\
         permissions = [{{ vhost = 'theirs', configure = '', write = '', read = '' }}]\n\
         [[users]]\nname = 'guest'\npassword = 'guest'\n",
        authority.config("optional"),
    ))
}

#[test]
fn the_certificate_names_the_user() {
    let authority = Authority::new();
    authority.certify_broker();
    let identity = authority.certify_client("intake, Ltd.", &["one.example", "two.example"]);
    let rows = [
        ("", r"CN=intake\, Ltd.,O=Example"),
        ("auth.external_name_from = 'cn'", "intake, Ltd."),
        ("auth.external_name_from = 'san:dns'", "one.example"),
        ("auth.external_name_from = 'san:dns:1'", "two.example"),
    ];
    for (rest, user) in rows {
        let server = server(&authority, rest, user);
        // Whatever the response says.
        for response in ["", "guest"] {
            let stream = tls(server.tls_address(), &authority, Some(&identity)).unwrap();
            let mut client = Client::greet(stream).unwrap();
            assert_eq!(client.mechanisms, "EXTERNAL PLAIN");
            assert!(client.log_in("EXTERNAL", response).is_tune(), "{rest}");
            assert_eq!(client.open("theirs"), Ok(()), "{rest}");
        }
        server.logged(&["connection opened", &format!("user={user:?}")]);
    }
}

#[test]
fn a_certificate_of_nobody_is_refused() {
    let authority = Authority::new();
    authority.certify_broker();
    let unknown = server(&authority, "auth.external_name_from = 'cn'", "intake");
    let identity = authority.certify_client("outtake", &[]);
    let log_in = |server: &TestServer| {
        let stream = tls(server.tls_address(), &authority, Some(&identity)).unwrap();
        Client::greet(stream).unwrap().log_in("EXTERNAL", "")
    };
    assert_eq!(log_in(&unknown), Answer::refusal("EXTERNAL"));
    unknown.logged(&["handshake refused", "outtake", "there is no such user"]);

    let nameless = server(&authority, "auth.external_name_from = 'san:uri'", "intake");
    assert_eq!(log_in(&nameless), Answer::refusal("EXTERNAL"));
    nameless.logged(&["handshake refused", "no name under", "san:uri"]);
}

#[test]
fn external_is_for_those_with_a_certificate() {
    let authority = Authority::new();
    authority.certify_broker();
    let server = server(&authority, "", "CN=intake,O=Example");
    let unknown = Answer::Close(
        503,
        "COMMAND_INVALID - unknown authentication mechanism 'EXTERNAL'".to_owned(),
    );
    let mut plain = Client::greet(connect(server.address())).unwrap();
    assert_eq!(plain.mechanisms, "PLAIN");
    assert_eq!(plain.log_in("EXTERNAL", "CN=intake,O=Example"), unknown);
    let mut encrypted = Client::greet(tls(server.tls_address(), &authority, None).unwrap()).unwrap();
    assert_eq!(encrypted.mechanisms, "PLAIN");
    assert_eq!(encrypted.log_in("EXTERNAL", "CN=intake,O=Example"), unknown);
}

#[test]
fn a_user_without_a_password_has_none_that_fits() {
    let authority = Authority::new();
    authority.certify_broker();
    let server = server(&authority, "", "intake");
    for password in ["", "intake", "guest"] {
        let mut client = Client::greet(connect(server.address())).unwrap();
        let answer = client.log_in("PLAIN", &format!("\0intake\0{password}"));
        assert_eq!(answer, Answer::refusal("PLAIN"));
    }
}

#[test]
fn anonymous_is_the_user_that_is_configured() {
    let config = "auth.mechanisms = ['PLAIN', 'ANONYMOUS']\nauth.anonymous_user = 'visitor'\n\
                  vhosts = [{ name = 'hall' }]\n\
                  [[users]]\nname = 'visitor'\n\
                  permissions = [{ vhost = 'hall', configure = '', write = '', read = '' }]\n";
    let server = TestServer::with_config(config);
    let mut client = Client::greet(connect(server.address())).unwrap();
    assert_eq!(client.mechanisms, "PLAIN ANONYMOUS");
    assert!(client.log_in("ANONYMOUS", "whoever").is_tune());
    assert_eq!(client.open("hall"), Ok(()));
    server.logged(&["connection opened", "user=\"visitor\""]);
}

#[test]
fn anonymous_is_off_unless_it_is_configured() {
    let server = TestServer::start();
    let mut client = Client::greet(connect(server.address())).unwrap();
    assert_eq!(client.mechanisms, "PLAIN AMQPLAIN");
    let text = "COMMAND_INVALID - unknown authentication mechanism 'ANONYMOUS'";
    assert_eq!(
        client.log_in("ANONYMOUS", ""),
        Answer::Close(503, text.to_owned())
    );
}

#[test]
fn an_anonymous_user_that_is_not_there_logs_nobody_in() {
    let config = "auth.mechanisms = ['ANONYMOUS']\nauth.anonymous_user = 'visitor'\n";
    let server = TestServer::with_config(config);
    let mut client = Client::greet(connect(server.address())).unwrap();
    assert_eq!(client.log_in("ANONYMOUS", ""), Answer::refusal("ANONYMOUS"));
}
