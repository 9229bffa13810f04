//! Where flows connect, and how they do TLS there. A flow may say otherwise for itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::section::{Mistakes, Section};
use super::tree::{Place, Table, Value};
use super::values::{self, Rule};
use crate::client::{TlsPlan, TlsVersion, Trust};

/// Keys that a target and a flow have in common.
pub(super) const TLS_KEYS: [&str; 9] =
    ["tls", "server_name", "ca", "trust", "alpn", "suites", "groups", "certificates", "about"];

/// Versions that may be offered; none is plaintext.
const VERSIONS: [(&str, Option<TlsVersion>); 5] = [
    ("1.3", Some(TlsVersion::V13)),
    ("1.2", Some(TlsVersion::V12)),
    ("1.1", Some(TlsVersion::V11)),
    ("1.0", Some(TlsVersion::V10)),
    ("none", None),
];

/// Where flows connect.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    /// None when it was wrong.
    pub(super) address: Option<SocketAddr>,
    pub(super) tls: TlsKeys,
}

/// What is said of TLS in one table.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsKeys {
    version: Option<Option<TlsVersion>>,
    server_name: Option<String>,
    trust: Option<Trust>,
    alpn: Option<Vec<String>>,
    suites: Option<Vec<String>>,
    groups: Option<Vec<String>>,
    pub(super) certificates: Option<Certificates>,
}

/// Certificates that clients show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// How many different ones.
    pub count: u32,
    /// PEM file with the CA that signs them. It is made, with its key, when neither is there.
    pub ca: PathBuf,
    /// PEM file with its key.
    pub ca_key: PathBuf,
    /// They have expired.
    pub expired: bool,
}

impl Target {
    pub(super) fn read(
        (name, place, table): (&str, Place, &Table),
        base: &Path,
        mistakes: &mut Mistakes,
    ) -> Self {
        let keys: Vec<&str> = ["address"].into_iter().chain(TLS_KEYS).collect();
        let section = Section::new(format!("target.{name}"), place, table, &keys, mistakes);
        Self {
            name: name.to_owned(),
            address: section.need("address", &values::address(), mistakes),
            tls: TlsKeys::read(&section, base, mistakes),
        }
    }
}

impl TlsKeys {
    pub(super) fn read(section: &Section<'_>, base: &Path, mistakes: &mut Mistakes) -> Self {
        let names = || values::list(values::any_text());
        let file = file(base);
        let ca = section.get("ca", &file, mistakes);
        let any = section.get("trust", &values::word(&[("any", Trust::Insecure)]), mistakes);
        if ca.is_some() && any.is_some() {
            section.refuse("trust", "leave it out, or ca", mistakes);
        }
        let keys = Self {
            version: section.get("tls", &values::word(&VERSIONS), mistakes),
            server_name: section.get("server_name", &values::any_text(), mistakes),
            trust: ca.map(Trust::CaFile).or(any),
            alpn: section.get("alpn", &names(), mistakes),
            suites: section.get("suites", &names(), mistakes),
            groups: section.get("groups", &names(), mistakes),
            certificates: Certificates::read(section, base, mistakes),
        };
        section.get("about", &values::any_text(), mistakes);
        keys
    }

    /// The same, with what `other` says of what it does not.
    pub(super) fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            version: self.version.or(other.version),
            server_name: self.server_name.or(other.server_name),
            trust: self.trust.or(other.trust),
            alpn: self.alpn.or(other.alpn),
            suites: self.suites.or(other.suites),
            groups: self.groups.or(other.groups),
            certificates: self.certificates.or(other.certificates),
        }
    }

    /// How to do TLS; none for plaintext. `section` is where mistakes are told to be.
    pub(super) fn plan(&self, section: &Section<'_>, mistakes: &mut Mistakes) -> Option<TlsPlan> {
        let version = self.version.unwrap_or(Some(TlsVersion::V13))?;
        if self.trust.is_none() {
            let what = "say whom to trust, ca = \"FILE\" or trust = \"any\"; or that there is no TLS, \
                        tls = \"none\"";
            section.refuse("ca", what, mistakes);
        }
        let mut plan = TlsPlan {
            version,
            server_name: self.server_name.clone().unwrap_or_else(|| "localhost".to_owned()),
            trust: self.trust.clone().unwrap_or(Trust::Insecure),
            shown: None,
            alpn: self.alpn.clone().unwrap_or_default(),
            suites: Vec::new(),
            groups: Vec::new(),
        };
        // One after the other, to know which of them is wrong.
        let before = mistakes.len();
        let mut check = |key: &str, plan: &TlsPlan| {
            if mistakes.len() == before
                && let Err(error) = plan.check()
            {
                section.refuse(key, &error.to_string(), mistakes);
            }
        };
        check("server_name", &plan);
        plan.groups = self.groups.clone().unwrap_or_default();
        check("groups", &plan);
        plan.suites = self.suites.clone().unwrap_or_default();
        check("suites", &plan);
        Some(plan)
    }
}

impl Certificates {
    fn read(section: &Section<'_>, base: &Path, mistakes: &mut Mistakes) -> Option<Self> {
        let item = section.item("certificates")?;
        let Value::Table(table) = &item.value else {
            let what =
                "allowed: a table such as { count = 100, ca = \"ca.pem\", ca_key = \"ca.key\" }";
            section.refuse("certificates", what, mistakes);
            return None;
        };
        let path = section.path_of("certificates");
        let keys = ["count", "ca", "ca_key", "expired"];
        let section = Section::new(path, item.place, table, &keys, mistakes);
        let path = |key: &str, mistakes: &mut Mistakes| {
            section.need(key, &values::any_text(), mistakes).map(|name| base.join(name))
        };
        let switch = Rule::new("true or false", |item| match item.value {
            Value::Bool(is) => Some(is),
            _ => None,
        });
        let (ca, ca_key) = (path("ca", mistakes), path("ca_key", mistakes));
        let count = section.need("count", &values::count(1, 1_000_000), mistakes);
        let expired = section.get("expired", &switch, mistakes).unwrap_or_default();
        Some(Self { count: count?, ca: ca?, ca_key: ca_key?, expired })
    }
}

/// A file that is there.
fn file(base: &Path) -> Rule<'_, PathBuf> {
    let allowed = "a file that can be read, by its path from this scenario's directory";
    values::text(allowed, |name| Some(base.join(name)).filter(|path| path.is_file()))
}
