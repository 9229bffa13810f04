//! A ClientHello in parts (RFC 8446 §4.1.2), written with whatever is wrong about it.

pub const SERVER_NAME: u16 = 0;
pub const MAX_FRAGMENT_LENGTH: u16 = 1;
pub const SUPPORTED_GROUPS: u16 = 10;
pub const POINT_FORMATS: u16 = 11;
pub const SIGNATURE_ALGORITHMS: u16 = 13;
pub const ALPN: u16 = 16;
pub const PADDING: u16 = 21;
pub const EXTENDED_MASTER_SECRET: u16 = 23;
pub const RECORD_SIZE_LIMIT: u16 = 28;
pub const SESSION_TICKET: u16 = 35;
pub const PRE_SHARED_KEY: u16 = 41;
pub const SUPPORTED_VERSIONS: u16 = 43;
pub const PSK_MODES: u16 = 45;
pub const KEY_SHARE: u16 = 51;
pub const RENEGOTIATION_INFO: u16 = 0xff01;

/// Content types of records (RFC 8446 §5.1).
pub const CHANGE_CIPHER_SPEC: u8 = 20;
pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const APPLICATION_DATA: u8 = 23;

/// Longest body of a record.
pub const MAX_RECORD: usize = 1 << 14;

/// See the module. Lists are as on the wire, without the length before them.
#[derive(Clone, Debug)]
pub struct Hello {
    /// 1 for a ClientHello.
    pub kind: u8,
    pub version: [u8; 2],
    pub session_id: Vec<u8>,
    pub suites: Vec<u8>,
    pub compressions: Vec<u8>,
    /// Type and body; `None` leaves even their length out.
    pub extensions: Option<Vec<(u16, Vec<u8>)>>,
    /// Bytes after everything else, inside the message.
    pub rest: Vec<u8>,
    pub lies: Lies,
}

/// By how much the lengths that are written differ from the true ones.
#[derive(Clone, Debug, Default)]
pub struct Lies {
    pub message: i32,
    pub session_id: i32,
    pub suites: i32,
    pub compressions: i32,
    pub extensions: i32,
    /// For the extension of this type.
    pub extension: Option<(u16, i32)>,
}

impl Hello {
    /// What a client says that speaks TLS 1.3 and 1.2.
    pub fn tls13() -> Self {
        let mut hello = Self::tls12();
        hello.session_id = vec![0x5e; 32];
        hello.suites = vec![0x13, 1, 0x13, 2, 0x13, 3, 0xc0, 0x2b, 0xc0, 0x2c, 0xc0, 0x2f];
        // X25519 with the base point as the key, which is a valid one.
        let mut share = vec![0, 36, 0, 29, 0, 32, 9];
        share.resize(6 + 32, 0);
        hello.set(KEY_SHARE, &share);
        hello.set(SUPPORTED_VERSIONS, &[4, 3, 4, 3, 3]);
        hello.set(PSK_MODES, &[1, 1]);
        hello
    }

    /// What a client says that speaks TLS 1.2 only.
    pub fn tls12() -> Self {
        let mut hello = Self {
            kind: 1,
            version: [3, 3],
            session_id: Vec::new(),
            suites: vec![0xc0, 0x2b, 0xc0, 0x2c, 0xc0, 0x2f, 0xc0, 0x30],
            compressions: vec![0],
            extensions: Some(Vec::new()),
            rest: Vec::new(),
            lies: Lies::default(),
        };
        hello.set(SERVER_NAME, &server_name(b"localhost"));
        hello.set(SUPPORTED_GROUPS, &[0, 4, 0, 29, 0, 23]);
        hello.set(POINT_FORMATS, &[1, 0]);
        hello.set(SIGNATURE_ALGORITHMS, &[0, 8, 4, 3, 8, 7, 5, 3, 8, 4]);
        hello.set(EXTENDED_MASTER_SECRET, &[]);
        hello
    }

    /// Puts an extension in the place of the one of its type, or behind the others.
    pub fn set(&mut self, kind: u16, body: &[u8]) {
        let list = self.extensions.get_or_insert_default();
        match list.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, old)) => *old = body.to_vec(),
            None => list.push((kind, body.to_vec())),
        }
    }

    /// Puts an extension behind the others, whatever is there already.
    pub fn add(&mut self, kind: u16, body: &[u8]) {
        self.extensions.get_or_insert_default().push((kind, body.to_vec()));
    }

    pub fn remove(&mut self, kind: u16) {
        if let Some(list) = &mut self.extensions {
            list.retain(|(other, _)| *other != kind);
        }
    }

    /// The handshake message, its header included.
    pub fn message(&self) -> Vec<u8> {
        let mut body = self.version.to_vec();
        body.extend_from_slice(&[0x7a; 32]);
        list8(&mut body, &self.session_id, self.lies.session_id);
        list16(&mut body, &self.suites, self.lies.suites);
        list8(&mut body, &self.compressions, self.lies.compressions);
        if let Some(list) = &self.extensions {
            let mut extensions = Vec::new();
            for (kind, content) in list {
                extensions.extend_from_slice(&kind.to_be_bytes());
                let lie = self.lies.extension.filter(|(other, _)| other == kind);
                list16(&mut extensions, content, lie.map_or(0, |(_, lie)| lie));
            }
            list16(&mut body, &extensions, self.lies.extensions);
        }
        body.extend_from_slice(&self.rest);
        let [_, length @ ..] = shifted(body.len(), self.lies.message).to_be_bytes();
        [&[self.kind][..], &length, &body].concat()
    }

    /// The message in records as few as it takes.
    pub fn stream(&self) -> Vec<u8> {
        records(&self.message(), MAX_RECORD)
    }
}

/// The content of a server_name extension with one host name.
pub fn server_name(name: &[u8]) -> Vec<u8> {
    let mut entry = vec![0];
    list16(&mut entry, name, 0);
    let mut list = Vec::new();
    list16(&mut list, &entry, 0);
    list
}

/// One record of TLS 1.0, as the first ones of clients are.
pub fn record(content: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![content, 3, 1];
    list16(&mut record, body, 0);
    record
}

/// A handshake message in records of at most `size` bytes.
pub fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size.clamp(1, MAX_RECORD)).flat_map(|body| record(HANDSHAKE, body)).collect()
}

/// Writes the true length of `message` into its header, which must be there.
pub fn fix_length(message: &mut [u8]) {
    let [_, length @ ..] = shifted(message.len() - 4, 0).to_be_bytes();
    message[1..4].copy_from_slice(&length);
}

/// Appends a length of one byte and the content.
pub fn list8(bytes: &mut Vec<u8>, content: &[u8], lie: i32) {
    bytes.push(shifted(content.len(), lie).to_be_bytes()[3]);
    bytes.extend_from_slice(content);
}

/// Appends a length of two bytes and the content.
pub fn list16(bytes: &mut Vec<u8>, content: &[u8], lie: i32) {
    bytes.extend_from_slice(&shifted(content.len(), lie).to_be_bytes()[2..]);
    bytes.extend_from_slice(content);
}

/// Lies and lengths that do not fit their field wrap around, as they do in broken clients.
fn shifted(length: usize, lie: i32) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX).wrapping_add_signed(lie)
}
