//! What the session contexts of a weak lane are made of. The same whether they are made here or by
//! the legacy child, which gets it in these bytes. It has private keys in it, and wipes them.

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::cipher_name;
use openssl::x509::X509;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::config::model::TlsVersion;
use crate::fields::{Reader, Short, Writer};
use crate::tls::lane::Lane;
use crate::tls::trust::ClientCert;

/// What both roles have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    pub lane: Lane,
    pub min_version: TlsVersion,
    pub max_version: TlsVersion,
    /// Up to TLS 1.2: OpenSSL's names, most preferred first, with colons between them.
    pub suites: String,
    /// Of TLS 1.3, alike.
    pub suites13: String,
    /// Protocols of ALPN, most preferred first; 255 bytes at most each.
    pub alpn: Vec<Vec<u8>>,
}

/// For either role.
#[derive(Clone, PartialEq, Eq)]
pub enum Spec {
    Server(ServerSpec),
    Client(ClientSpec),
}

/// To accept with.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerSpec {
    pub parameters: Parameters,
    /// The first is the default; never empty.
    pub identities: Vec<Identity>,
    pub client_cert: ClientCert,
    /// The CAs of clients' certificates, in DER.
    pub trusted: Vec<Vec<u8>>,
    pub sessions: Sessions,
    /// How long, in seconds, sessions and what protects tickets are kept.
    pub lifetime: u32,
    /// Who may resume whose sessions: those of equal domains, as long as the rest is equal, too.
    pub domain: [u8; 16],
}

/// To connect with.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSpec {
    pub parameters: Parameters,
    /// A DNS name; `None` sends none.
    pub sni: Option<String>,
    /// Shown where it is asked for.
    pub identity: Option<Identity>,
    /// The CAs of servers' certificates, in DER.
    pub trusted: Vec<Vec<u8>>,
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// DNS names that it is for, in lower case, wildcards as `*.example.com`.
    pub names: Vec<String>,
    /// DER, the own one first.
    pub chain: Vec<Vec<u8>>,
    /// DER: PKCS #8, or what was before it.
    pub key: Zeroizing<Vec<u8>>,
}

/// How peers may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    Off,
    /// By session id.
    Ids,
    /// By ticket, too, where no client has a certificate.
    Tickets,
}

/// Neither the keys nor anything else that is long.
impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Identity({:?})", self.names)
    }
}

/// OpenSSL's list of these suites, by their IANA names: up to TLS 1.2, and of TLS 1.3. Those that it
/// does not have are left out.
pub fn suites<'a>(names: impl IntoIterator<Item = &'a str>) -> (String, String) {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for name in names {
        match cipher_name(name) {
            "(NONE)" => {}
            // Of TLS 1.3 it has IANA's names.
            same if same == name => new.push(same),
            own => old.push(own),
        }
    }
    (old.join(":"), new.join(":"))
}

impl Spec {
    /// The bytes of it.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::new();
        match self {
            Self::Server(spec) => {
                writer.byte(SERVER);
                spec.write(&mut writer);
            }
            Self::Client(spec) => {
                writer.byte(CLIENT);
                spec.write(&mut writer);
            }
        }
        writer.0
    }

    /// From such bytes.
    ///
    /// # Errors
    /// Those are not the bytes of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let spec = match reader.byte()? {
            SERVER => Self::Server(ServerSpec::read(&mut reader)?),
            CLIENT => Self::Client(ClientSpec::read(&mut reader)?),
            _ => return Err(Malformed),
        };
        if reader.0.is_empty() { Ok(spec) } else { Err(Malformed) }
    }

    /// Equal specifications have equal digests, and nothing can be told from one.
    pub fn digest(&self) -> [u8; 32] {
        *digest(&SHA256, &self.encode()).as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }
}

impl ServerSpec {
    fn write(&self, writer: &mut Writer) {
        self.parameters.write(writer);
        list(writer, &self.identities, |writer, identity| identity.write(writer));
        writer.byte(code_of(&CLIENT_CERTS, &self.client_cert));
        list(writer, &self.trusted, |writer, ca| writer.bytes(ca));
        writer.byte(code_of(&SESSIONS, &self.sessions));
        writer.number(self.lifetime);
        writer.array(self.domain);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let spec = Self {
            parameters: Parameters::read(reader)?,
            identities: read_list(reader, Identity::read)?,
            client_cert: *CLIENT_CERTS.get(usize::from(reader.byte()?)).ok_or(Malformed)?,
            trusted: read_list(reader, bytes)?,
            sessions: *SESSIONS.get(usize::from(reader.byte()?)).ok_or(Malformed)?,
            lifetime: reader.number()?,
            domain: reader.array()?,
        };
        if spec.identities.is_empty() { Err(Malformed) } else { Ok(spec) }
    }
}

impl ClientSpec {
    fn write(&self, writer: &mut Writer) {
        self.parameters.write(writer);
        writer.option(self.sni.as_deref(), |writer, name| writer.bytes(name.as_bytes()));
        writer.option(self.identity.as_ref(), |writer, identity| identity.write(writer));
        list(writer, &self.trusted, |writer, ca| writer.bytes(ca));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let spec = Self {
            parameters: Parameters::read(reader)?,
            sni: if reader.byte()? == 1 { Some(text(reader)?) } else { None },
            identity: if reader.byte()? == 1 { Some(Identity::read(reader)?) } else { None },
            trusted: read_list(reader, bytes)?,
        };
        // OpenSSL takes it as a C string.
        let names_host = spec.sni.as_ref().is_none_or(|name| !name.contains('\0'));
        if names_host { Ok(spec) } else { Err(Malformed) }
    }
}

/// Bytes that are no specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no specification of a lane")]
pub struct Malformed;

impl From<Short> for Malformed {
    fn from(_: Short) -> Self {
        Self
    }
}

/// Which role it is for.
const SERVER: u8 = 0;
const CLIENT: u8 = 1;
const VERSIONS: [TlsVersion; 4] =
    [TlsVersion::V1_0, TlsVersion::V1_1, TlsVersion::V1_2, TlsVersion::V1_3];
const CLIENT_CERTS: [ClientCert; 4] =
    [ClientCert::None, ClientCert::Optional, ClientCert::Required, ClientCert::Report];
const SESSIONS: [Sessions; 3] = [Sessions::Off, Sessions::Ids, Sessions::Tickets];

impl Parameters {
    fn write(&self, writer: &mut Writer) {
        writer.byte(code_of(&Lane::ALL, &self.lane));
        writer.byte(code_of(&VERSIONS, &self.min_version));
        writer.byte(code_of(&VERSIONS, &self.max_version));
        writer.bytes(self.suites.as_bytes());
        writer.bytes(self.suites13.as_bytes());
        list(writer, &self.alpn, |writer, name| writer.bytes(name));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let parameters = Self {
            lane: *Lane::ALL.get(usize::from(reader.byte()?)).ok_or(Malformed)?,
            min_version: *VERSIONS.get(usize::from(reader.byte()?)).ok_or(Malformed)?,
            max_version: *VERSIONS.get(usize::from(reader.byte()?)).ok_or(Malformed)?,
            suites: text(reader)?,
            suites13: text(reader)?,
            alpn: read_list(reader, bytes)?,
        };
        let suites = [&parameters.suites, &parameters.suites13];
        let is_clean = suites.iter().all(|list| !list.contains('\0'))
            && parameters.alpn.iter().all(|name| u8::try_from(name.len()).is_ok());
        if is_clean { Ok(parameters) } else { Err(Malformed) }
    }
}

impl Identity {
    /// Whether the key is the certificate's.
    ///
    /// # Errors
    /// When OpenSSL can read one of them not.
    pub fn key_fits(&self) -> Result<bool, ErrorStack> {
        let key = PKey::private_key_from_der(&self.key)?;
        let leaf = X509::from_der(self.chain.first().map_or(&[][..], Vec::as_slice))?;
        Ok(leaf.public_key()?.public_eq(&key))
    }

    fn write(&self, writer: &mut Writer) {
        list(writer, &self.names, |writer, name| writer.bytes(name.as_bytes()));
        list(writer, &self.chain, |writer, certificate| writer.bytes(certificate));
        writer.bytes(&self.key);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            names: read_list(reader, text)?,
            chain: read_list(reader, bytes)?,
            key: Zeroizing::new(reader.bytes()?.to_vec()),
        })
    }
}

fn code_of<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let position = all.iter().position(|other| other == one).expect("every value is listed");
    u8::try_from(position).expect("four values at most")
}

fn list<T>(writer: &mut Writer, items: &[T], write: impl Fn(&mut Writer, &T)) {
    writer.number(u32::try_from(items.len()).expect("the configuration has limits"));
    for item in items {
        write(writer, item);
    }
}

fn read_list<T>(
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    // Not with room for as many as it says there are: each takes a byte at least.
    (0..reader.number()?).map(|_| read(reader)).collect()
}

fn text(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    String::from_utf8(reader.bytes()?.to_vec()).map_err(|_| Malformed)
}

fn bytes(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    Ok(reader.bytes()?.to_vec())
}
