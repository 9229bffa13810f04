//! The little HTTP that asking the admin port takes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::admin::page::DATA;
use crate::cli::disarmed;

/// How long connecting, and each wait for an answer, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes: many times a usual one.
const LONGEST: u64 = 8 * 1024 * 1024;

/// What the gateway answers to this question; else why there is no answer, in words.
pub(super) fn get<T: DeserializeOwned>(address: SocketAddr, query: &str) -> Result<T, String> {
    let told = |error: io::Error| format!("{address}: the admin port does not answer: {error}");
    let text = exchange(address, query).map_err(told)?;
    let strange = || format!("{address}: this is no admin port of tlsgate");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(strange)?;
    match head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)) {
        Some("200") => serde_json::from_str(body)
            .map_err(|error| format!("{address}: the gateway is of another version: {error}")),
        Some("404") => Err(format!("{address}: the gateway is of an earlier version")),
        Some(_) => Err(format!("{address}: {}", disarmed(body.trim()))),
        None => Err(strange()),
    }
}

fn exchange(address: SocketAddr, query: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let line = format!("GET {DATA}?{query} HTTP/1.1\r\n");
    stream.write_all(format!("{line}Host: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// Text for a URL.
pub(super) fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let byte = |byte| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_encoded_byte_by_byte() {
        assert_eq!(encoded("a-1._~"), "a-1._~");
        assert_eq!(encoded("a b/ü&="), "a%20b%2F%C3%BC%26%3D");
    }
}
