//! Files that nobody would write: there is always an answer.

use proptest::prelude::*;

use super::{EVERYTHING, parse, refused_by_the_schema};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Bytes replaced, lines removed, doubled and swapped: there is always an answer, and every
    /// diagnostic points into the file.
    #[test]
    fn mutations_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..5, any::<char>()), 1..12),
    ) {
        let mut lines: Vec<String> = EVERYTHING.lines().map(str::to_owned).collect();
        for (index, action, character) in edits {
            let at = index.index(lines.len());
            match action {
                0 => lines[at].push(character),
                1 => lines[at] = lines[at].replace(['"', '=', '1'], &character.to_string()),
                2 if lines.len() > 1 => drop(lines.remove(at)),
                3 => lines.insert(at, lines[at].clone()),
                _ => lines.swap(at, 0),
            }
        }
        check_answer(&lines.join("\n"))?;
    }

    /// What is left of a file either has every value or a diagnostic.
    #[test]
    fn any_lines_left_out(kept in prop::collection::vec(prop::bool::weighted(0.8), 64)) {
        let lines = EVERYTHING.lines().zip(kept).filter(|(_, kept)| *kept).map(|(line, _)| line);
        check_answer(&lines.collect::<Vec<_>>().join("\n"))?;
    }

    #[test]
    fn tokens_in_any_order_never_panic(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "\"", "'", "\"\"\"", "#", "listener",
                "gateway", "tls", "certificates", "name", "\"x\"", "1", "-", "0x", "1e9", "true", "é",
            ]),
            0..40,
        ),
    ) {
        check_answer(&tokens.concat())?;
    }
}

pub(super) fn check_answer(text: &str) -> Result<(), TestCaseError> {
    let Err(diagnostics) = parse("a.toml", text) else {
        prop_assert_eq!(refused_by_the_schema(text), [""; 0]);
        return Ok(());
    };
    prop_assert!(!diagnostics.is_empty());
    let lines = text.split('\n').count();
    let mut last = 0;
    for one in diagnostics.as_slice() {
        prop_assert!((1..=lines).contains(&one.line), "{one}");
        prop_assert!(one.column >= 1 && one.line >= last, "{one}");
        prop_assert!(!one.message.is_empty() && !one.hint.is_empty(), "{one}");
        last = one.line;
    }
    Ok(())
}
