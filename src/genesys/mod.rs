//! What Genesys components are configured with: read with their reader's quirks, translated into
//! our configuration, compared with what their reader would make of it.
//!
//! Pure: text in, findings and text out. Everything here stands on the vendor's public documents
//! and on what the source of its application template does; what neither says is refused with the
//! reason, never guessed.
//!
//! | what | where |
//! |---|---|
//! | `[security]` of files such as lca.cfg | [`ini`] |
//! | transport parameters, `tls=1;certificate=a.pem` | [`transport`] |
//! | `sip.transport.N` of the voice platform | [`sip`] |
//! | one option → keys of ours | [`options`] |
//! | which level an option comes from | [`levels`] |
//! | files → our configuration | [`import`] |
//! | where our result differs from the vendor's | [`lint`] |

pub mod ciphers;
mod finding;
pub mod import;
pub mod ini;
pub mod levels;
pub mod lint;
pub mod options;
pub mod sip;
mod sources;
pub mod transport;
pub(crate) mod write;

pub use self::finding::{Finding, Place, Severity};
pub use self::sources::{Source, Sources};
