//! The house is tidy: what ARCHITECTURE.md and CONTRIBUTING.md say about the source is so.
//!
//! A rule is a function from the source to findings, each with place, reason and way out. `fixtures`
//! are small sources that break each rule.

mod checks;
mod documents;
mod finding;
mod fixtures;
mod sizes;
mod source;
mod walls;
mod words;

use std::sync::LazyLock;

use finding::demand_none;
use source::Tree;

static TREE: LazyLock<Tree> = LazyLock::new(Tree::read);

#[test]
fn pure_modules_are_pure() {
    assert!(walls::pure_folders(&TREE).len() >= 6, "the table in ARCHITECTURE.md");
    demand_none(walls::purity(&TREE));
}

#[test]
fn dependencies_point_one_way() {
    demand_none(walls::directions(&TREE));
}

#[test]
fn what_is_reserved_is_named_in_its_place() {
    demand_none(walls::reserved(&TREE));
}

#[test]
fn metric_names_are_written_once() {
    demand_none(walls::metric_names(&TREE));
}

#[test]
fn files_and_functions_are_small() {
    demand_none(sizes::sizes(&TREE, sizes::EXCEPTIONS));
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    demand_none(documents::keys_documented(&TREE, tlsgate::config::reference()));
}

#[test]
fn every_key_of_the_configuration_is_read() {
    demand_none(documents::keys_read(&TREE, tlsgate::config::reference()));
}

#[test]
fn every_value_of_the_configuration_is_used() {
    demand_none(documents::values_used(&TREE));
}

#[test]
fn every_folder_is_in_the_architecture() {
    demand_none(documents::folders(&TREE));
}

#[test]
fn nothing_is_left_to_do_in_comments_and_macros() {
    demand_none(words::left_to_do(&TREE));
}

#[test]
fn names_keep_to_the_glossary() {
    demand_none(words::synonyms(&TREE));
}

#[test]
fn every_file_belongs_to_the_program_or_its_tests() {
    demand_none(checks::orphans(&TREE));
}

#[test]
fn every_check_runs_on_both_engines() {
    demand_none(checks::engines(&TREE, checks::ONE_ENGINE));
}

#[test]
fn every_check_is_found_by_tests_run() {
    demand_none(checks::listed(&TREE));
}
