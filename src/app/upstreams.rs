//! Configuration → endpoints: which are known from before, and the addresses of their names.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Addresses, Standing};
use crate::config::model::Endpoint;
use crate::engine::Address;
use crate::upstream::resolver::LookUpError;
use crate::upstream::{self, Name, Presence};

/// The names of one configuration, looked up.
pub(super) struct Upstreams<'a> {
    standing: &'a Standing,
    answers: HashMap<Name, Result<Vec<SocketAddr>, LookUpError>>,
}

impl<'a> Upstreams<'a> {
    /// Looks up the names among `endpoints`, each with the name of its group, all together for no
    /// longer than [`PATIENCE`]. With [`Addresses::Kept`], those only that are new.
    pub(super) fn look_up<'e>(
        standing: &'a Standing,
        endpoints: impl Iterator<Item = (&'e str, &'e Endpoint)>,
        addresses: Addresses,
    ) -> Self {
        let is_kept = |group: &str, endpoint: &Endpoint| {
            addresses == Addresses::Kept
                && standing.presences.get(group, &endpoint.to_string()).is_some()
        };
        let wanted = endpoints.filter(|(group, endpoint)| !is_kept(group, endpoint));
        let mut names: Vec<Name> = wanted.filter_map(|(_, endpoint)| name_of(endpoint)).collect();
        names.sort_unstable();
        names.dedup();
        let answers = standing.resolver.look_up_all(&names, PATIENCE);
        Self { standing, answers: names.into_iter().zip(answers).collect() }
    }

    /// An endpoint of a group, with what is known about it from before. A name that cannot be looked
    /// up now keeps its last addresses, which is worth a warning.
    ///
    /// # Errors
    /// What was found, where a name has never had an address.
    pub(super) fn endpoint(
        &self,
        group: &str,
        endpoint: &Endpoint,
        warnings: &mut Vec<String>,
    ) -> Result<upstream::Endpoint, String> {
        let text = endpoint.to_string();
        let known = self.standing.presences.get(group, &text);
        let addresses = match endpoint {
            Endpoint::Tcp(address) => vec![Address::Tcp(*address)],
            Endpoint::Unix(path) => vec![Address::Unix(path.clone())],
            Endpoint::Name(..) => {
                match name_of(endpoint).and_then(|name| self.answers.get(&name)) {
                    Some(Ok(found)) => found.iter().copied().map(Address::Tcp).collect(),
                    Some(Err(error)) => match &known {
                        Some(known) => {
                            known.count_look_up_failure();
                            let warning = "cannot be resolved, and keeps its last addresses";
                            warnings.push(format!("upstream {text} of {group} {warning}: {error}"));
                            Vec::new()
                        }
                        None => return Err(format!("{text} ({error})")),
                    },
                    None => Vec::new(),
                }
            }
        };
        let presence = known.unwrap_or_else(|| Presence::new(&addresses));
        presence.set_addresses(&addresses);
        self.standing.presences.add(group, &text, &presence);
        let mut compiled = upstream::Endpoint::new(&text, presence);
        compiled.look_up = name_of(endpoint);
        Ok(compiled)
    }
}

fn name_of(endpoint: &Endpoint) -> Option<Name> {
    match endpoint {
        Endpoint::Name(host, port) => Some(Name { host: host.as_str().into(), port: *port }),
        Endpoint::Tcp(_) | Endpoint::Unix(_) => None,
    }
}

/// How long the loop that takes orders waits for the resolver.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::upstream::Resolver;
    use crate::upstream::resolver::LookUp;

    /// Gives every name the address that it has now, if it has one, and counts questions.
    #[derive(Default)]
    struct Script(Mutex<(Option<u8>, u32)>);

    impl LookUp for Script {
        fn look_up(&self, name: &Name) -> io::Result<Vec<SocketAddr>> {
            let mut state = self.0.lock().expect("no panics");
            state.1 += 1;
            let last = state.0.ok_or_else(|| io::Error::other("out of order"))?;
            Ok(vec![([192, 0, 2, last], name.port).into()])
        }
    }

    fn world() -> (Standing, Arc<Script>) {
        let text = "[[listener]]\nname = \"a\"\nlisten = \"127.0.0.1:1\"\n\
                    upstream = \"127.0.0.1:2\"\n[listener.tls]\ncertificate = \"a\"\n\
                    certificate_key = \"b\"\n";
        let config = crate::config::parse("a.toml", text).expect("no mistakes");
        let mut standing = Standing::new(&config).expect("random numbers");
        let script = Arc::new(Script::default());
        standing.resolver = Resolver::new(Arc::clone(&script) as _);
        (standing, script)
    }

    fn compile(
        standing: &Standing,
        addresses: Addresses,
        warnings: &mut Vec<String>,
    ) -> Result<upstream::Endpoint, String> {
        let endpoint = Endpoint::Name("sip.example.com".to_owned(), 5060);
        let upstreams = Upstreams::look_up(standing, [("sip", &endpoint)].into_iter(), addresses);
        upstreams.endpoint("sip", &endpoint, warnings)
    }

    #[test]
    fn a_name_that_never_had_an_address_is_a_mistake_and_one_that_had_keeps_it() {
        let (standing, script) = world();
        let mut warnings = Vec::new();
        let error = compile(&standing, Addresses::Fresh, &mut warnings).expect_err("no address");
        assert_eq!(error, "sip.example.com:5060 (out of order)");
        script.0.lock().expect("no panics").0 = Some(1);
        let first = compile(&standing, Addresses::Fresh, &mut warnings).expect("an address");
        assert_eq!(warnings, [""; 0]);
        script.0.lock().expect("no panics").0 = None;
        let second = compile(&standing, Addresses::Fresh, &mut warnings).expect("its last one");
        assert!(Arc::ptr_eq(&first.presence, &second.presence));
        assert_eq!(second.presence.figures().look_up_failures, 1);
        let warning = "upstream sip.example.com:5060 of sip cannot be resolved, and keeps its last \
                       addresses: out of order";
        assert_eq!(warnings, [warning]);
    }

    #[test]
    fn names_are_looked_up_anew_only_when_asked_to() {
        let (standing, script) = world();
        let mut warnings = Vec::new();
        script.0.lock().expect("no panics").0 = Some(1);
        let endpoint = compile(&standing, Addresses::Kept, &mut warnings).expect("a new name");
        script.0.lock().expect("no panics").0 = Some(2);
        for (addresses, expected, questions) in
            [(Addresses::Kept, "192.0.2.1:5060", 1), (Addresses::Fresh, "192.0.2.2:5060", 2)]
        {
            compile(&standing, addresses, &mut warnings).expect("known");
            let found = endpoint.presence.destinations()[0].address.to_string();
            assert_eq!(
                (found.as_str(), script.0.lock().expect("no panics").1),
                (expected, questions)
            );
        }
    }
}
