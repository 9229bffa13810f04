//! One option of the vendor → keys of our `tls` and `upstream_tls` tables.
//!
//! A vendor option belongs to a process, which is server here and client there; ours belong to a
//! side of a connection. [`map`] says what an option means for one side of the gateway: downstream,
//! where it is the TLS server, or upstream, where it is the client.

use super::ciphers::{self, TLS13};

/// Options with a meaning for security or for the client's own address, at any level.
pub const NAMES: &[&str] = &[
    "tls",
    "tls-mutual",
    "client-auth",
    "sec-protocol",
    "tls-target-name-check",
    "tls-target-name",
    "tls-crl",
    "certificate",
    "certificate-key",
    "trusted-ca",
    "provider",
    "cipher-list",
    "fips140-enabled",
    "tls-version",
    "protocol-list",
    "address",
    "port",
    "backup-port",
];

/// A side of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The gateway is the TLS server: the `tls` table.
    Downstream,
    /// The gateway is the TLS client: the `upstream_tls` table.
    Upstream,
}

/// What `sec-protocol` means; the vendor's documents say both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantics {
    /// The lowest version that may be agreed on.
    Floor,
    /// The only version that may be agreed on.
    Exact,
}

/// A value of our configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    List(Vec<String>),
}

/// A key of one of our tables, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: &'static str,
    pub value: Value,
}

/// What an option means for a side: keys of ours, none where it says nothing about that side or
/// asks for what holds anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    pub settings: Vec<Setting>,
    /// What a person must know or do for it to be so.
    pub notes: Vec<String>,
}

/// An option that has no translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, in a sentence without a full stop.
    pub message: String,
    /// The way out.
    pub hint: String,
}

/// What an option means for a side.
///
/// `tls` maps to no key: it decides on the mode of a listener; see [`boolean`]. `client-auth=0`
/// maps to `verify = "none"`, which needs `verify_until` beside it.
///
/// # Errors
///
/// An unknown name, a value that is not documented, or one that we refuse.
pub fn map(
    name: &str,
    value: &str,
    side: Side,
    semantics: Option<Semantics>,
) -> Result<Mapped, Refusal> {
    use Side::{Downstream, Upstream};
    match (name, side) {
        ("tls", _) => switch(name, value).map(|_| Mapped::default()),
        ("tls-mutual", _) => tls_mutual(value, side),
        ("client-auth", _) => client_auth(value, side),
        ("sec-protocol", _) => sec_protocol(value, semantics, false),
        ("tls-target-name-check", _) => name_check(value, side),
        ("tls-target-name", Upstream) => Ok(both_names(value)),
        ("tls-target-name", Downstream) => Ok(Mapped::default()),
        ("tls-crl", _) => crl(value),
        ("certificate", _) => certificate(value),
        ("certificate-key", _) => text("certificate_key", value, name),
        ("trusted-ca", _) => trusted_ca(value),
        ("provider", _) => provider(value),
        ("cipher-list", _) => cipher_list(value),
        ("fips140-enabled", _) => fips(value),
        ("address" | "port" | "backup-port", _) => Ok(source(name, value)),
        ("tls-version" | "protocol-list", _) => refuse(
            "exists, and neither its values nor its meaning are documented".to_owned(),
            "Set min_version and max_version to what it is meant to say.",
        ),
        _ => refuse("is not an option that is documented".to_owned(), "Remove it."),
    }
}

/// The keys of ours that an option becomes on a side: none where it says nothing about that side, or
/// asks for what holds anyway.
pub fn keys(name: &str, side: Side) -> &'static [&'static str] {
    match (name, side) {
        ("tls-mutual", Side::Downstream) => &["client_cert"],
        ("client-auth", Side::Upstream) => &["verify"],
        ("sec-protocol", _) => &["min_version", "max_version"],
        ("tls-target-name-check", Side::Upstream) => &["name_match"],
        ("tls-target-name", Side::Upstream) => &["server_name", "sni"],
        ("tls-crl", _) => &["crl_files"],
        ("certificate", _) => &["certificate"],
        ("certificate-key", _) => &["certificate_key"],
        ("trusted-ca", _) => &["trusted_ca"],
        ("cipher-list", _) => &["ciphers"],
        _ => &[],
    }
}

/// The option that a name is likely meant to be: names are case-sensitive, and have hyphens.
pub fn likely(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase().replace('_', "-");
    NAMES.iter().copied().find(|known| *known == name)
}

/// `1`, `yes`, `on`, `true` and their opposites, as the vendor documents them for `tls`.
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "yes" | "on" | "true" => Some(true),
        "0" | "no" | "off" | "false" => Some(false),
        _ => None,
    }
}

fn tls_mutual(value: &str, side: Side) -> Result<Mapped, Refusal> {
    let is_mutual = digit("tls-mutual", value)?;
    Ok(match side {
        Side::Downstream if is_mutual => one("client_cert", "required"),
        Side::Downstream => one("client_cert", "none"),
        // A client shows its certificate when it is asked for one.
        Side::Upstream => Mapped::default(),
    })
}

/// Whether a TLS client authenticates the server; it says nothing about client certificates.
fn client_auth(value: &str, side: Side) -> Result<Mapped, Refusal> {
    let verifies = digit("client-auth", value)?;
    Ok(match side {
        Side::Downstream => Mapped::default(),
        Side::Upstream if verifies => one("verify", "full"),
        Side::Upstream => one("verify", "none").and(
            "client-auth = 0 encrypts and does not authenticate the server: whoever can redirect \
             the connection reads it. verify = \"none\" needs verify_until; verify = \"pin\" is \
             the safer way",
        ),
    })
}

/// What `sec-protocol` means for a side: where `legacy` says that its lane of that name is open, TLS
/// 1.0 and 1.1 are spoken, too.
///
/// # Errors
/// As [`map`].
pub fn sec_protocol(
    value: &str,
    semantics: Option<Semantics>,
    legacy: bool,
) -> Result<Mapped, Refusal> {
    if matches!(value, "SSLv2" | "SSLv3") {
        let hint = "Update the peer. There is no exception for SSL 2 and 3: both are broken, and \
                    forbidden by RFC 6176 and RFC 7568.";
        return refuse(format!("{value:?} asks for a version that is never spoken here"), hint);
    }
    let Some(semantics) = semantics else {
        let hint = "Say which: floor (the Security Deployment Guide's introduction: \"the lowest \
                    compatible protocol\", so TLSv1.1 allows 1.2) or exact (its section on strict \
                    mode: this version and no other, so TLSv1.1 refuses 1.2). In our configuration \
                    sec_protocol_semantics, on the command line --sec-protocol-semantics.";
        return refuse(format!("{value:?} has two documented meanings"), hint);
    };
    let is_exact = semantics == Semantics::Exact;
    let versions = |min: &str, max: &str| one("min_version", min).with("max_version", max);
    let lowest = match value {
        // Compatibility mode is the highest common version under either meaning.
        "SSLv23" | "TLSv1" => "1.0",
        "TLSv1.1" | "TLSv11" => "1.1",
        "TLSv12" if is_exact => return Ok(versions("1.2", "1.2")),
        "TLSv12" | "" => return Ok(versions("1.2", "1.3")),
        "TLSv13" => return Ok(versions("1.3", "1.3")),
        _ => {
            let hint = "Documented are SSLv23, TLSv1, TLSv1.1 (or TLSv11), TLSv12 and TLSv13.";
            return refuse(format!("{value:?} is not a documented value"), hint);
        }
    };
    let is_alone = is_exact && value != "SSLv23";
    match (legacy, is_alone) {
        (true, true) => Ok(versions(lowest, lowest)),
        (true, false) => Ok(versions(lowest, "1.3")),
        (false, true) => refuse(
            format!("{value:?} with exact semantics asks for that version alone"),
            "Update the peer, use the floor if that is what is meant, or open the legacy lane for \
             such peers, up to a day: lane = \"legacy\" with legacy_until, allow_from and, where \
             the gateway is the server, legacy_certificate and legacy_certificate_key. Without that \
             lane, versions below TLS 1.2 are not spoken here.",
        ),
        (false, false) => Ok(versions("1.2", "1.3").and(format!(
            "the floor of {value} is not honoured: versions below TLS 1.2 need lane = \"legacy\". \
             Without it, a peer that offers TLS 1.1 at most gets the alert protocol_version, and the \
             log says version_mismatch"
        ))),
    }
}

/// The name is checked anyway; the vendor looks at the subject, too.
fn name_check(value: &str, side: Side) -> Result<Mapped, Refusal> {
    if value != "host" {
        let hint = "The documents name one value, \"host\". To check no name, say so in our words: \
                    verify = \"chain\", with verify_until.";
        return refuse(format!("{value:?} is not a documented value"), hint);
    }
    Ok(match side {
        Side::Downstream => Mapped::default(),
        Side::Upstream => one("name_match", "san_or_cn"),
    })
}

/// It is the name sent and the name checked.
fn both_names(value: &str) -> Mapped {
    one("server_name", value).with("sni", value)
}

/// A list is a chain in several files; ours is one file.
fn certificate(value: &str) -> Result<Mapped, Refusal> {
    thumbprint("certificate", value)?;
    let files: Vec<&str> = value.split(',').collect();
    let [first, _, ..] = &files[..] else { return text("certificate", value, "certificate") };
    if let Some(odd) = files.iter().find(|file| file.is_empty() || **file != file.trim()) {
        let hint = "Write the list without spaces and without empty names.";
        return refuse(format!("has {odd:?} in its list of files"), hint);
    }
    let chain = format!("{}.chain.pem", first.strip_suffix(".pem").unwrap_or(first));
    let note = format!("a chain is one file here: cat {} > {chain}", files.join(" "));
    Ok(one("certificate", &chain).and(note))
}

/// Ours may be several files.
fn crl(value: &str) -> Result<Mapped, Refusal> {
    let mapped = text("crl_files", value, "tls-crl")?;
    let list = Value::List(vec![value.to_owned()]);
    let settings = mapped.settings.into_iter().map(|one| Setting { value: list.clone(), ..one });
    Ok(Mapped { settings: settings.collect(), notes: mapped.notes })
}

fn trusted_ca(value: &str) -> Result<Mapped, Refusal> {
    thumbprint("trusted-ca", value)?;
    if value.contains([',', ';']) {
        let hint = "Put them into one PEM file, one after the other, and name that.";
        let message = "names several files, and how the list is read is not documented";
        return refuse(message.to_owned(), hint);
    }
    text("trusted_ca", value, "trusted-ca")
}

/// What names a certificate in the Windows store is no file.
fn thumbprint(name: &str, value: &str) -> Result<(), Refusal> {
    let digits = value.chars().filter(|c| !c.is_whitespace() && *c != ':');
    let is_hex = digits.clone().all(|c| c.is_ascii_hexdigit());
    // SHA-1, as MSCAPI shows it.
    if is_hex && digits.count() == 40 {
        let hint = "Export the certificate from the store, and its key, as PEM files \
                    (certutil -exportPFX, then openssl pkcs12), and name those.";
        return refuse(format!("{value:?} is a thumbprint: {name} must be a PEM file here"), hint)
            .map(drop);
    }
    Ok(())
}

fn provider(value: &str) -> Result<Mapped, Refusal> {
    if value.eq_ignore_ascii_case("PEM") {
        return Ok(Mapped::default());
    }
    let hint = match value.to_ascii_uppercase().as_str() {
        "MSCAPI" => {
            "Thumbprints name certificates in a Windows store. Export certificate and key from it \
             as PEM files (certutil -exportPFX, then openssl pkcs12)."
        }
        "PKCS11" => {
            "Keys stay inside such a device. Give the gateway a certificate and key of its own, \
             as PEM files."
        }
        "JKS" => {
            "Convert the key store: keytool -importkeystore -deststoretype PKCS12, then openssl \
             pkcs12 to PEM files."
        }
        _ => "Documented are PEM, MSCAPI, PKCS11 and JKS; the gateway reads PEM files.",
    };
    refuse(format!("{value:?} is no provider that the gateway has"), hint)
}

fn cipher_list(value: &str) -> Result<Mapped, Refusal> {
    let translation = ciphers::translate(value);
    if !translation.refused.is_empty() || translation.suites.is_empty() {
        let known = match translation.suites.is_empty() {
            true => "None of the list has one.".to_owned(),
            false => format!("These of the list have one: {}.", translation.suites.join(", ")),
        };
        let refused = translation.refused.join(", ");
        return refuse(
            format!("has names without a suite of ours: {refused}"),
            &format!(
                "{known} Keywords and operators of OpenSSL choose among its own suites; CBC, \
                 static RSA, RC4 and 3DES are not spoken here."
            ),
        );
    }
    let mut suites = translation.suites;
    let has_tls13 = suites.iter().any(|suite| TLS13.contains(suite));
    let note = "a list of older suites does not speak about TLS 1.3: its suites stay";
    if !has_tls13 {
        suites.extend(TLS13);
    }
    let list = Value::List(suites.into_iter().map(str::to_owned).collect());
    let mapped = Mapped { settings: vec![Setting { key: "ciphers", value: list }], notes: vec![] };
    Ok(if has_tls13 { mapped } else { mapped.and(note) })
}

fn fips(value: &str) -> Result<Mapped, Refusal> {
    if !digit("fips140-enabled", value)? {
        return Ok(Mapped::default());
    }
    let hint = "Take the option out if FIPS 140 is not demanded of this connection, or keep the \
                gateway away from it.";
    let message = "asks for FIPS 140, and this build is not a validated module: it is refused \
                   rather than ignored";
    refuse(message.to_owned(), hint)
}

/// A client's own address: firewalls know it.
fn source(name: &str, value: &str) -> Mapped {
    Mapped::default().and(format!(
        "{name} = {value} is the address that the client connects from. Behind the gateway the \
         component sees the gateway's: set the source address of the upstream side where a \
         firewall or the component tells clients apart by it"
    ))
}

/// `0` or `1`.
fn digit(name: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(not_documented(name, value, "0 and 1")),
    }
}

fn switch(name: &str, value: &str) -> Result<bool, Refusal> {
    let words = "1, yes, on, true and 0, no, off, false";
    boolean(value).ok_or_else(|| not_documented(name, value, words))
}

fn not_documented(name: &str, value: &str, words: &str) -> Refusal {
    let message = format!("{value:?} is not a documented value");
    Refusal { message, hint: format!("{name} takes {words}.") }
}

fn text(key: &'static str, value: &str, name: &str) -> Result<Mapped, Refusal> {
    match value {
        "" => refuse("is empty".to_owned(), &format!("Name a file, or take {name} out.")),
        value => Ok(one(key, value)),
    }
}

fn refuse(message: String, hint: &str) -> Result<Mapped, Refusal> {
    Err(Refusal { message, hint: hint.to_owned() })
}

fn one(key: &'static str, value: &str) -> Mapped {
    Mapped::default().with(key, value)
}

impl Mapped {
    fn with(mut self, key: &'static str, value: &str) -> Self {
        self.settings.push(Setting { key, value: Value::Text(value.to_owned()) });
        self
    }

    fn and(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
