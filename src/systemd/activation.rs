//! Sockets that systemd has opened and passes on (socket activation).

use std::env;
use std::ops::Range;

/// The sockets by their names (`FileDescriptorName=` of the socket unit).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activation(Vec<(i32, String)>);

impl Activation {
    /// What the environment says is for this process: `LISTEN_PID` names it, or the process that
    /// it has taken over from has removed that and passed the sockets on.
    ///
    /// # Errors
    /// What is wrong with the variables.
    pub fn from_environment(is_successor: bool) -> Result<Self, String> {
        let read = |name| env::var(name).ok();
        match read("LISTEN_PID") {
            Some(pid) if pid.parse() == Ok(std::process::id()) => {}
            None if is_successor => {}
            _ => return Ok(Self::default()),
        }
        Self::parse(read("LISTEN_FDS").as_deref(), read("LISTEN_FDNAMES").as_deref())
    }

    fn parse(count: Option<&str>, names: Option<&str>) -> Result<Self, String> {
        let Some(count) = count else { return Ok(Self::default()) };
        let descriptors = count.parse().ok().and_then(descriptors);
        let descriptors = descriptors.ok_or_else(|| format!("LISTEN_FDS is {count:?}"))?;
        let names: Vec<&str> = match names {
            Some(names) => names.split(':').collect(),
            // What systemd calls them then (sd_listen_fds_with_names(3)).
            None => vec!["unknown"; descriptors.len()],
        };
        if names.len() != descriptors.len() && !descriptors.is_empty() {
            return Err(format!("LISTEN_FDS is {count}, LISTEN_FDNAMES has {}", names.len()));
        }
        Ok(Self(descriptors.zip(names.into_iter().map(str::to_owned)).collect()))
    }

    /// The descriptors of that name, in the order of systemd's.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = i32> + 'a {
        self.0.iter().filter(move |(_, its)| its == name).map(|(descriptor, _)| *descriptor)
    }

    /// All names, each once, for a message.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|(_, name)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn descriptors(count: u16) -> Option<Range<i32>> {
    const FIRST: i32 = 3;
    (count <= MAX).then(|| FIRST..FIRST + i32::from(count))
}

/// As many as there may be listeners.
const MAX: u16 = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(activation: &Activation, name: &str) -> Vec<i32> {
        activation.named(name).collect()
    }

    #[test]
    fn sockets_have_names_and_may_share_one() {
        let found = Activation::parse(Some("3"), Some("sip:web:sip")).expect("three and three");
        assert_eq!(named(&found, "sip"), [3, 5]);
        assert_eq!(named(&found, "web"), [4]);
        assert_eq!(named(&found, "si"), [0; 0]);
        assert_eq!(found.names(), ["sip", "web"]);
    }

    #[test]
    fn without_names_they_are_called_unknown() {
        let found = Activation::parse(Some("2"), None).expect("no names are needed");
        assert_eq!(named(&found, "unknown"), [3, 4]);
    }

    #[test]
    fn nothing_passed_is_nothing() {
        assert_eq!(Activation::parse(None, None), Ok(Activation::default()));
        assert_eq!(Activation::parse(None, Some("sip")), Ok(Activation::default()));
        assert_eq!(Activation::parse(Some("0"), Some("")), Ok(Activation::default()));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (count, names) in [
            ("two", None),
            ("-1", None),
            ("4097", None),
            ("2", Some("sip")),
            ("1", Some("sip:web")),
        ] {
            assert!(Activation::parse(Some(count), names).is_err(), "{count} {names:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(count in ".{0,6}", names in proptest::option::of(".{0,20}")) {
            let _: bool = Activation::parse(Some(&count), names.as_deref()).is_ok();
        }
    }
}
