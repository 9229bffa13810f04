//! `tlsgate catalogue uccx`: what releases of Unified CCX speak, and what a route needs for them.

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use serde_json::json;

use super::catalogue::{fail, word};
use super::import::date;
use super::{Exit, print};
use crate::catalogue::Catalogue;
use crate::catalogue::uccx::{Matrix, Over, Question, Row, Version, Wishes};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// A release such as "10.6(1)SU2", or a product such as "SocialMiner 11.6"
    #[arg(value_name = "RELEASE")]
    who: Option<String>,
    /// What a connection to this needs: a product, a release, or versions such as 1.1,1.2
    #[arg(long, value_name = "WHOM", requires = "who", conflicts_with = "from")]
    to: Option<String>,
    /// What a connection from this needs
    #[arg(long, value_name = "WHOM", requires = "who")]
    from: Option<String>,
    /// Print a configuration to begin with
    #[arg(long, requires = "who", conflicts_with = "json")]
    scaffold: bool,
    /// Last day of the legacy lane in it
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date, requires = "scaffold")]
    until: Option<String>,
    /// Addresses that may use that lane, such as 10.1.2.0/28
    #[arg(long, value_name = "CIDR", value_delimiter = ',', requires = "scaffold")]
    allow_from: Vec<String>,
    /// Where the gateway listens
    #[arg(long, value_name = "ADDRESS:PORT", requires = "scaffold")]
    listen: Option<String>,
    /// The server behind the gateway
    #[arg(long, value_name = "ADDRESS:PORT", requires = "scaffold")]
    upstream: Option<String>,
    /// About connections to databases, not HTTPS
    #[arg(long)]
    jdbc: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Prints statements of the document, or the answer to a question.
pub(super) fn uccx(options: &Options) -> Exit {
    let matrix = Matrix::shipped();
    let question = match question(options) {
        Some(question) => question,
        None if options.scaffold => return fail("a route has two ends: say --to or --from"),
        None => return statements(&matrix, options),
    };
    match matrix.answer(&question) {
        Ok(answer) if options.scaffold => {
            let wishes = Wishes {
                listen: options.listen.clone(),
                upstream: options.upstream.clone(),
                until: options.until.clone(),
                allow_from: options.allow_from.clone(),
            };
            match answer.scaffold(&Catalogue::shipped(), wishes) {
                Ok(text) => print(&text),
                Err(message) => fail(&message),
            }
        }
        Ok(answer) if options.json => {
            let text = serde_json::to_string_pretty(&answer).expect("keys are strings");
            print(&format!("{text}\n"))
        }
        Ok(answer) => print(&format!("{}\n", answer.lines.join("\n"))),
        Err(message) => fail(&message),
    }
}

fn question(options: &Options) -> Option<Question> {
    let who = options.who.clone()?;
    let over = if options.jdbc { Over::Jdbc } else { Over::Https };
    match (&options.to, &options.from) {
        (Some(to), _) => Some(Question { client: who, server: to.clone(), over }),
        (None, Some(from)) => Some(Question { client: from.clone(), server: who, over }),
        (None, None) => None,
    }
}

/// All, or those about one.
fn statements(matrix: &Matrix, options: &Options) -> Exit {
    let names = options.who.as_ref().map(|who| matrix.named(who));
    if let (Some([]), Some(who)) = (names.as_deref(), &options.who) {
        return fail(&matrix.not_there(who));
    }
    let is_asked_for = |row: &&Row| {
        let is_about = names.iter().flatten().any(|name| row.is_about(name));
        (names.is_none() || is_about) && (!options.jdbc || row.over == Some(Over::Jdbc))
    };
    let rows: Vec<&Row> = matrix.rows().iter().filter(is_asked_for).collect();
    if options.json {
        return print(&format!("{}\n", json!(rows)));
    }
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["where", "who", "role", "TLS", "source", "note"]);
    for row in &rows {
        let role = row.role.map_or_else(String::new, |role| word(json!(role)));
        let note = row.note.clone().unwrap_or_default();
        let place = word(json!(row.table));
        table.add_row([place, row.who.join(", "), role, speaks(row), row.seed.clone(), note]);
    }
    print(&format!("{table}\n{} statement(s)\n", rows.len()))
}

/// What a row says about versions.
fn speaks(row: &Row) -> String {
    let list = |list: &[Version]| {
        let words = list.iter().map(|version| match row.default {
            Some(default) if default == *version && list.len() > 1 => {
                format!("{version} (default)")
            }
            _ => version.to_string(),
        });
        words.collect::<Vec<_>>().join(", ")
    };
    let mut parts = Vec::new();
    if !row.versions.is_empty() {
        parts.push(list(&row.versions));
    }
    if !row.when_enabled.is_empty() {
        parts.push(format!("{} when switched on", list(&row.when_enabled)));
    }
    if !row.without.is_empty() {
        let after = row.after.as_ref().map_or_else(String::new, |day| format!(" after {day}"));
        parts.push(format!("not {}{after}", list(&row.without)));
    }
    parts.extend(row.newer_from.as_ref().map(|release| format!("1.1, 1.2 from {release}")));
    let without = row.without_1_0_from.as_ref();
    parts.extend(without.map(|release| format!("not 1.0 from {release}")));
    if let Some(over) = row.over {
        parts.push(format!("({})", word(json!(over))));
    }
    parts.join("; ")
}
