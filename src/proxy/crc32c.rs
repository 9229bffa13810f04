//! CRC32c (Castagnoli), as in RFC 4960 appendix B: once per connection at most, so a table of 1 KiB
//! will do.

const TABLE: [u32; 256] = table();

/// Over pieces that follow each other.
pub(super) fn crc32c<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let bytes = pieces.into_iter().flatten();
    !bytes.fold(!0, |crc: u32, byte| {
        let [low, ..] = crc.to_le_bytes();
        crc >> 8 ^ TABLE[usize::from(low ^ byte)]
    })
}

#[expect(clippy::cast_possible_truncation, reason = "indices are less than 256")]
const fn table() -> [u32; 256] {
    /// The polynomial 0x1edc6f41 with its bits reversed.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720 appendix B.4, and the check value of the catalogue of CRCs.
    #[test]
    fn known_sums() {
        assert_eq!(crc32c([[0; 32].as_slice()]), 0x8a91_36aa);
        assert_eq!(crc32c([[0xff; 32].as_slice()]), 0x62a8_ab43);
        assert_eq!(crc32c([b"12345".as_slice(), b"", b"6789"]), 0xe306_9283);
    }
}
