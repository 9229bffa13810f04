//! How many more connections there can be to a component: an estimate, from what the kernel says.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// The ports that the kernel gives to sockets that dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPorts {
    count: u32,
}

impl LocalPorts {
    /// From the texts of `net.ipv4.ip_local_port_range` ("32768\t60999") and
    /// `net.ipv4.ip_local_reserved_ports` ("8080,9148-9160", often empty), which IPv6 goes by, too.
    /// `None` when they are not like that.
    pub fn parse(range: &str, reserved: &str) -> Option<Self> {
        let mut ends = range.split_whitespace().map(str::parse);
        let (Some(Ok(first)), Some(Ok(last)), None) = (ends.next(), ends.next(), ends.next())
        else {
            return None;
        };
        let range: RangeInclusive<u16> = first..=last;
        let mut taken = BTreeSet::new();
        for part in reserved.trim().split(',').filter(|part| !part.is_empty()) {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let ports: RangeInclusive<u16> = from.parse().ok()?..=to.parse().ok()?;
            taken.extend(ports.filter(|port| range.contains(port)));
        }
        let taken = u32::try_from(taken.len()).expect("ports are 16 bits");
        let count = u32::try_from(range.len()).expect("ports are 16 bits") - taken;
        Some(Self { count })
    }

    /// From one source to one destination.
    pub fn count(self) -> u32 {
        self.count
    }

    /// How many connections there is still room for towards a destination to which `open` lead from
    /// `sources` addresses of ours. Too many by those of other programs, and by those in TIME_WAIT
    /// that the kernel does not reuse.
    pub fn left(self, sources: u32, open: u64) -> u64 {
        (u64::from(self.count) * u64::from(sources)).saturating_sub(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_counted_as_the_kernel_says() {
        for (range, reserved, expected) in [
            ("32768\t60999\n", "\n", Some(28_232)),
            ("32768 60999", "8080,40000-40009,40005,60999-61010\n", Some(28_221)),
            ("1 65535", "", Some(65_535)),
            ("5 5", "5", Some(0)),
            ("9 5", "", Some(0)),
            ("32768", "", None),
            ("1 2 3", "", None),
            ("a b", "", None),
            ("1 2", "x", None),
            ("1 70000", "", None),
        ] {
            let ports = LocalPorts::parse(range, reserved);
            assert_eq!(ports.map(LocalPorts::count), expected, "{range:?} {reserved:?}");
        }
    }

    #[test]
    fn what_is_left_is_never_less_than_nothing() {
        let ports = LocalPorts::parse("40000 40009", "").expect("a range");
        assert_eq!([0, 3, 30, 31].map(|open| ports.left(3, open)), [30, 27, 0, 0]);
    }
}
