//! Bytes as text: hex, with runs of one byte as `(00x16000)`.

/// Runs shorter than this are written out.
const MIN_RUN: usize = 6;

/// `-` for no bytes.
pub fn write(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    let same = bytes.chunk_by(|one, other| one == other);
    same.map(|run| match run.len() {
        length if length >= MIN_RUN => format!("({:02x}x{length})", run[0]),
        length => format!("{:02x}", run[0]).repeat(length),
    })
    .collect()
}

/// `None` when the text is not of this form.
pub fn read(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = if text == "-" { "" } else { text };
    while !rest.is_empty() {
        if let Some(run) = rest.strip_prefix('(') {
            let (run, after) = run.split_once(')')?;
            let (byte, length) = run.split_once('x')?;
            let length: usize = length.parse().ok()?;
            bytes.resize(bytes.len() + length, u8::from_str_radix(byte, 16).ok()?);
            rest = after;
        } else {
            let (byte, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(byte, 16).ok()?);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for bytes in [&b""[..], b"\0", b"GET / HTTP/1.1", &[7; 5], &[7; 70_000], &[1, 1, 2, 2, 2]] {
            assert_eq!(read(&write(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(write(&[0; 9]), "(00x9)");
        for text in ["0", "zz", "(00", "(00x)", "(zzx1)", "--"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
