//! Who a client says it is: the response of a SASL mechanism, and a client's certificate.

use std::net::{Ipv4Addr, SocketAddr};

use leveret::amqp::field_table;
use leveret::broker::certificate::{AlternativeKind, NameFrom};
use leveret::connection::Peer;
use leveret::connection::sasl::Mechanism;

use super::conversation::settings;
use crate::memory::within;

/// A response, for each mechanism.
pub fn run(input: &[u8]) {
    let settings = settings();
    within(8192 + 16 * input.len(), || {
        for mechanism in [Mechanism::Plain, Mechanism::AmqPlain, Mechanism::Anonymous] {
            let Ok(found) = mechanism.credentials(input, &settings, &peer(None)) else {
                continue;
            };
            let password = found.password.as_deref();
            match mechanism {
                Mechanism::Plain => {
                    let sent = ["\0", &found.name, "\0"].map(str::as_bytes).concat();
                    assert_eq!([&sent, password.expect("it has one")].concat(), input);
                }
                Mechanism::AmqPlain => {
                    assert_eq!(field_table::validate(input), Ok(()));
                    let len = found.name.len() + password.map_or(0, <[u8]>::len);
                    assert!(len + 2 * 5 + "LOGINPASSWORD".len() <= input.len());
                }
                _ => assert_eq!((&*found.name, password), ("nobody", None)),
            }
        }
    });
}

/// A certificate as DER: its holder chose what is in it, though somebody signed it.
pub fn certificate(input: &[u8]) {
    let kinds = [
        AlternativeKind::Dns,
        AlternativeKind::Email,
        AlternativeKind::Uri,
        AlternativeKind::Ip,
        AlternativeKind::OtherName,
    ];
    let alternatives = kinds.map(|kind| NameFrom::AlternativeName { kind, index: 0 });
    let mut settings = settings();
    // Escapes may triple a name, and object identifiers are longer in digits.
    within(65_536 + 64 * input.len(), || {
        for name_from in [NameFrom::DistinguishedName, NameFrom::CommonName]
            .iter()
            .chain(&alternatives)
        {
            settings.external_name_from = *name_from;
            let found = Mechanism::External.credentials(b"ignored", &settings, &peer(Some(input)));
            if let Ok(found) = found {
                assert!(found.password.is_none() && !found.name.is_empty());
                assert!(
                    found.name.len() <= 8 * input.len(),
                    "{} bytes of name",
                    found.name.len()
                );
            }
        }
    });
}

fn peer(certificate: Option<&[u8]>) -> Peer {
    Peer {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        certificate: certificate.map(Into::into),
    }
}
