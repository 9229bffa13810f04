//! The battery: every row of the catalogue carries its traffic, and holds what holds for all.
//!
//! Mode, first speaker, framing, mutual TLS, the level of the options and what has to fail follow
//! from the row (`case`), its route from what the catalogue writes (`estate`). What would repeat the
//! same path is run once for each combination of them; the table says which.

mod case;
mod common;
mod component;
mod estate;
mod groups;
pub(crate) mod peers;
mod pki;
mod report;
mod rows;
mod script;
mod stream;
mod wrapping;

use crate::support::{Engine, engines, skip_impossible};

/// Every row's traffic through one gateway, and what the log and `explain` say about it.
#[test]
#[ignore = "run by tests/run"]
fn battery_rows() {
    let mut report = report::Part::new("rows");
    for engine in engines() {
        rows::run(engine, &mut report);
    }
    report.write();
}

/// Whom the ends believe: C2 to C5.
#[test]
#[ignore = "run by tests/run"]
fn battery_common_trust() {
    let mut report = report::Part::new("common_trust");
    for engine in engines() {
        common::trust::chains(engine, &mut report);
        common::trust::clients(engine, &mut report);
        common::trust::encryption_only(engine, &mut report);
    }
    report.write();
}

/// What is carried, and what is told when there is nobody to carry it to: C1, C9.
#[test]
#[ignore = "run by tests/run"]
fn battery_common_traffic() {
    let mut report = report::Part::new("common_traffic");
    for engine in engines() {
        common::traffic::bytes(engine, &mut report);
        common::traffic::down(engine, &mut report);
    }
    report.write();
}

/// The same bytes and ends where a thread of the kernel submits, and workers poll: C1.
#[test]
#[ignore = "run by tests/run"]
fn battery_polling() {
    if engines().contains(&Engine::Uring) {
        // The table has it of the other engines.
        common::traffic::bytes(Engine::Polled, &mut report::Part::new("polling"));
    }
}

/// What is offered, and who decides: C6, C7, C11.
#[test]
#[ignore = "run by tests/run"]
fn battery_common_offers() {
    let mut report = report::Part::new("common_offers");
    for engine in engines() {
        common::offers::versions(engine, &mut report);
        common::offers::names(engine, &mut report);
        common::levels::precedence(engine, &mut report);
    }
    report.write();
}

/// What changes while connections are up: C8.
#[test]
#[ignore = "run by tests/run"]
fn battery_common_rotation() {
    let mut report = report::Part::new("common_rotation");
    for engine in engines() {
        common::rotation::rotation(engine, &mut report);
        common::rotation::expired_lists(engine, &mut report);
    }
    report.write();
}

/// All rows at once, silent: C10.
#[test]
#[ignore = "run by tests/run"]
fn battery_common_silence() {
    let mut report = report::Part::new("common_silence");
    for engine in engines() {
        common::traffic::silence(engine, &mut report);
    }
    report.write();
}

/// What has to work and what has to fail in each row's group.
#[test]
#[ignore = "run by tests/run"]
fn battery_groups() {
    let mut report = report::Part::new("groups");
    for engine in engines() {
        groups::run(engine, &mut report);
    }
    report.write();
}

/// Servers and clients from packages.
#[test]
#[ignore = "run by tests/run"]
fn battery_real_peers() {
    let mut report = report::Part::new("real_peers");
    if peers::run(&engines(), &mut report) {
        report.write();
    }
}

/// All of it in one table: no row without its traffic and the common items.
#[test]
#[ignore = "run by tests/run"]
fn battery_table() {
    let report = report::Report::read();
    let wanted = [
        "rows",
        "common_trust",
        "common_traffic",
        "common_silence",
        "common_offers",
        "common_rotation",
        "groups",
        "real_peers",
    ];
    if let Some(missing) = wanted.iter().find(|part| !report.parts.contains(**part)) {
        skip_impossible(&format!("battery_{missing} has not run with this program"));
        return;
    }
    println!("{}", report.table());
    for case in case::Case::all() {
        let [on_row, through] = report.items(&case);
        assert!(on_row.contains("traffic"), "{case}");
        for (sign, words) in [("+", &case.must_succeed), ("-", &case.must_fail)] {
            for word in words.iter().filter(|word| groups::is_about(word, &case)) {
                assert!(on_row.contains(&format!("{sign}{word}")), "{case}: {sign}{word}");
            }
        }
        let missing: Vec<&str> = common::items(&case.combination)
            .into_iter()
            .filter(|item| !on_row.contains(*item) && !through.contains(*item))
            .collect();
        assert!(missing.is_empty(), "{case}: {missing:?}");
    }
    let [servers, clients] = [true, false].map(|is_server| report.programs(is_server));
    println!("servers: {servers:?}\nclients: {clients:?}");
    assert!(peers::distinct(&servers) >= 12 && peers::distinct(&clients) >= 12);
    println!("{}", report.write().display());
}
