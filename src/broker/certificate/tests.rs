//! Names in certificates that are made here.

use std::net::Ipv6Addr;

use rcgen::string::{BmpString, TeletexString};
use rcgen::{CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, KeyPair, SanType};
use x509_parser::asn1_rs::oid;
use x509_parser::x509::RelativeDistinguishedName;

use super::*;

const UID: &[u64] = &[0, 9, 2342, 19_200_300, 100, 1, 1];

fn from(text: &str) -> NameFrom {
    text.parse().unwrap()
}

/// A certificate with these attributes, in this order, and these alternative names.
fn certificate(subject: Vec<(DnType, DnValue)>, alternatives: Vec<SanType>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind, value);
    }
    params.subject_alt_names = alternatives;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn subject(subject: Vec<(DnType, DnValue)>) -> Vec<u8> {
    certificate(subject, Vec::new())
}

fn named(common_name: &str) -> Vec<u8> {
    subject(vec![(DnType::CommonName, common_name.into())])
}

#[test]
fn the_distinguished_name_begins_with_the_last_attribute() {
    let certificate = subject(vec![
        (DnType::CountryName, "NL".into()),
        (DnType::OrganizationName, "Example B.V.".into()),
        (DnType::OrganizationalUnitName, "Orders".into()),
        (DnType::CommonName, "intake".into()),
        (DnType::CustomDnType(UID.to_vec()), "u7".into()),
        (DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99]), "x".into()),
    ]);
    assert_eq!(
        from("dn").name(&certificate).unwrap(),
        "1.3.6.1.4.1.99=x,UID=u7,CN=intake,OU=Orders,O=Example B.V.,C=NL"
    );
}

#[test]
fn the_distinguished_name_is_escaped() {
    let rows = [
        ("plain text", "plain text"),
        (" both ", "\\ both\\ "),
        (" ", "\\ "),
        ("#1", "\\#1"),
        ("a#1", "a#1"),
        ("a,b+c\"d\\e<f>g;h=i", "a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h=i"),
        ("Zoë", "Zo\\C3\\AB"),
        ("a\tb\u{7f}~", "a\\09b\\7F\\7E"),
    ];
    for (value, expected) in rows {
        assert_eq!(
            from("dn").name(&named(value)).unwrap(),
            format!("CN={expected}"),
            "{value:?}"
        );
        assert_eq!(
            from("cn").name(&named(value)).unwrap(),
            value,
            "the common name is not"
        );
    }
}

#[test]
fn attributes_that_stand_together_are_joined() {
    let value = |text: &'static [u8]| Any::from_tag_and_data(Tag::Utf8String, text);
    let common_name = AttributeTypeAndValue::new(oid!(2.5.4.3), value(b"a"));
    let serial = AttributeTypeAndValue::new(oid!(2.5.4.5), value(b"7"));
    let organization = AttributeTypeAndValue::new(oid!(2.5.4.10), value(b"o"));
    let name = X509Name::new(
        vec![
            RelativeDistinguishedName::new(vec![organization]),
            RelativeDistinguishedName::new(vec![common_name, serial]),
        ],
        &[],
    );
    assert_eq!(distinguished_name(&name).unwrap(), "CN=a+SERIALNUMBER=7,O=o");
}

#[test]
fn several_common_names_are_joined() {
    let value = |text: &'static [u8]| {
        let value = Any::from_tag_and_data(Tag::PrintableString, text);
        RelativeDistinguishedName::new(vec![AttributeTypeAndValue::new(oid!(2.5.4.3), value)])
    };
    let name = X509Name::new(vec![value(b"a"), value(b"b")], &[]);
    assert_eq!(common_name(&name).unwrap(), Some("a,b".to_owned()));
}

#[test]
fn every_kind_of_string_is_text() {
    let values = [
        DnValue::Utf8String("Zoë".to_owned()),
        DnValue::BmpString(BmpString::try_from("Zoë").unwrap()),
    ];
    for value in values {
        let certificate = subject(vec![(DnType::CommonName, value)]);
        assert_eq!(from("cn").name(&certificate).unwrap(), "Zoë");
    }
    let teletex = DnValue::TeletexString(TeletexString::try_from("hello").unwrap());
    assert_eq!(
        from("cn").name(&subject(vec![(DnType::CommonName, teletex)])),
        Ok("hello".to_owned())
    );
    let rows: [(Tag, &[u8], Option<&str>); 6] = [
        (Tag::TeletexString, b"Zo\xeb", Some("Zoë")),
        (Tag::UniversalString, b"\0\0\0Z\0\x01\xf6\x00", Some("Z\u{1f600}")),
        (Tag::UniversalString, b"\0\0\0Z\0", None),
        (Tag::BmpString, b"\0Z\xd8\0", None),
        (Tag::Utf8String, b"\xff", None),
        (Tag::Integer, b"\x07", None),
    ];
    for (tag, bytes, expected) in rows {
        assert_eq!(
            text(&Any::from_tag_and_data(tag, bytes)).as_deref(),
            expected,
            "{tag}"
        );
    }
}

#[test]
fn alternative_names_go_by_kind_and_index() {
    let ia5 = |text: &str| text.try_into().unwrap();
    let alternatives = vec![
        SanType::URI(ia5("spiffe://example/orders")),
        SanType::DnsName(ia5("one.example")),
        SanType::Rfc822Name(ia5("orders@example")),
        SanType::DnsName(ia5("two.example")),
        SanType::IpAddress([10, 0, 0, 7].into()),
        SanType::IpAddress(Ipv6Addr::LOCALHOST.into()),
        SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "orders@example.upn".into())),
    ];
    let certificate = certificate(vec![(DnType::CommonName, "cn".into())], alternatives);
    let rows = [
        ("san:dns", "one.example"),
        ("san:dns:0", "one.example"),
        ("san:dns:1", "two.example"),
        ("san:email", "orders@example"),
        ("san:uri", "spiffe://example/orders"),
        ("san:ip", "10.0.0.7"),
        ("san:ip:1", "::1"),
        ("san:other_name", "orders@example.upn"),
    ];
    for (place, expected) in rows {
        assert_eq!(from(place).name(&certificate).as_deref(), Ok(expected), "{place}");
    }
    for place in ["san:dns:2", "san:uri:1"] {
        assert_eq!(
            from(place).name(&certificate),
            Err(NoName::Absent(place.to_owned()))
        );
    }
}

#[test]
fn a_certificate_without_the_name_has_none() {
    let nobody = subject(Vec::new());
    for place in ["dn", "cn", "san:dns"] {
        assert_eq!(from(place).name(&nobody), Err(NoName::Absent(place.to_owned())));
    }
    assert_eq!(from("cn").name(&named("")), Err(NoName::Absent("cn".to_owned())));
    assert_eq!(from("dn").name(b"no certificate"), Err(NoName::Malformed));
}

#[test]
fn a_place_is_written_as_it_is_read() {
    for text in ["dn", "cn", "san:dns", "san:dns:3", "san:other_name", "san:ip:1"] {
        assert_eq!(from(text).to_string(), text);
    }
    assert_eq!(from("san:dns:0").to_string(), "san:dns");
    for text in [
        "",
        "DN",
        "san",
        "san:",
        "san:dns:",
        "san:dns:-1",
        "san:dns:1:2",
        "san:rfc822",
        "cn:1",
    ] {
        assert_eq!(text.parse::<NameFrom>(), Err(NameFromError), "{text:?}");
    }
}
