//! "Did you mean": the likeliest key or word for a mistyped one.

use super::options::{OptionDoc, TABLES, TableDoc, options};

/// Fewest letters that make a beginning telling.
const LEAST_BEGINNING: usize = 3;

/// What to do about a key that its table does not have.
pub(super) fn for_unknown_key(table: &TableDoc, key: &str) -> String {
    let homes = homes(key);
    if !homes.is_empty() {
        return format!("\"{key}\" belongs in {}.", homes.join(" or "));
    }
    match closest(key, keys(table)) {
        Some(likely) => format!("Did you mean \"{likely}\"?"),
        None => "Remove it. config/tlsgate.toml lists every key.".to_owned(),
    }
}

/// Every key that may stand in `table`, options first.
pub(super) fn keys(table: &TableDoc) -> impl Iterator<Item = &'static str> + use<> {
    table.options().map(|option| option.key).chain(table.children().map(TableDoc::key))
}

/// The candidate nearest to `word`: a few letters differ, or one begins with the other. `None`
/// when none is near.
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let near = candidates.filter_map(|written| {
        let candidate = &*written.replace('-', "_");
        let (shorter, longer) = (word.len().min(candidate.len()), word.len().max(candidate.len()));
        let most = (longer / 3).max(1);
        // Also bounds the work: a distance is at least the difference in length.
        let distance = if longer - shorter <= most {
            edit_distance(word.as_bytes(), candidate.as_bytes())
        } else {
            usize::MAX
        };
        let begins = word.starts_with(candidate) || candidate.starts_with(&word);
        match distance {
            _ if distance <= most => Some((distance, written)),
            _ if begins && shorter >= LEAST_BEGINNING => Some((most + 1, written)),
            _ => None,
        }
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Headers of the tables that do have `key`, or that are called so.
fn homes(key: &str) -> Vec<String> {
    // Whoever writes [tls] does not mean the vendor's option of that name.
    let is_table = TABLES.iter().any(|table| table.key() == key);
    let is_meant = |option: &OptionDoc| option.key == key && !(is_table && option.is_vendors());
    let has_option =
        |table: &TableDoc| options().any(|option| option.table == table.name && is_meant(option));
    let homes = TABLES.iter().filter(|table| has_option(table)).map(TableDoc::header);
    let tables = TABLES.iter().filter(|table| !table.name.is_empty() && table.key() == key);
    let parents = tables.map(|table| match table.name.rsplit_once('.') {
        Some((parent, _)) => format!("[{parent}], as {}", table.header()),
        None => format!("the file itself, as {}", table.header()),
    });
    homes.chain(parents).collect()
}

/// Levenshtein's distance: inserted, removed and replaced bytes.
fn edit_distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, left_byte) in left.iter().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (column, right_byte) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(left_byte != right_byte);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::options::table;

    #[test]
    fn distances() {
        assert_eq!(edit_distance(b"", b""), 0);
        assert_eq!(edit_distance(b"kitten", b"sitting"), 3);
        assert_eq!(edit_distance(b"abc", b""), 3);
    }

    #[test]
    fn near_words_only() {
        let words = ["workers", "engine"];
        assert_eq!(closest("wrokers", words.into_iter()), Some("workers"));
        assert_eq!(closest("Engine", words.into_iter()), Some("engine"));
        assert_eq!(closest("threads", words.into_iter()), None);
        assert_eq!(closest("work", words.into_iter()), Some("workers"));
        assert_eq!(closest("worker_threads", ["worker"].into_iter()), Some("worker"));
        assert_eq!(closest("wo", words.into_iter()), None);
        assert_eq!(closest(&"w".repeat(1 << 20), words.into_iter()), None);
    }

    #[test]
    fn a_key_of_another_table_is_sent_home() {
        let listener = table("listener").expect("a table");
        assert_eq!(
            for_unknown_key(listener, "min_version"),
            "\"min_version\" belongs in [listener.tls] or [listener.upstream_tls]."
        );
        let gateway = table("gateway").expect("a table");
        assert_eq!(
            for_unknown_key(gateway, "idle"),
            "\"idle\" belongs in [listener.timeouts] or [listener.keepalive]."
        );
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_zero_for_equals(left in "[a-d]{0,8}", right in "[a-d]{0,8}") {
            let distance = edit_distance(left.as_bytes(), right.as_bytes());
            prop_assert_eq!(distance, edit_distance(right.as_bytes(), left.as_bytes()));
            prop_assert_eq!(distance == 0, left == right);
        }
    }
}
