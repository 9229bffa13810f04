//! What configurations said, for as long as connections live under them: `explain` names file and
//! line.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::config;
use crate::config::origins::Origin;
use crate::policy::Policy;

/// A configuration file's name, as messages have it, and what it said.
#[derive(Clone, Debug)]
pub struct Text {
    pub name: String,
    pub text: Arc<str>,
}

impl Text {
    /// What holds for a listener, where this rule of it is followed, and who says so; `None` if it
    /// says nothing of the listener.
    pub fn options(&self, listener: &str, rule: Option<&str>) -> Option<Vec<Origin>> {
        // It was read without a mistake before.
        let origins = config::origins(&self.name, &self.text).ok()?;
        let origins = origins.into_iter().find(|one| one.listener == listener)?;
        Some(origins.under(rule).into_iter().cloned().collect())
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Texts {
    /// Of the configuration that runs.
    current: Text,
    /// By generation, the newest last.
    kept: VecDeque<(u64, Weak<Policy>, Text)>,
}

impl Texts {
    /// For a gateway that runs `policy`, which was made from `text`.
    pub(super) fn new(text: Text, policy: &Arc<Policy>) -> Self {
        let mut texts = Self { current: text.clone(), kept: VecDeque::new() };
        texts.add(text, policy);
        texts
    }

    /// `policy` runs from now on. What nobody lives under any more is forgotten.
    pub(super) fn add(&mut self, mut text: Text, policy: &Arc<Policy>) {
        if text.text == self.current.text {
            // New certificates, old text.
            text.text = Arc::clone(&self.current.text);
        }
        self.current = text.clone();
        self.kept.retain(|(_, policy, _)| policy.strong_count() > 0);
        if self.kept.len() >= MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((policy.generation, Arc::downgrade(policy), text));
    }

    /// Of the configuration that runs.
    pub(super) fn current(&self) -> &Text {
        &self.current
    }

    /// Of a generation; `None` if it is forgotten.
    pub(super) fn of(&self, generation: u64) -> Option<&Text> {
        let mut kept = self.kept.iter();
        kept.find(|(other, ..)| *other == generation).map(|(.., text)| text)
    }
}

/// Texts that are kept. A text has 2 MiB where there are thousands of listeners, and equal ones
/// share it.
const MAX_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(generation: u64) -> Arc<Policy> {
        Arc::new(Policy { generation, listeners: Vec::new() })
    }

    fn text(text: &str) -> Text {
        Text { name: "a.toml".to_owned(), text: text.into() }
    }

    #[test]
    fn a_text_is_kept_while_somebody_lives_under_it() {
        let (first, second, third) = (policy(1), policy(2), policy(3));
        let mut texts = Texts::new(text("one"), &first);
        texts.add(text("two"), &second);
        drop(second);
        texts.add(text("two"), &third);
        assert_eq!(&*texts.of(1).expect("first is held").text, "one");
        assert!(texts.of(2).is_none(), "nobody lives under it");
        assert_eq!(&*texts.of(3).expect("it runs").text, "two");
        assert_eq!(&*texts.current().text, "two");
    }

    #[test]
    fn texts_are_not_kept_without_end() {
        let policies: Vec<_> = (1..=200).map(policy).collect();
        let mut texts = Texts::new(text("same"), &policies[0]);
        for policy in &policies[1..] {
            texts.add(text("same"), policy);
        }
        assert_eq!(texts.kept.len(), MAX_KEPT);
        assert!(texts.of(100).is_none() && texts.of(200).is_some());
        let shared = Arc::strong_count(&texts.current.text);
        assert_eq!(shared, MAX_KEPT + 1, "equal texts are one");
    }
}
