//! Fields in a row, for what processes of one gateway say to each other: numbers in network order,
//! texts and bytes behind their length.

use zeroize::Zeroizing;

/// Puts fields into memory that is wiped.
pub(crate) struct Writer(pub(crate) Zeroizing<Vec<u8>>);

/// Takes them out again.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

/// The fields end before they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short;

impl Writer {
    pub(crate) fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(64)))
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn number(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        // A length beyond u32 makes the whole too long, which the caller refuses.
        self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.reserve_exact(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Bytes whose number is known to whoever reads them.
    pub(crate) fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        self.0.extend_from_slice(&bytes);
    }

    /// A field that may be missing.
    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Short> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn number(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Short> {
        let length = usize::try_from(self.number()?).map_err(|_| Short)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Short)?;
        self.0 = rest;
        Ok(bytes)
    }
}
