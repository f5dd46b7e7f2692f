//! The user's name in a client's certificate, as `RabbitMQ` reads it. Whether the certificate may be trusted was
//! decided before, in the TLS handshake.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

use x509_parser::asn1_rs::{Any, Class, FromDer, Oid, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The part of a certificate that is the user's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFrom {
    /// The whole subject, written as RFC 4514 has it: `CN=orders,O=Example`.
    DistinguishedName,
    /// The subject's common name; several are joined with commas.
    CommonName,
    /// A subject alternative name.
    AlternativeName {
        /// Those of another kind are passed over.
        kind: AlternativeKind,
        /// Which of that kind, counted from zero.
        index: usize,
    },
}

/// What a subject alternative name can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlternativeKind {
    /// A host's name.
    Dns,
    /// An address for mail.
    Email,
    /// A URI, such as a SPIFFE identity.
    Uri,
    /// An IP address, as text.
    Ip,
    /// Any text under an object identifier, such as Microsoft's user principal name.
    OtherName,
}

/// Text that does not say where a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write \"dn\", \"cn\", or \"san:dns\", \"san:email\", \"san:uri\", \"san:ip\" or \"san:other_name\", after which \":1\" \
     takes the second of that kind"
)]
pub struct NameFromError;

/// Why a certificate names no user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoName {
    /// It is no X.509 certificate that can be read.
    #[error("the certificate can not be read")]
    Malformed,
    /// It has no such name, or an empty one.
    #[error("the certificate has no name under {0:?}")]
    Absent(String),
    /// The subject holds something that is no text.
    #[error("attribute {0} of the certificate's subject is no text")]
    NotText(String),
}

/// The attributes that have a name in RFC 4514 or in `RabbitMQ`; others go by their object identifier.
const ATTRIBUTES: [(&str, &str); 17] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "TITLE"),
    ("2.5.4.42", "GIVENNAME"),
    ("2.5.4.43", "INITIALS"),
    ("2.5.4.44", "GENERATIONQUALIFIER"),
    ("2.5.4.65", "PSEUDONYM"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "EMAILADDRESS"),
];

impl NameFrom {
    /// The user's name in a certificate, given as DER.
    ///
    /// # Errors
    /// When there is no such name in it. The reason is for the log.
    pub fn name(self, certificate: &[u8]) -> Result<String, NoName> {
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| NoName::Malformed)?;
        let subject = certificate.subject();
        let name = match self {
            Self::DistinguishedName => Some(distinguished_name(subject)?),
            Self::CommonName => common_name(subject)?,
            Self::AlternativeName { kind, index } => certificate
                .subject_alternative_name()
                .map_err(|_| NoName::Malformed)?
                .and_then(|names| {
                    let mut of_kind = names.value.general_names.iter().filter(|name| kind.is_of(name));
                    of_kind.nth(index).and_then(alternative_name)
                }),
        };
        name.filter(|name| !name.is_empty())
            .ok_or_else(|| NoName::Absent(self.to_string()))
    }
}

impl AlternativeKind {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Dns, "dns"),
        (Self::Email, "email"),
        (Self::Uri, "uri"),
        (Self::Ip, "ip"),
        (Self::OtherName, "other_name"),
    ];

    fn is_of(self, name: &GeneralName<'_>) -> bool {
        let kind = match name {
            GeneralName::DNSName(_) => Self::Dns,
            GeneralName::RFC822Name(_) => Self::Email,
            GeneralName::URI(_) => Self::Uri,
            GeneralName::IPAddress(_) => Self::Ip,
            GeneralName::OtherName(..) => Self::OtherName,
            _ => return false,
        };
        kind == self
    }
}

impl fmt::Display for NameFrom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DistinguishedName => formatter.write_str("dn"),
            Self::CommonName => formatter.write_str("cn"),
            Self::AlternativeName { kind, index } => {
                let (_, word) = AlternativeKind::ALL
                    .into_iter()
                    .find(|(known, _)| known == kind)
                    .expect("the list has every kind");
                write!(formatter, "san:{word}")?;
                if *index > 0 {
                    write!(formatter, ":{index}")?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for NameFrom {
    type Err = NameFromError;

    fn from_str(text: &str) -> Result<Self, NameFromError> {
        let (word, index) = match text {
            "dn" => return Ok(Self::DistinguishedName),
            "cn" => return Ok(Self::CommonName),
            _ => {
                let rest = text.strip_prefix("san:").ok_or(NameFromError)?;
                rest.split_once(':').unwrap_or((rest, "0"))
            }
        };
        let mut known = AlternativeKind::ALL.into_iter();
        let (kind, _) = known.find(|(_, name)| *name == word).ok_or(NameFromError)?;
        let index = index.parse().map_err(|_| NameFromError)?;
        Ok(Self::AlternativeName { kind, index })
    }
}

/// The last attribute first, as RFC 4514 has it; attributes that stand together are joined with `+`.
fn distinguished_name(subject: &X509Name<'_>) -> Result<String, NoName> {
    let mut parts = Vec::new();
    for together in subject.iter_rdn() {
        let attributes: Result<Vec<_>, _> = together.iter().map(attribute).collect();
        parts.push(attributes?.join("+"));
    }
    parts.reverse();
    Ok(parts.join(","))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Result<String, NoName> {
    let kind = attribute_name(attribute.attr_type());
    let value = text(attribute.attr_value()).ok_or_else(|| NoName::NotText(kind.clone()))?;
    Ok(format!("{kind}={}", escaped(&value)))
}

fn attribute_name(oid: &Oid<'_>) -> String {
    let dotted = oid.to_id_string();
    match ATTRIBUTES.iter().find(|(known, _)| *known == dotted) {
        Some((_, name)) => (*name).to_owned(),
        None => dotted,
    }
}

fn common_name(subject: &X509Name<'_>) -> Result<Option<String>, NoName> {
    let names: Option<Vec<_>> = subject
        .iter_common_name()
        .map(|name| text(name.attr_value()))
        .collect();
    let names = names.ok_or_else(|| NoName::NotText(String::from("CN")))?;
    Ok((!names.is_empty()).then(|| names.join(",")))
}

/// RFC 4514's escapes, and beyond them every byte that is not printable ASCII; `~` counts as such, as in `RabbitMQ`.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    let last = value.len().saturating_sub(1);
    for (position, byte) in value.bytes().enumerate() {
        match byte {
            b' ' | b'#' if position == 0 => escaped.extend(['\\', char::from(byte)]),
            b' ' if position == last => escaped.push_str("\\ "),
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => escaped.extend(['\\', char::from(byte)]),
            0..32 | 126.. => write!(escaped, "\\{byte:02X}").expect("a string takes everything"),
            _ => escaped.push(char::from(byte)),
        }
    }
    escaped
}

/// The text of any of ASN.1's string types. Teletex is taken for Latin-1, which is how it is used.
fn text(value: &Any<'_>) -> Option<String> {
    let bytes = value.as_bytes();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        Tag::TeletexString => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let (units, rest) = bytes.as_chunks();
            let units: Vec<_> = units.iter().copied().map(u16::from_be_bytes).collect();
            String::from_utf16(&units).ok().filter(|_| rest.is_empty())
        }
        Tag::UniversalString => {
            let (units, rest) = bytes.as_chunks();
            let characters = units.iter().copied().map(u32::from_be_bytes).map(char::from_u32);
            characters.collect::<Option<_>>().filter(|_| rest.is_empty())
        }
        _ => None,
    }
}

/// None for what is no text.
fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(octets) => ip(octets),
        GeneralName::OtherName(_, value) => other_name(value),
        _ => None,
    }
}

fn ip(octets: &[u8]) -> Option<String> {
    let address = match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).expect("four octets")),
        16 => IpAddr::from(<[u8; 16]>::try_from(octets).expect("sixteen octets")),
        _ => return None,
    };
    Some(address.to_string())
}

/// The value stands behind an explicit tag.
fn other_name(value: &[u8]) -> Option<String> {
    let (_, tagged) = Any::from_der(value).ok()?;
    if (tagged.class(), tagged.tag()) != (Class::ContextSpecific, Tag(0)) {
        return None;
    }
    let (_, value) = Any::from_der(tagged.as_bytes()).ok()?;
    text(&value)
}

#[cfg(test)]
mod tests;
