//! How many more connections there can be to a component: an estimate, from what the kernel says.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::group::{Endpoint, Group};
use super::settings::SourceSettings;
use super::sources;
use crate::engine::Address;

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

    /// What is left for these groups.
    pub fn remaining(self, groups: &[Arc<Group>]) -> Remaining<'_> {
        let mut open = HashMap::new();
        for group in groups {
            for (to, connections) in group.endpoints.iter().flat_map(connections) {
                *open.entry((to, &group.source)).or_default() += connections;
            }
        }
        Remaining { ports: self, open }
    }

    /// How many connections there is still room for towards a destination to which `open` lead from
    /// `sources` addresses of ours. Too many by those of other programs, by the ports in the range
    /// that sockets were bound to (as those that keep a client's port are), and by connections in
    /// TIME_WAIT that the kernel does not reuse.
    pub fn left(self, sources: u32, open: u64) -> u64 {
        (u64::from(self.count) * u64::from(sources)).saturating_sub(open)
    }
}

/// What is left towards every destination of some groups.
#[derive(Debug)]
pub struct Remaining<'a> {
    ports: LocalPorts,
    /// Those of groups that dial from the same sources share the ports of these.
    open: HashMap<(SocketAddr, &'a SourceSettings), u64>,
}

impl<'a> Remaining<'a> {
    /// Room at each address of an endpoint of one of the groups: see [`LocalPorts::left`]. Nothing for
    /// unix sockets, and where clients bring their own addresses.
    pub fn towards(&self, group: &'a Group, endpoint: &Endpoint) -> Vec<(SocketAddr, u64)> {
        let left = |(to, _)| {
            let sources = sources::count(&group.source, to)?;
            let open = self.open.get(&(to, &group.source)).copied().unwrap_or_default();
            Some((to, self.ports.left(sources, open)))
        };
        connections(endpoint).into_iter().filter_map(left).collect()
    }
}

/// The addresses of an endpoint that are no unix sockets, and its connections to each.
fn connections(endpoint: &Endpoint) -> Vec<(SocketAddr, u64)> {
    let destinations = endpoint.presence.destinations();
    let connections = destinations.iter().filter_map(|to| match to.address {
        Address::Tcp(address) => Some((address, to.connections().into())),
        Address::Unix(_) => None,
    });
    connections.collect()
}

#[cfg(test)]
mod tests {
    use super::super::presence::{Occupied, Presence};
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
    fn groups_that_dial_from_the_same_sources_share_their_ports() {
        let to = |port: u16| Address::Tcp(([192, 0, 2, 1], port).into());
        let two = SourceSettings::From([1, 2].map(|last| [10, 0, 0, last].into()).into());
        let group = |addresses: &[Address], source: &SourceSettings| {
            let endpoint = Endpoint::new("component", Presence::new(addresses));
            let source = source.clone();
            Arc::new(Group {
                source,
                endpoints: vec![endpoint],
                ..(*Group::plain("a", &[])).clone()
            })
        };
        let groups = [
            group(&[to(1), to(2), Address::Unix("/a".into())], &two),
            group(&[to(1)], &two),
            group(&[to(1)], &SourceSettings::Any),
            group(&[to(1)], &SourceSettings::Client { keep_port: false }),
            group(&[Address::Tcp(([0u8; 16], 1).into())], &two),
        ];
        let occupy = |group: &Group, at: usize| {
            let presence = &group.endpoints[0].presence;
            Occupied::new(presence, &presence.destinations()[at])
        };
        let _open = [occupy(&groups[0], 0), occupy(&groups[0], 1), occupy(&groups[1], 0)];
        let ports = LocalPorts::parse("40000 40009", "").expect("a range");
        let remaining = ports.remaining(&groups);
        let left: Vec<Vec<u64>> = groups
            .iter()
            .map(|group| remaining.towards(group, &group.endpoints[0]))
            .map(|left| left.into_iter().map(|(_, count)| count).collect())
            .collect();
        assert_eq!(left, [vec![18, 19], vec![18], vec![10], vec![], vec![0]]);
    }

    #[test]
    fn what_is_left_is_never_less_than_nothing() {
        let ports = LocalPorts::parse("40000 40009", "").expect("a range");
        assert_eq!([0, 3, 30, 31].map(|open| ports.left(3, open)), [30, 27, 0, 0]);
    }
}
