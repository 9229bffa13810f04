//! The scenarios that come with the program.

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// `P1` to `P13`, `B1` to `B10`.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal $file:literal)*) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../../scenarios/", $file, ".toml")) }),*]
    };
}

/// All of them: what components do, then what a gateway has to stand.
pub const SHIPPED: &[Shipped] = shipped! {
    "P1" "p1" "P2" "p2" "P3" "p3" "P4" "p4" "P5" "p5" "P6" "p6" "P7" "p7" "P8" "p8" "P9" "p9"
    "P10" "p10" "P11" "p11" "P12" "p12" "P13" "p13"
    "B1" "b1" "B2" "b2" "B3" "b3" "B4" "b4" "B5" "b5" "B6" "b6" "B7" "b7" "B8" "b8" "B9" "b9"
    "B10" "b10"
};

/// The one with this name, in capitals or not.
pub fn shipped(name: &str) -> Option<&'static Shipped> {
    SHIPPED.iter().find(|shipped| shipped.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::Scenario;

    fn parsed(shipped: &Shipped) -> Scenario {
        Scenario::parse(shipped.name, shipped.text, &[])
            .unwrap_or_else(|problem| panic!("{problem}"))
    }

    #[test]
    fn all_of_them_are_read_and_say_what_they_are_for() {
        let names: Vec<&str> = SHIPPED.iter().map(|shipped| shipped.name).collect();
        let wanted = (1..=13).map(|number| format!("P{number}"));
        let wanted: Vec<String> =
            wanted.chain((1..=10).map(|number| format!("B{number}"))).collect();
        assert_eq!(names, wanted);
        for shipped in SHIPPED {
            let scenario = parsed(shipped);
            assert!(scenario.about.len() > 10, "{}", shipped.name);
            assert!(shipped.text.starts_with(&format!("# {}: {}\n", shipped.name, scenario.about)));
        }
        let agents = parsed(self::shipped("b1").expect("it is there"));
        let connections = agents.flows.iter().map(|wanted| wanted.flow.plan.pace.concurrency());
        assert_eq!(connections.sum::<usize>(), 60_050);
    }

    #[test]
    fn every_number_has_a_source_or_is_assumed() {
        let readme = include_str!("../../scenarios/README.md");
        let sources: BTreeSet<&str> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
            .map(|(name, _)| name)
            .collect();
        for Shipped { name, text } in SHIPPED {
            for line in text.lines().filter(|line| !line.starts_with(['#', '['])) {
                let Some((key, value)) = line.split_once(" = ") else { continue };
                let (value, comment) = value.split_once('#').unwrap_or((value, ""));
                let has_number = value.chars().any(|sign| sign.is_ascii_digit());
                if !has_number || ["format", "name", "about"].contains(&key) {
                    continue;
                }
                let sourced = comment.split_once("sourced: ").map(|(_, sources)| sources);
                assert!(sourced.is_some() || comment.contains("assumed"), "{name}: {line}");
                let named =
                    sourced.unwrap_or_default().split([':', ';']).next().unwrap_or_default();
                for source in named.split(", ").map(str::trim).filter(|source| !source.is_empty()) {
                    assert!(sources.contains(source), "{name}: {source} is not in README.md");
                }
            }
        }
    }
}
