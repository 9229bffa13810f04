//! What a ClientHello says (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2), read strictly and in place.
//!
//! Nothing is allocated: lists are views of the message. Unknown extensions are skipped. A
//! server name never makes the hello malformed, because peers that send strange ones exist and
//! what to do about them is policy.

use rustls::pki_types::{DnsName, IpAddr};

use super::{CLIENT_HELLO, HelloError, MAX_RECORD, MESSAGE_HEADER};

/// Most extensions in one hello; real ones have fewer than thirty.
const MAX_EXTENSIONS: usize = 128;

pub(super) const SERVER_NAME: u16 = 0;
const MAX_FRAGMENT_LENGTH: u16 = 1;
pub(super) const SUPPORTED_GROUPS: u16 = 10;
pub(super) const SIGNATURE_ALGORITHMS: u16 = 13;
pub(super) const ALPN: u16 = 16;
const RECORD_SIZE_LIMIT: u16 = 28;
const SESSION_TICKET: u16 = 35;
const PRE_SHARED_KEY: u16 = 41;
pub(super) const SUPPORTED_VERSIONS: u16 = 43;

/// A ClientHello. Numbers are those of the IANA registries.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    pub legacy_version: u16,
    /// As listed in supported_versions, GREASE values included; the legacy version alone for
    /// peers that do not send that extension.
    pub versions: U16s<'a>,
    pub sni: Option<Sni<'a>>,
    /// Empty when ALPN is not used.
    pub alpn: AlpnProtocols<'a>,
    pub cipher_suites: U16s<'a>,
    pub groups: U16s<'a>,
    pub signature_schemes: U16s<'a>,
    /// 0 to 32.
    pub session_id_length: u8,
    /// A session ticket to resume with (RFC 5077).
    pub has_ticket: bool,
    /// A pre-shared key offered, which is how TLS 1.3 resumes.
    pub has_psk: bool,
    /// Longest record that the peer takes (RFC 8449).
    pub record_size_limit: Option<u16>,
    /// Code of RFC 6066 §4: 1 is 512 bytes, 4 is 4,096.
    pub max_fragment_length: Option<u8>,
    pub extensions: usize,
    /// Whether it came in the format of SSL 2 (RFC 5246 appendix E.2), which has no extensions.
    pub is_sslv2_format: bool,
    /// Whether `versions` comes from supported_versions.
    lists_versions: bool,
}

/// The host name that the peer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sni<'a> {
    /// As sent; the whole extension when it is not even a list of names.
    pub bytes: &'a [u8],
    pub form: SniForm,
}

/// What kind of name an SNI holds. rustls takes the first two only, the second as if it were not
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SniForm {
    /// A valid DNS name. Underscores and a trailing dot are tolerated.
    DnsName,
    /// An IP address as text, which RFC 6066 §3 forbids.
    IpAddress,
    /// A name with other characters, or lengths out of bounds.
    BadName,
    /// Not a list with one host name.
    BadList,
}

/// A list of 16-bit numbers inside the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct U16s<'a>(&'a [u8]);

/// The protocol names of ALPN (RFC 7301), inside the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlpnProtocols<'a>(&'a [u8]);

impl<'a> Hello<'a> {
    /// Reads a handshake message, its four header bytes included.
    ///
    /// # Errors
    /// [`HelloError::Malformed`] when a length is wrong, [`HelloError::Unexpected`] when it is
    /// another message, [`HelloError::Illegal`] when an extension comes twice or a pre-shared key
    /// is not last.
    pub fn parse(message: &'a [u8]) -> Result<Self, HelloError> {
        let mut reader = Reader(message);
        if reader.u8("message type")? != CLIENT_HELLO {
            return Err(HelloError::Unexpected("a handshake message of another type"));
        }
        let length = reader.take(MESSAGE_HEADER - 1, "message length")?;
        let mut length_bytes = [0; 4];
        length_bytes[1..].copy_from_slice(length);
        if usize::try_from(u32::from_be_bytes(length_bytes)) != Ok(reader.0.len()) {
            return Err(HelloError::Malformed("message length"));
        }
        let version = reader.take(2, "legacy_version")?;
        reader.take(32, "random")?;
        let session_id = reader.list8("session id")?;
        if session_id.len() > 32 {
            return Err(HelloError::Malformed("session id longer than 32 bytes"));
        }
        let cipher_suites = U16s::read(reader.list16("cipher suites")?, "cipher suites")?;
        if reader.list8("compression methods")?.is_empty() {
            return Err(HelloError::Malformed("no compression method"));
        }
        let mut hello = Self {
            legacy_version: u16::from_be_bytes([version[0], version[1]]),
            versions: U16s(version),
            sni: None,
            alpn: AlpnProtocols::default(),
            cipher_suites,
            groups: U16s::default(),
            signature_schemes: U16s::default(),
            session_id_length: u8::try_from(session_id.len()).expect("at most 32"),
            has_ticket: false,
            has_psk: false,
            record_size_limit: None,
            max_fragment_length: None,
            extensions: 0,
            is_sslv2_format: false,
            lists_versions: false,
        };
        // Hellos without extensions end here (RFC 5246 §7.4.1.2).
        if !reader.0.is_empty() {
            let extensions = reader.list16("extensions")?;
            reader.end("bytes after the extensions")?;
            hello.read_extensions(Reader(extensions))?;
        }
        Ok(hello)
    }

    /// Whether TLS 1.2 (0x0303) is among the versions offered. A legacy version above it, without
    /// the extension, offers it too, whatever that version is (RFC 8446 §4.2.1).
    pub fn offers_tls12(&self) -> bool {
        if self.lists_versions {
            self.versions.contains(0x0303)
        } else {
            self.legacy_version >= 0x0303
        }
    }

    /// Whether TLS 1.3 (0x0304) is among the versions offered, which takes the extension.
    pub fn offers_tls13(&self) -> bool {
        self.lists_versions && self.versions.contains(0x0304)
    }

    /// Whether a version up to TLS 1.1 (0x0302) is offered. Without the extension, the legacy version
    /// stands for all up to it (RFC 5246 appendix E.1).
    pub fn offers(&self, version: u16) -> bool {
        if self.lists_versions {
            self.versions.contains(version)
        } else {
            self.legacy_version >= version
        }
    }

    /// Whether the peer comes back with a session, as far as it says. Where it offers TLS 1.3, an id
    /// says nothing: it may be one that middleboxes want (RFC 8446 appendix D.4).
    pub fn wants_to_resume(&self) -> bool {
        self.has_psk || self.has_ticket || self.session_id_length > 0 && !self.offers_tls13()
    }

    /// The newest version offered, SSL 3 (0x0300) included; `None` where there is none that anybody
    /// knows.
    pub fn newest_version(&self) -> Option<u16> {
        if self.lists_versions {
            return self
                .versions
                .iter()
                .filter(|version| (0x0300..=0x0304).contains(version))
                .max();
        }
        (self.legacy_version >= 0x0300).then(|| self.legacy_version.min(0x0303))
    }

    /// Most content of a record that the peer takes, if it takes less than all do. What it says need
    /// not be answered for records to be so small (RFC 8449 §4, RFC 6066 §4), nor is it: rustls
    /// does not know of it.
    pub fn max_content(&self) -> Option<u16> {
        match (self.record_size_limit, self.max_fragment_length) {
            // RFC 8449 §5: it counts, and not the older one. In TLS 1.3 the content type is part of
            // it; less than 64 is an error, and not ours to find.
            (Some(limit @ 64..), _) => {
                Some(limit - 1).filter(|most| usize::from(*most) < MAX_RECORD)
            }
            (None, Some(code @ 1..=4)) => Some(1 << (8 + code)),
            _ => None,
        }
    }

    fn read_extensions(&mut self, mut reader: Reader<'a>) -> Result<(), HelloError> {
        let mut seen = [0; MAX_EXTENSIONS];
        while !reader.0.is_empty() {
            let kind = reader.u16("extension type")?;
            let body = reader.list16("extension")?;
            if seen[..self.extensions].contains(&kind) {
                return Err(HelloError::Illegal("an extension comes twice"));
            }
            if self.has_psk {
                return Err(HelloError::Illegal("pre_shared_key is not the last extension"));
            }
            *seen
                .get_mut(self.extensions)
                .ok_or(HelloError::Malformed("more than 128 extensions"))? = kind;
            self.extensions += 1;
            self.read_extension(kind, body)?;
        }
        Ok(())
    }

    fn read_extension(&mut self, kind: u16, body: &'a [u8]) -> Result<(), HelloError> {
        let mut reader = Reader(body);
        match kind {
            SERVER_NAME => {
                self.sni = Some(Sni::read(body));
                return Ok(());
            }
            MAX_FRAGMENT_LENGTH => {
                self.max_fragment_length = Some(reader.u8("max_fragment_length")?);
            }
            SUPPORTED_GROUPS => {
                self.groups = U16s::read(reader.list16("supported_groups")?, "supported_groups")?;
            }
            SIGNATURE_ALGORITHMS => {
                let list = reader.list16("signature_algorithms")?;
                self.signature_schemes = U16s::read(list, "signature_algorithms")?;
            }
            ALPN => self.alpn = AlpnProtocols::parse(reader.list16("ALPN")?)?,
            RECORD_SIZE_LIMIT => self.record_size_limit = Some(reader.u16("record_size_limit")?),
            SUPPORTED_VERSIONS => {
                let list = reader.list8("supported_versions")?;
                self.versions = U16s::read(list, "supported_versions")?;
                self.lists_versions = true;
            }
            SESSION_TICKET => {
                self.has_ticket = !body.is_empty();
                return Ok(());
            }
            PRE_SHARED_KEY => {
                self.has_psk = true;
                return Ok(());
            }
            _ => return Ok(()),
        }
        reader.end("bytes after the content of an extension")
    }
}

impl<'a> Sni<'a> {
    /// The name, if it is a valid DNS name.
    pub fn dns_name(&self) -> Option<&'a str> {
        let name = std::str::from_utf8(self.bytes).ok();
        name.filter(|_| self.form == SniForm::DnsName)
    }

    fn read(extension: &'a [u8]) -> Self {
        let Ok(bytes) = Self::host_name(extension) else {
            return Self { bytes: extension, form: SniForm::BadList };
        };
        let form = match std::str::from_utf8(bytes) {
            Ok(name) if DnsName::try_from(name).is_ok() => SniForm::DnsName,
            Ok(name) if IpAddr::try_from(name).is_ok() => SniForm::IpAddress,
            _ => SniForm::BadName,
        };
        Self { bytes, form }
    }

    /// RFC 6066 §3: a list that has one name of each type. Behind a name of a type that is not
    /// defined, nothing can be read.
    fn host_name(extension: &'a [u8]) -> Result<&'a [u8], HelloError> {
        let mut reader = Reader(extension);
        let mut list = Reader(reader.list16("server names")?);
        if list.u8("name type")? != 0 {
            return Err(HelloError::Malformed("name type"));
        }
        let name = list.list16("host name")?;
        if list.0.first() == Some(&0) {
            return Err(HelloError::Malformed("two host names"));
        }
        reader.end("bytes after the server names")?;
        Ok(name)
    }
}

impl<'a> U16s<'a> {
    /// The numbers, in the order of the message.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.0.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair))
    }

    pub fn contains(&self, number: u16) -> bool {
        self.iter().any(|other| other == number)
    }

    pub fn len(&self) -> usize {
        self.0.len() / 2
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All lists of numbers in a ClientHello must hold something.
    fn read(list: &'a [u8], what: &'static str) -> Result<Self, HelloError> {
        let whole = !list.is_empty() && list.len().is_multiple_of(2);
        if whole { Ok(Self(list)) } else { Err(HelloError::Malformed(what)) }
    }
}

impl<'a> AlpnProtocols<'a> {
    /// The names, most preferred first.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader(self.0);
        // The lengths were checked when the list was read.
        std::iter::from_fn(move || reader.list8("ALPN").ok())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first names, as they are in the extension: as many as fit into `most` bytes.
    pub fn first_within(&self, most: usize) -> &'a [u8] {
        let fitting = self.iter().scan(0, |end, name| {
            *end += 1 + name.len();
            Some(*end)
        });
        &self.0[..fitting.take_while(|end| *end <= most).last().unwrap_or(0)]
    }

    /// The list of names as it is in the extension, without its own length.
    ///
    /// # Errors
    /// [`HelloError::Malformed`].
    pub fn parse(list: &'a [u8]) -> Result<Self, HelloError> {
        let mut reader = Reader(list);
        loop {
            if reader.list8("ALPN")?.is_empty() {
                return Err(HelloError::Malformed("empty name in ALPN"));
            }
            if reader.0.is_empty() {
                return Ok(Self(list));
            }
        }
    }
}

/// What is left to read. Every read names what it is after, for the error.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(HelloError::Malformed(what))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, HelloError> {
        Ok(self.take(1, what)?[0])
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, HelloError> {
        let bytes = self.take(2, what)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Bytes after a length of one byte.
    fn list8(&mut self, what: &'static str) -> Result<&'a [u8], HelloError> {
        let length = self.u8(what)?;
        self.take(usize::from(length), what)
    }

    /// Bytes after a length of two bytes.
    fn list16(&mut self, what: &'static str) -> Result<&'a [u8], HelloError> {
        let length = self.u16(what)?;
        self.take(usize::from(length), what)
    }

    fn end(&self, what: &'static str) -> Result<(), HelloError> {
        if self.0.is_empty() { Ok(()) } else { Err(HelloError::Malformed(what)) }
    }
}
