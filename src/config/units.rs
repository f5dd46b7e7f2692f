//! Values with a unit, read from text and written back: sizes, durations, addresses, the memory watermark.

use std::fmt;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How much memory is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Watermark {
    /// A share of the machine's (or container's) memory, above 0 and at most 1.
    Ratio(f64),
    /// So many bytes.
    Bytes(u64),
}

impl Serialize for Watermark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ratio(ratio) => serializer.serialize_f64(*ratio),
            Self::Bytes(bytes) => serializer.serialize_str(&format_size(*bytes)),
        }
    }
}

impl<'de> Deserialize<'de> for Watermark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WatermarkVisitor)
    }
}

struct WatermarkVisitor;

impl de::Visitor<'_> for WatermarkVisitor {
    type Value = Watermark;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a ratio such as 0.6 or a size such as \"4 GiB\"")
    }

    fn visit_f64<E: de::Error>(self, ratio: f64) -> Result<Watermark, E> {
        Ok(Watermark::Ratio(ratio))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Watermark, E> {
        if number == 1 {
            Ok(Watermark::Ratio(1.0))
        } else {
            SizeVisitor.visit_i64(number).map(Watermark::Bytes)
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Watermark, E> {
        SizeVisitor.visit_str(text).map(Watermark::Bytes)
    }
}

/// Sizes: `"64 MiB"`, `"50 MB"` or an integer of bytes.
pub(super) mod size {
    use super::{Deserializer, Serializer, SizeVisitor, de, format_size};

    pub(in crate::config) fn serialize<S, T>(size: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: Copy + Into<u64>,
    {
        serializer.serialize_str(&format_size((*size).into()))
    }

    pub(in crate::config) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: TryFrom<u64>,
    {
        let bytes = deserializer.deserialize_any(SizeVisitor)?;
        T::try_from(bytes).map_err(|_| de::Error::custom(format!("{} is too large", format_size(bytes))))
    }
}

/// Limits: a number, or -1 for none.
pub(super) mod limit {
    use super::{Deserialize, Deserializer, Serializer, de};

    #[expect(
        clippy::ref_option,
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes the field so"
    )]
    pub(in crate::config) fn serialize<S: Serializer>(
        max: &Option<u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(max.map_or(-1, i64::from))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u32>, D::Error> {
        let number = i64::deserialize(deserializer)?;
        match (number, u32::try_from(number)) {
            (-1, _) => Ok(None),
            (_, Ok(max)) => Ok(Some(max)),
            _ => Err(de::Error::custom(format!(
                "{number} is no limit: write a number from 0 to 4294967295, or -1 for no limit"
            ))),
        }
    }
}

struct SizeVisitor;

impl de::Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a size such as \"64 MiB\", \"50 MB\" or a number of bytes")
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<u64, E> {
        u64::try_from(bytes).map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        let size = text.parse::<ByteSize>();
        size.map(|size| size.as_u64())
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// The shortest exact way to write a size; binary units before decimal ones.
fn format_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 8] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    let fitting = UNITS
        .iter()
        .filter(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    match fitting.min_by_key(|(unit, _)| bytes / unit) {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// Durations: `"30s"`, `"5m"`, `"250ms"`, `"1h 30m"`. Never a bare number: nobody knows its unit.
pub(super) mod duration {
    use std::time::Duration;

    use super::{Deserializer, DurationVisitor, Serializer};

    pub(in crate::config) fn serialize<S>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(in crate::config) fn deserialize<'de, D>(deserializer: D) -> Result<Duration, D::Error>
    where
        D: Deserializer<'de>,
    {
        deserializer.deserialize_any(DurationVisitor)
    }
}

struct DurationVisitor;

impl de::Visitor<'_> for DurationVisitor {
    type Value = std::time::Duration;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a duration with its unit such as \"30s\", \"250ms\" or \"5m\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        humantime::parse_duration(text).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// Addresses to listen on.
pub(super) mod addresses {
    use std::net::SocketAddr;

    use super::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::config) fn serialize<S>(addresses: &[SocketAddr], serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        serializer.collect_seq(addresses)
    }

    pub(in crate::config) fn deserialize<'de, D>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let parse = |text: String| {
            text.parse().map_err(|_| {
                de::Error::custom(format!(
                    "{text:?} is no address and port; write \"127.0.0.1:5672\", \"0.0.0.0:5672\" or \"[::]:5672\""
                ))
            })
        };
        texts.into_iter().map(parse).collect()
    }
}

/// Addresses and networks that are trusted with something.
pub(super) mod networks {
    use std::net::IpAddr;

    use ipnet::IpNet;

    use super::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::config) fn serialize<S>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        let texts = networks.iter().map(|network| {
            if network.prefix_len() == network.max_prefix_len() {
                network.addr().to_string()
            } else {
                network.to_string()
            }
        });
        serializer.collect_seq(texts)
    }

    pub(in crate::config) fn deserialize<'de, D>(deserializer: D) -> Result<Vec<IpNet>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let parse = |text: String| {
            let address = text.parse::<IpAddr>().map(IpNet::from);
            let network = address.or_else(|_| text.parse::<IpNet>());
            network.map_err(|_| {
                de::Error::custom(format!(
                    "{text:?} is no address and no network; write \"127.0.0.1\", \"10.0.0.0/8\" or \"fd00::/8\""
                ))
            })
        };
        texts.into_iter().map(parse).collect()
    }
}

/// Anything that is written in one way of its own.
pub(super) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use super::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::config) fn serialize<S, T>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: Display,
    {
        serializer.collect_str(value)
    }

    pub(in crate::config) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| de::Error::custom(format!("{text:?} is not understood: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_written_exactly_in_the_largest_unit_that_fits() {
        let rows = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (131_072, "128 KiB"),
            (50_000_000, "50 MB"),
            (16 << 20, "16 MiB"),
            (3 << 40, "3 TiB"),
            ((1 << 20) + 1, "1048577 B"),
        ];
        for (bytes, text) in rows {
            assert_eq!(format_size(bytes), text);
            assert_eq!(text.parse::<ByteSize>().unwrap().as_u64(), bytes, "{text}");
        }
    }
}
