//! What a running gateway answers.

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{Request, Response, UpstreamChange, What};
use crate::admin;
use crate::app::audit::connection_row;
use crate::app::{Gateway, Reloaded};
use crate::audit::query::MAX_ROWS;
use crate::audit::report::{List, PairRow};
use crate::audit::{Query, Section};
use crate::policy::{Downstream, ListenerPolicy, Route};
use crate::shard::census::Which;
use crate::upstream::Group;

impl Gateway {
    /// Does what is asked, or tells it.
    pub fn answer(&mut self, request: Request, content: Zeroizing<Vec<u8>>) -> Response {
        match request {
            Request::Reload => Response::of_reload(self.reload()),
            Request::Audit { mut query } => {
                query.limit = query.limit.min(MAX_ROWS);
                Response::Audited { report: Box::new(self.audit(&query)) }
            }
            Request::Explain { connection } => match self.explain(&connection) {
                Ok(explained) => Response::Explained { explained: Box::new(explained) },
                Err(error) => Response::refused(error),
            },
            Request::Show { what } => match self.show(what) {
                Ok(shown) => Response::Shown { shown },
                Err(error) => Response::refused(error),
            },
            Request::Connections { filter, limit } => {
                let limit = limit.min(MAX_ROWS);
                let which = Which::Matching(Box::new(filter), limit);
                let Some(auditor) = self.status.auditor() else { return Response::going_down() };
                let (live, workers_missing) = auditor.connections(None, &which);
                let rows = live.iter().map(connection_row).collect();
                Response::Connections { connections: List::cut(rows, limit), workers_missing }
            }
            Request::Dismiss { filter, farewell, rate, jitter } => {
                Response::of_dismissal(self.dismiss(filter, farewell, (rate, jitter)))
            }
            Request::Dismissals { number } => {
                Response::Dismissals { dismissals: self.dismissals(number) }
            }
            Request::CallOff { number } => Response::of_dismissal(self.call_off(number)),
            Request::Begin => Response::of_transaction(self.begin_replacing()),
            Request::Put { transaction, path, .. } => {
                Response::of_transaction(self.put(transaction, &path, content))
            }
            Request::Commit { transaction } => match self.commit(transaction) {
                Ok(Reloaded { generation, warnings }) => Response::Done { generation, warnings },
                Err(error) => Response::refused(error),
            },
            Request::Abort { transaction } => match self.abort(transaction) {
                Ok(()) => Response::Changed { text: "nothing has changed".to_owned() },
                Err(error) => Response::refused(error),
            },
            Request::Upstream { route, endpoint, change } => {
                match self.change_upstream(&route, &endpoint, change) {
                    Ok(text) => Response::Changed { text },
                    Err(error) => Response::refused(error),
                }
            }
            Request::SetLogLevel { .. } => Response::refused("this command has no process log"),
        }
    }

    fn show(&self, what: What) -> Result<Value, String> {
        if what == What::Routes {
            return Ok(self.routes());
        }
        let status = admin::status_of(&*self.status).map_err(|error| error.to_string())?;
        let Value::Object(mut status) = status else { return Err("there is no status".to_owned()) };
        let mut take = |key: &str| status.remove(key).unwrap_or_default();
        Ok(match what {
            What::Info => {
                let config = take("config");
                let mut info = some(&mut take, &INFO);
                info.insert("process_id".to_owned(), std::process::id().into());
                info.insert("config".to_owned(), config);
                Value::Object(info)
            }
            What::Upstreams => take("upstreams"),
            What::Certificates => {
                let mut all = some(&mut take, &CERTIFICATES);
                let replaced = self.replacements.paths().map(|path| path.display().to_string());
                all.insert("replaced_files".to_owned(), replaced.collect());
                Value::Object(all)
            }
            What::Crls => take("crls"),
            What::Sessions => {
                let shared = take("shared");
                let mut sessions = some(&mut take, &SESSIONS);
                let store = shared.as_object().into_iter().flatten();
                let of_store = store.filter_map(|(key, value)| {
                    key.strip_prefix("session_").map(|key| (key.to_owned(), value.clone()))
                });
                sessions.insert("store".to_owned(), Value::Object(of_store.collect()));
                Value::Object(sessions)
            }
            What::Shards => take("shards"),
            What::Errors => errors(&take("listeners"), &take("connections"), &take("config")),
            What::Routes => unreachable!("answered above"),
        })
    }

    /// Every route of the configuration that runs, with what was seen there since the start, also
    /// under earlier ones.
    fn routes(&self) -> Value {
        let query = Query { limit: MAX_ROWS, ..Query::of(Section::Pairs) };
        let pairs = self.audit(&query).pairs.map(|pairs| pairs.rows).unwrap_or_default();
        let policy = self.standing.policy.as_ref();
        let listeners = policy.into_iter().flat_map(|policy| &policy.listeners);
        let rows = listeners.flat_map(|listener| {
            let pairs = &pairs;
            listener.routes.iter().map(move |route| route_row(listener, route, pairs))
        });
        rows.collect()
    }

    fn change_upstream(
        &self,
        route: &str,
        endpoint: &str,
        change: UpstreamChange,
    ) -> Result<String, String> {
        let groups = self.standing.policy.as_ref().map(|policy| policy.groups());
        let groups = groups.unwrap_or_default();
        let Some(group) = groups.iter().find(|group| *group.name == *route) else {
            return Err(format!("no route is called \"{route}\": {}", names(&groups)));
        };
        let known = group.endpoints.iter().find(|known| *known.name == *endpoint);
        let Some(known) = known else {
            let names: Vec<&str> = group.endpoints.iter().map(|one| &*one.name).collect();
            return Err(format!(
                "route {route} has no endpoint \"{endpoint}\": there are {}",
                names.join(", ")
            ));
        };
        let is_now = match change {
            UpstreamChange::Enable => {
                known.presence.set_enabled(true);
                "enabled".to_owned()
            }
            UpstreamChange::Disable => {
                known.presence.set_enabled(false);
                let are_left = group.endpoints.iter().any(|one| one.presence.is_enabled());
                let warning = if are_left { "" } else { ", and no other is left to the route" };
                format!("disabled: no new connection goes there{warning}")
            }
            UpstreamChange::Weight(weight) => {
                known.presence.set_weight(weight)?;
                format!("of weight {}", known.weight())
            }
        };
        Ok(format!("{endpoint} of route {route} is {is_now}"))
    }
}

fn some<const N: usize>(
    take: &mut impl FnMut(&str) -> Value,
    keys: &[&str; N],
) -> Map<String, Value> {
    keys.iter().map(|key| ((*key).to_owned(), take(key))).collect()
}

fn route_row(listener: &ListenerPolicy, route: &Route, pairs: &[PairRow]) -> Value {
    let seen =
        pairs.iter().filter(|pair| *pair.listener == *listener.name && *pair.route == *route.name);
    let (open, connections) = seen.fold((0, 0), |(open, connections), pair| {
        (open + pair.seen.open, connections + pair.seen.connections)
    });
    let downstream = match listener.downstream {
        Downstream::Tls => "tls",
        Downstream::Plaintext => "plaintext",
        Downstream::Detect => "autodetect",
        Downstream::Passthrough => "passthrough",
    };
    let upstream = if route.upstream_tls.is_some() { "tls" } else { "plaintext" };
    let endpoints: Vec<&str> = route.upstreams.endpoints.iter().map(|one| &*one.name).collect();
    json!({
        "listener": *listener.name,
        "route": *route.name,
        "downstream": downstream,
        "upstream": upstream,
        "endpoints": endpoints,
        "open": open,
        "connections": connections,
    })
}

/// What went wrong.
fn errors(listeners: &Value, connections: &Value, config: &Value) -> Value {
    let of_listener = |listener: &Value| {
        let mut closed = listener["closed"].clone();
        if let Some(reasons) = closed.as_object_mut() {
            reasons.retain(|reason, _| !ORDERLY.contains(&reason.as_str()));
        }
        json!({
            "name": listener["name"],
            "handshake_failures": listener["handshake_failures"],
            "closed": closed,
        })
    };
    let listeners: Vec<Value> =
        listeners.as_array().into_iter().flatten().map(of_listener).collect();
    json!({
        "listeners": listeners,
        "refused": connections["refused"],
        "shed": connections["shed"],
        "accept_errors": connections["accept_errors"],
        "last_refused_configuration": config["last_failure"],
    })
}

fn names(groups: &[std::sync::Arc<Group>]) -> String {
    let names: Vec<&str> = groups.iter().map(|group| &*group.name).collect();
    format!("there are {}", names.join(", "))
}

const INFO: [&str; 11] = [
    "version",
    "state",
    "engine",
    "engine_reason",
    "sandbox",
    "started_unix_ms",
    "uptime_seconds",
    "workers",
    "process",
    "generations",
    "connections",
];
const CERTIFICATES: [&str; 2] = ["certificates", "peer_certificates"];
const SESSIONS: [&str; 3] = ["tickets", "sessions_rejected", "upstream_sessions"];
/// Reasons of ends that are nobody's failure.
const ORDERLY: [&str; 4] = ["finished", "idle_timeout", "dismissed", "drained"];
