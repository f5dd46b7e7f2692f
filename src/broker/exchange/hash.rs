//! A hash that is the same in every run and version: what it placed yesterday is where it was.
//!
//! Not for secrets: whoever knows it can make keys that meet, and gains nothing but an uneven spread of his own.

/// Bytes to a number of which every bit depends on every byte: FNV-1a, whose high bits alone would be poor, mixed.
pub(super) fn of(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// Another number for each number, with no likeness between those of neighbours: the last step of `SplitMix64`.
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A number that an exchange or queue keeps when it is declared anew under its name.
pub fn fingerprint(is_queue: bool, name: &str) -> u64 {
    of(name.as_bytes()) ^ u64::from(is_queue)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever changes these moves keys to other queues.
    #[test]
    fn it_gives_what_it_always_gave() {
        let rows: [(&[u8], u64); 3] = [
            (b"", 0xf52a_15e9_a9b5_e89b),
            (b"a", 0x02c0_bdbf_4814_20f8),
            (b"orders.7", 0x2afc_3fa2_ba66_c8d9),
        ];
        for (bytes, expected) in rows {
            assert_eq!(of(bytes), expected, "{bytes:?}");
        }
    }
}
