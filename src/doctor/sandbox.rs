//! What keeps a gateway where it is, should somebody take it over.

use super::facts::Facts;
use super::finding::{Finding, Level, Verdict};
use super::needs::Needs;

const WHY: &str = "whoever takes the process over, by a mistake of its own or of a library, has what is \
                   not limited (SECURITY.md)";

pub(super) fn parts(facts: &Facts<'_>, needs: &Needs) -> Verdict {
    if !needs.sandbox {
        return Finding::new(Level::Advice, "switched off: gateway.sandbox = \"off\"")
            .advise("\"on\"")
            .why(WHY)
            .alone();
    }
    let Some(live) = &facts.live else {
        return Err("only the running kernel says what it can limit".to_owned());
    };
    let text = |parts: &mut dyn Iterator<Item = String>| parts.collect::<Vec<_>>().join("; ");
    let mut lacking = live.sandbox.iter().filter(|part| part.holds.is_err()).peekable();
    if lacking.peek().is_none() {
        return Finding::ok(text(&mut live.sandbox.iter().map(ToString::to_string))).alone();
    }
    Finding::new(Level::Advice, text(&mut lacking.map(ToString::to_string)))
        .advise("a kernel that has it (landlock: Linux 5.13, and in lsm=), and no container that forbids it")
        .why(WHY)
        .command("cat /sys/kernel/security/lsm")
        .alone()
}
