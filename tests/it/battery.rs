//! The battery: every row of the catalogue carries its traffic, and holds what holds for all.
//!
//! Mode, first speaker, framing, mutual TLS, the level of the options and what has to fail follow
//! from the row (`case`), its route from what the catalogue writes (`estate`). What would repeat the
//! same path is run once for each combination of them; the table says which.

mod case;
mod common;
mod component;
mod estate;
mod pki;
mod report;
mod rows;
mod script;
mod stream;
mod wrapping;

use crate::support::engines;

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

/// Whom the ends believe.
#[test]
#[ignore = "run by tests/run"]
fn battery_common_trust() {
    let mut report = report::Part::new("common_trust");
    for engine in engines() {
        common::trust::chains(engine, &mut report);
    }
    report.write();
}
