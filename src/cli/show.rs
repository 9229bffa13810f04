//! `tlsgate show`: how things stand in a running gateway, as tables or JSON.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use comfy_table::Table;
use serde_json::{Value, json};

use super::whom::{self, Whom};
use super::{Exit, audit_tables, print};
use crate::app::control::{Request, Response, What};
use crate::app::{Filter, Generations, Stage};
use crate::audit::query::MAX_ROWS;
use crate::policy::rules::Cidr;

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    part: Part,
}

/// What is shown.
#[derive(Debug, Subcommand)]
enum Part {
    /// The process, its configuration, and connections by generation
    Info(Asking),
    /// Open connections
    Connections(Connections),
    /// Where connections go, and how many are open there
    Routes(Asking),
    /// Endpoints with their connections, health and weights
    Upstreams(Asking),
    /// Certificates: ours, and those of peers that expire first
    Certificates(Asking),
    /// Lists of revoked certificates
    Crls(Asking),
    /// What can be resumed, and was or was not; never a key
    Sessions(Asking),
    /// The workers
    Shards(Asking),
    /// What went wrong, by listener and reason
    Errors(Asking),
    /// Drains and closes that were ordered lately, and how far they are
    Dismissals(Asking),
}

/// Whom to ask, and how to print what they say.
#[derive(Args, Debug)]
struct Asking {
    #[command(flatten)]
    whom: Whom,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Connections {
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    filter: FilterOptions,
    /// Most rows
    #[arg(long, value_name = "ROWS", default_value_t = 1000)]
    limit: usize,
}

/// Options that say which connections are meant.
#[derive(Args, Debug)]
pub(super) struct FilterOptions {
    /// Only of this listener
    #[arg(long, value_name = "LISTENER")]
    listener: Option<String>,
    /// Only of this route: a rule's name, or a listener's for those that no rule has taken
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Only from this address or range, as in 10.1.0.0/16
    #[arg(long, value_name = "RANGE")]
    source: Option<Cidr>,
    /// Only of peers with this subject in their certificate, as the access log has it
    #[arg(long, value_name = "SUBJECT")]
    identity: Option<String>,
    /// Only admitted under this generation of the configuration, or "old": all but the current one
    #[arg(long, value_name = "NUMBER")]
    generation: Option<Generations>,
    /// Only so far: proxy, hello, handshake, connecting or relay
    #[arg(long, value_name = "PHASE", value_parser = phase)]
    phase: Option<Stage>,
}

impl FilterOptions {
    pub(super) fn filter(&self) -> Filter {
        Filter {
            listener: self.listener.clone(),
            route: self.route.clone(),
            source: self.source,
            identity: self.identity.clone(),
            generation: self.generation,
            phase: self.phase,
        }
    }
}

/// Asks and prints.
pub(super) fn show(options: &Options) -> Exit {
    let (what, asking) = match &options.part {
        Part::Connections(options) => return connections(options),
        Part::Dismissals(asking) => return dismissals(asking),
        Part::Info(asking) => (What::Info, asking),
        Part::Routes(asking) => (What::Routes, asking),
        Part::Upstreams(asking) => (What::Upstreams, asking),
        Part::Certificates(asking) => (What::Certificates, asking),
        Part::Crls(asking) => (What::Crls, asking),
        Part::Sessions(asking) => (What::Sessions, asking),
        Part::Shards(asking) => (What::Shards, asking),
        Part::Errors(asking) => (What::Errors, asking),
    };
    match asking.whom.ask(&Request::Show { what }) {
        Ok(Response::Shown { shown }) if asking.json => print(&format!("{shown:#}\n")),
        Ok(Response::Shown { shown }) => print(&text_of(&shown)),
        answer => whom::failed(answer),
    }
}

fn connections(options: &Connections) -> Exit {
    let Connections { asking, filter, limit } = options;
    let limit = (*limit).min(MAX_ROWS);
    match asking.whom.ask(&Request::Connections { filter: filter.filter(), limit }) {
        Ok(Response::Connections { connections, workers_missing }) => {
            if asking.json {
                let all = json!({
                    "connections": connections.rows,
                    "truncated": connections.left_out > 0,
                    "workers_missing": workers_missing,
                });
                return print(&format!("{all:#}\n"));
            }
            let mut text = audit_tables::connections(&connections);
            if workers_missing > 0 {
                text.push_str(&format!("{workers_missing} worker(s) did not answer\n"));
            }
            print(&text)
        }
        answer => whom::failed(answer),
    }
}

fn dismissals(asking: &Asking) -> Exit {
    match asking.whom.ask(&Request::Dismissals { number: None }) {
        Ok(Response::Dismissals { dismissals }) => {
            let rows = json!(dismissals);
            print(&if asking.json { format!("{rows:#}\n") } else { text_of(&rows) })
        }
        answer => whom::failed(answer),
    }
}

fn phase(word: &str) -> Result<Stage, String> {
    serde_json::from_value(word.into())
        .map_err(|_| "proxy, hello, handshake, connecting or relay".to_owned())
}

/// Tables: one for each list of objects, and one for all the rest in front of them.
fn text_of(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Array(rows) => text.push_str(&rows_of(rows)),
        value => {
            let (lists, rest): (Vec<_>, Vec<_>) =
                flat(value).into_iter().partition(|(_, value)| value.is_array());
            if !rest.is_empty() {
                let mut table = Table::new();
                for (key, value) in &rest {
                    table.add_row([key.clone(), word(value)]);
                }
                text.push_str(&format!("{table}\n"));
            }
            for (key, list) in lists {
                let rows = list.as_array().map(Vec::as_slice).unwrap_or_default();
                text.push_str(&format!("{key}: {}\n{}", rows.len(), rows_of(rows)));
            }
        }
    }
    text
}

/// A row for each, with a column for everything that any of them has.
fn rows_of(rows: &[Value]) -> String {
    let rows: Vec<BTreeMap<String, Value>> = rows.iter().map(flat).collect();
    let mut columns: Vec<&String> = rows.iter().flat_map(BTreeMap::keys).collect();
    columns.sort();
    columns.dedup();
    if columns.is_empty() {
        return "none\n".to_owned();
    }
    let mut table = Table::new();
    table.set_header(&columns);
    for row in &rows {
        table.add_row(columns.iter().map(|column| row.get(*column).map_or_else(String::new, word)));
    }
    format!("{table}\n")
}

/// Everything that is in it, by path; lists of objects stay lists.
fn flat(value: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    flatten("", value, &mut all);
    all
}

fn flatten(path: &str, value: &Value, all: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(parts) => {
            for (key, part) in parts {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, part, all);
            }
        }
        Value::Array(words) if words.iter().all(|word| !word.is_object()) => {
            let words: Vec<String> = words.iter().map(word).collect();
            all.insert(path.to_owned(), Value::String(words.join(", ")));
        }
        value => drop(all.insert(path.to_owned(), value.clone())),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_tables() {
        let value = json!({
            "version": "1.2.3",
            "generations": { "1": 50, "3": 0 },
            "none": null,
            "lists": [{ "name": "a", "closed": { "reset": { "peer": 2 } } }, { "name": "b" }],
        });
        let text = text_of(&value);
        for expected in ["generations.1", "50", "version", "1.2.3", "lists: 2", "closed.reset.peer"]
        {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let endpoints = text_of(&json!([{ "name": "a", "endpoints": ["x:1", "y:2"] }]));
        assert!(endpoints.contains("x:1, y:2"), "{endpoints}");
        assert_eq!(text_of(&json!([])), "none\n");
        assert_eq!(phase("relay"), Ok(Stage::Relay));
        assert!(phase("asleep").is_err());
    }
}
