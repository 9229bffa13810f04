//! Names and lines of rules: kept apart from the table, so that no lookup reads past them.

use super::spec::RuleSpec;

#[derive(Debug, Default)]
pub(super) struct Labels {
    text: Box<str>,
    /// By rule: where its name ends in the text, and its line.
    ends: Box<[(u32, u32)]>,
}

impl Labels {
    /// `None` if the names have more than 4 GiB together.
    pub(super) fn new(specs: &[RuleSpec]) -> Option<Self> {
        let mut text = String::with_capacity(specs.iter().map(|spec| spec.name.len()).sum());
        let ends: Option<Box<[_]>> = specs
            .iter()
            .map(|spec| {
                text.push_str(&spec.name);
                Some((u32::try_from(text.len()).ok()?, spec.line))
            })
            .collect();
        Some(Self { text: text.into(), ends: ends? })
    }

    /// Name and line.
    ///
    /// # Panics
    /// If there is no such rule.
    pub(super) fn of(&self, rule: usize) -> (&str, u32) {
        let (end, line) = self.ends[rule];
        let start = rule.checked_sub(1).map_or(0, |before| self.ends[before].0);
        (&self.text[start as usize..end as usize], line)
    }
}
