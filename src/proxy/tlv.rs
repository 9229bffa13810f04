//! What follows the addresses: types, lengths and values (§2.2.1 to §2.2.8).

use super::ProxyError;
use super::crc32c::crc32c;

pub(super) const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
pub(super) const CRC32C: u8 = 0x03;
pub(super) const NOOP: u8 = 0x04;
pub(super) const UNIQUE_ID: u8 = 0x05;
pub(super) const TLS: u8 = 0x20;
pub(super) const NETNS: u8 = 0x30;

pub(super) const TLS_VERSION: u8 = 0x21;
pub(super) const TLS_CN: u8 = 0x22;
pub(super) const TLS_CIPHER: u8 = 0x23;
pub(super) const TLS_SIG_ALG: u8 = 0x24;
pub(super) const TLS_KEY_ALG: u8 = 0x25;
pub(super) const TLS_GROUP: u8 = 0x26;
pub(super) const TLS_SIG_SCHEME: u8 = 0x27;
pub(super) const TLS_CLIENT_CERT: u8 = 0x28;

pub(super) const CLIENT_TLS: u8 = 0x01;
pub(super) const CLIENT_CERT_CONN: u8 = 0x02;
pub(super) const CLIENT_CERT_SESS: u8 = 0x04;

/// Type and length.
pub(super) const TLV_HEAD: usize = 3;
/// Longest unique id (§2.2.5).
const MAX_UNIQUE_ID: usize = 128;
/// Values of one header, in both levels: far more than there are types in use, and few enough that
/// those of three bytes do not make much memory out of little.
const MAX_TLVS: usize = 128;

/// What a header says besides addresses. Where a type stands more than once, the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlvs {
    /// Whether there is a checksum: verified when read, added when made.
    pub checksum: bool,
    /// The protocol of the connection, such as `h2`.
    pub alpn: Option<Vec<u8>>,
    /// The host that the client asked for: SNI.
    pub authority: Option<String>,
    /// At most 128 bytes.
    pub unique_id: Option<Vec<u8>>,
    pub tls: Option<TlsInfo>,
    /// Name of the network namespace.
    pub netns: Option<String>,
    /// All other types, in their order: 0xe0 to 0xef are for applications.
    pub others: Vec<(u8, Vec<u8>)>,
}

/// The TLS connection of the client; called SSL in the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// The client speaks TLS.
    pub is_tls: bool,
    /// It gave a certificate on this connection, or on the first one of its session.
    pub cert_on_connection: bool,
    pub cert_at_origin: bool,
    /// 0 if its certificate was verified; HAProxy (2.6) says 0 also of one that was not given:
    /// [`Self::is_verified`] asks for both.
    pub verify: u32,
    /// Such as `TLSv1.3`.
    pub version: Option<String>,
    /// Common name on its certificate.
    pub common_name: Option<String>,
    /// Such as `TLS_AES_128_GCM_SHA256`.
    pub cipher: Option<String>,
    /// How the certificate that the client was shown is signed, and what key it has: `RSA-SHA256`,
    /// `RSA2048`.
    pub sig_alg: Option<String>,
    pub key_alg: Option<String>,
    /// Key exchange, such as `x25519`, and signature of the handshake, such as `rsa_pss_rsae_sha256`.
    pub group: Option<String>,
    pub sig_scheme: Option<String>,
    /// The client's certificate, DER.
    pub client_cert: Option<Vec<u8>>,
}

impl Tlvs {
    /// `bytes` are those at the end of `header`.
    pub(super) fn parse(header: &[u8], bytes: &[u8]) -> Result<Self, ProxyError> {
        let mut tlvs = Self::default();
        let mut left = MAX_TLVS;
        let mut rest = bytes;
        while let Some((kind, value)) = next(&mut rest, &mut left)? {
            match kind {
                ALPN => first(&mut tlvs.alpn, value.to_vec()),
                AUTHORITY => first(&mut tlvs.authority, text(value)?),
                CRC32C => {
                    // The value ends where the rest begins.
                    verify(header, header.len() - rest.len(), value)?;
                    tlvs.checksum = true;
                }
                NOOP => {}
                UNIQUE_ID if value.len() > MAX_UNIQUE_ID => {
                    return Err(ProxyError::Tlv("unique id longer than 128 bytes"));
                }
                UNIQUE_ID => first(&mut tlvs.unique_id, value.to_vec()),
                TLS => first(&mut tlvs.tls, TlsInfo::parse(value, &mut left)?),
                NETNS => first(&mut tlvs.netns, text(value)?),
                _ => tlvs.others.push((kind, value.to_vec())),
            }
        }
        Ok(tlvs)
    }
}

impl TlsInfo {
    /// Whether the client gave a certificate and the sender verified it.
    pub fn is_verified(&self) -> bool {
        self.verify == 0 && (self.cert_on_connection || self.cert_at_origin)
    }

    /// What the client's flags and result of verification are in bytes is §2.2.6.
    fn parse(value: &[u8], left: &mut usize) -> Result<Self, ProxyError> {
        let too_short = ProxyError::Tlv("TLS value shorter than 5 bytes");
        let (head, mut rest) = value.split_first_chunk::<5>().ok_or(too_short)?;
        let [client, verify @ ..] = *head;
        let mut info = Self {
            is_tls: client & CLIENT_TLS != 0,
            cert_on_connection: client & CLIENT_CERT_CONN != 0,
            cert_at_origin: client & CLIENT_CERT_SESS != 0,
            verify: u32::from_be_bytes(verify),
            ..Self::default()
        };
        while let Some((kind, value)) = next(&mut rest, left)? {
            let place = match kind {
                TLS_VERSION => &mut info.version,
                TLS_CN => &mut info.common_name,
                TLS_CIPHER => &mut info.cipher,
                TLS_SIG_ALG => &mut info.sig_alg,
                TLS_KEY_ALG => &mut info.key_alg,
                TLS_GROUP => &mut info.group,
                TLS_SIG_SCHEME => &mut info.sig_scheme,
                TLS_CLIENT_CERT => {
                    first(&mut info.client_cert, value.to_vec());
                    continue;
                }
                // Types that come later are for those who know them.
                _ => continue,
            };
            first(place, text(value)?);
        }
        Ok(info)
    }
}

fn first<T>(place: &mut Option<T>, value: T) {
    place.get_or_insert(value);
}

/// The next type and value.
fn next<'a>(rest: &mut &'a [u8], left: &mut usize) -> Result<Option<(u8, &'a [u8])>, ProxyError> {
    if rest.is_empty() {
        return Ok(None);
    }
    *left = left.checked_sub(1).ok_or(ProxyError::Tlv("more than 128 values"))?;
    let cut = ProxyError::Tlv("a value is cut off");
    let (&[kind, high, low], after) = rest.split_first_chunk::<TLV_HEAD>().ok_or(cut)?;
    let length = u16::from_be_bytes([high, low]);
    let (value, after) = after.split_at_checked(length.into()).ok_or(cut)?;
    *rest = after;
    Ok(Some((kind, value)))
}

fn text(value: &[u8]) -> Result<String, ProxyError> {
    let text = str::from_utf8(value).map_err(|_| ProxyError::Tlv("a text that is not UTF-8"))?;
    Ok(text.to_owned())
}

/// The sum is over the header with zeros in the sum's place, which ends at `end`.
fn verify(header: &[u8], end: usize, value: &[u8]) -> Result<(), ProxyError> {
    let sum: [u8; 4] =
        value.try_into().map_err(|_| ProxyError::Tlv("a checksum is not 4 bytes"))?;
    let pieces = [&header[..end - sum.len()], &[0; 4], &header[end..]];
    if crc32c(pieces) == u32::from_be_bytes(sum) { Ok(()) } else { Err(ProxyError::Checksum) }
}
