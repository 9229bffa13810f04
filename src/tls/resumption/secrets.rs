//! The secrets that ticket keys are derived from, and the file that shares them between nodes.
//!
//! No secret is in a message, in `Debug`, or in memory that was given back.

use std::fmt;

use data_encoding::{BASE64_NOPAD, HEXLOWER_PERMISSIVE};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::config::model;
use crate::tls::file::{FileProblem, NamedFile};

/// Most secrets of a file: two while one is rolled, and as many again for a roll within a roll.
pub const MAX_SECRETS: usize = 4;
/// Bytes of a secret: as many as a key has, so that guessing either is as hard.
pub(super) const SECRET_BYTES: usize = 32;

const SALT: &[u8] = b"tlsgate ticket secret, version 1";
const MODES: &str = "mode 0600 or 0400";
const ALLOWED: &str = "32 bytes or more, in hex or base64";
const HINT: &str = "`tlsgate secret` makes one.";

/// One secret, of which all bits count, whatever the length of what was written in the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<Zeroizing<[u8; SECRET_BYTES]>>);

/// 1 to [`MAX_SECRETS`] different ones: the first makes tickets, all of them read tickets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets(Vec<Secret>);

/// What is wrong with the text of a file, without quoting it.
#[derive(Debug, PartialEq, Eq)]
struct Mistake {
    found: String,
    allowed: &'static str,
    hint: &'static str,
}

impl Secret {
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Self, rustls::Error> {
        let mut secret = Self::empty();
        SystemRandom::new()
            .fill(&mut secret.0[..])
            .map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        Ok(secret)
    }

    /// As a line of the file.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER_PERMISSIVE.encode(&self.0[..]))
    }

    fn from_material(material: &[u8]) -> Self {
        let mut secret = Self::empty();
        fill(&Salt::new(HKDF_SHA256, SALT).extract(material), &[b"secret"], &mut secret.0[..]);
        secret
    }

    /// A secret of [`Secret::bytes`].
    pub(super) fn from_bytes(bytes: &[u8; SECRET_BYTES]) -> Self {
        let mut secret = Self::empty();
        secret.0.copy_from_slice(bytes);
        secret
    }

    pub(super) fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// Fills `output`, at most 255 times 32 bytes, with what only this secret and `info` give
    /// (RFC 5869 §2.3).
    pub(super) fn derive(&self, info: &[&[u8]], output: &mut [u8]) {
        fill(&Prk::new_less_safe(HKDF_SHA256, &self.0[..]), info, output);
    }

    /// On the heap from the start, so that moving it leaves no copy behind.
    fn empty() -> Self {
        Self(Box::new(Zeroizing::new([0; SECRET_BYTES])))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Secrets {
    /// Reads the file that `[resumption]` names; `None` where it names none.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn load(resumption: &model::Resumption) -> Result<Option<Self>, Vec<FileProblem>> {
        let Some(file) = &resumption.ticket_secret else { return Ok(None) };
        let named = NamedFile { file, line: resumption.ticket_secret_line, key: "ticket_secret" };
        let text = named.read_secret(None, MODES).map_err(|problem| vec![problem])?;
        let problem =
            |mistake: Mistake| named.problem(mistake.found, mistake.allowed, mistake.hint);
        parse(&text).map(Some).map_err(|mistakes| mistakes.into_iter().map(problem).collect())
    }

    /// As a file with this text; `None` where it has mistakes.
    #[cfg(test)]
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        parse(text).ok()
    }

    pub(super) fn into_vec(self) -> Vec<Secret> {
        self.0
    }
}

fn parse(text: &[u8]) -> Result<Secrets, Vec<Mistake>> {
    let mut secrets: Vec<(usize, Secret)> = Vec::new();
    let mut mistakes = Vec::new();
    let mut count = 0;
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let written = line.split(|&byte| byte == b'#').next().unwrap_or_default().trim_ascii();
        if written.is_empty() {
            continue;
        }
        count += 1;
        let number = index + 1;
        let mut keep = |found: &str, allowed, hint| {
            mistakes.push(Mistake { found: format!("line {number}: {found}"), allowed, hint });
        };
        match decode(written) {
            Err(found) => keep(found, ALLOWED, HINT),
            Ok(material) if material.len() < SECRET_BYTES => {
                keep(&format!("{} bytes", material.len()), ALLOWED, HINT);
            }
            Ok(material) => {
                let secret = Secret::from_material(&material);
                match secrets.iter().find(|(_, other)| *other == secret) {
                    Some((first, _)) => keep(
                        &format!("the secret of line {first} again"),
                        "each secret once",
                        "Remove one of the two lines.",
                    ),
                    None if secrets.len() < MAX_SECRETS => secrets.push((number, secret)),
                    // Counted, and told below.
                    None => {}
                }
            }
        }
    }
    let of_all = match count {
        0 => Some(("no secret".to_owned(), HINT)),
        1..=MAX_SECRETS => None,
        _ => Some((format!("{count} secrets"), "Remove the oldest, which are the last.")),
    };
    mistakes.extend(of_all.map(|(found, hint)| Mistake {
        found,
        allowed: "1 to 4 secrets, one on each line",
        hint,
    }));
    if mistakes.is_empty() {
        Ok(Secrets(secrets.into_iter().map(|(_, secret)| secret).collect()))
    } else {
        Err(mistakes)
    }
}

/// Text of hex digits only is hex: that 32 bytes in base64 look like it does not happen.
fn decode(written: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let is_hex = written.iter().all(u8::is_ascii_hexdigit);
    let decoded = if is_hex {
        HEXLOWER_PERMISSIVE.decode(written).map_err(|_| "an odd number of hex digits")
    } else {
        let padding = written.iter().rev().take_while(|&&byte| byte == b'=').count().min(2);
        let digits = &written[..written.len() - padding];
        BASE64_NOPAD.decode(digits).map_err(|_| "neither hex nor base64")
    };
    decoded.map(Zeroizing::new)
}

fn fill(key: &Prk, info: &[&[u8]], output: &mut [u8]) {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let expanded = key.expand(info, Length(output.len()));
    expanded.and_then(|bytes| bytes.fill(output)).expect("as long as asked for, and short");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tls::testing::Files;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn secrets(text: &str) -> Secrets {
        parse(text.as_bytes()).expect("a good file")
    }

    fn mistakes(text: &str) -> Vec<String> {
        let found = parse(text.as_bytes()).expect_err("has mistakes");
        found.into_iter().map(|mistake| mistake.found).collect()
    }

    #[test]
    fn hex_and_base64_are_the_same_secret() {
        let one = secrets(HEX);
        assert_eq!(one, secrets(&HEX.to_uppercase()));
        assert_eq!(one, secrets(BASE64));
        assert_eq!(one, secrets(BASE64.trim_end_matches('=')));
        assert_eq!(one, secrets(&format!("# of 2026\n\n  {HEX}  # the first\r\n")));
        assert_ne!(one, secrets(&format!("{HEX}00")), "every byte counts");
    }

    #[test]
    fn the_order_of_the_file_is_kept() {
        let [first, second] = ["11", "22"].map(|byte| byte.repeat(32));
        let both = secrets(&format!("{first}\n{second}\n")).into_vec();
        assert_eq!(both[..1], secrets(&first).into_vec());
        assert_eq!(both[1..], secrets(&second).into_vec());
    }

    #[test]
    fn what_random_makes_can_be_written_into_a_file() {
        let [one, two] = [0, 1].map(|_| Secret::random().expect("random numbers").to_hex());
        assert_ne!(one, two);
        assert_ne!(secrets(&one), secrets(&two));
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_without_the_secret() {
        assert_eq!(mistakes(""), ["no secret"]);
        assert_eq!(mistakes("# nothing\n\n"), ["no secret"]);
        assert_eq!(mistakes("aabbcc"), ["line 1: 3 bytes"]);
        assert_eq!(mistakes("\nabc"), ["line 2: an odd number of hex digits"]);
        assert_eq!(mistakes("correct horse battery"), ["line 1: neither hex nor base64"]);
        assert_eq!(mistakes("\u{fc}"), ["line 1: neither hex nor base64"]);
        assert_eq!(mistakes("===="), ["line 1: neither hex nor base64"]);
        let again = format!("{HEX}\n# the same\n{BASE64}\n");
        assert_eq!(mistakes(&again), ["line 3: the secret of line 1 again"]);
        let five: String = (1..=5).map(|n| format!("{}\n", format!("0{n}").repeat(32))).collect();
        assert_eq!(mistakes(&five), ["5 secrets"]);
        assert_eq!(mistakes(&format!("x\n{}", &HEX[2..])).len(), 2);
        assert_eq!(format!("{:?}", secrets(HEX)), "Secrets([Secret])");
    }

    #[test]
    fn the_file_is_for_its_owner_only() {
        let files = Files::new();
        let mut resumption = model::Resumption {
            max_entries: 1,
            max_bytes: 1,
            lifetime: Duration::from_secs(1),
            ticket_secret: None,
            ticket_secret_line: 3,
        };
        assert_eq!(Secrets::load(&resumption), Ok(None));
        for (mode, found) in
            [(0o600, None), (0o400, None), (0o640, Some("a group")), (0o604, Some("everybody"))]
        {
            resumption.ticket_secret = Some(files.write(&format!("{mode:o}"), HEX, mode));
            match (Secrets::load(&resumption), found) {
                (Ok(Some(loaded)), None) => assert_eq!(loaded, secrets(HEX)),
                (Err(problems), Some(found)) => {
                    assert!(problems[0].found.contains(found), "{problems:?}");
                    assert_eq!((problems[0].line, problems[0].key), (3, "ticket_secret"));
                    assert!(problems[0].hint.contains("chmod 600"), "{problems:?}");
                }
                (loaded, found) => panic!("{mode:o}: {loaded:?}, {found:?} expected"),
            }
        }
        resumption.ticket_secret = Some(files.path().join("none"));
        let problems = Secrets::load(&resumption).expect_err("is missing");
        assert!(problems[0].found.contains("No such file"), "{problems:?}");
    }
}
