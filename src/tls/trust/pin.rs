//! Pins as people write them.

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER_PERMISSIVE};

/// The SHA-256 of a SubjectPublicKeyInfo from base64 or hexadecimal, the latter with colons if you
/// like; `sha256/` and `sha256//` in front are left out.
///
/// `openssl x509 -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary |
/// base64` makes one.
///
/// # Errors
/// What is allowed, if it is something else.
pub fn parse_pin(text: &str) -> Result<[u8; 32], &'static str> {
    let allowed = "the SHA-256 of a public key: 44 characters of base64 or 64 hexadecimal digits";
    let digest = text.strip_prefix("sha256/").unwrap_or(text);
    // The second slash of `sha256//` is one too many; any other is a digit of base64.
    let shorter = digest.strip_prefix('/').filter(|_| digest != text);
    decode(digest).or_else(|| decode(shorter?)).ok_or(allowed)
}

fn decode(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.chars().filter(|character| *character != ':').collect();
    let bytes = match digits.len() {
        64 => HEXLOWER_PERMISSIVE.decode(digits.as_bytes()),
        43 => BASE64_NOPAD.decode(text.as_bytes()),
        _ => BASE64.decode(text.as_bytes()),
    };
    bytes.ok()?.try_into().ok()
}
