//! What the configuration names: certificates, CAs, lists of revoked ones, keys, and hosts.

use super::facts::{Access, Ends, Facts, FileFacts, FileKind};
use super::finding::{Finding, Level, Verdict};
use super::needs::Needs;
use crate::audit::expiry::SOON_DAYS;

const NO_CONFIG: &str = "the configuration names none";
const DAY: i64 = 24 * 3600;

pub(super) fn certificates(facts: &Facts<'_>, _: &Needs) -> Verdict {
    each(
        facts,
        |kind| *kind == FileKind::Certificate,
        |file, ends| {
            let why = "peers refuse it on that day, all at once";
            certificate(facts.now, file, ends, Level::Failure, why)
        },
    )
}

pub(super) fn authorities(facts: &Facts<'_>, _: &Needs) -> Verdict {
    each(
        facts,
        |kind| *kind == FileKind::Ca,
        |file, ends| {
            let why = "we trust it as long as it is named, but others refuse what it has signed, and it \
                   signs nothing any more";
            certificate(facts.now, file, ends, Level::Warning, why)
        },
    )
}

pub(super) fn revocation_lists(facts: &Facts<'_>, _: &Needs) -> Verdict {
    each(
        facts,
        |kind| matches!(kind, FileKind::Crl { .. }),
        |file, ends| {
            let rejects = file.kind == FileKind::Crl { rejects: true };
            list(facts.now, file, ends, rejects)
        },
    )
}

pub(super) fn private_keys(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let keys = facts.files.iter().filter_map(|file| match &file.kind {
        FileKind::Key { group } => Some((file, group)),
        _ => None,
    });
    let findings: Vec<Finding> =
        keys.map(|(file, group)| key(facts, file, group.as_deref())).collect();
    if findings.is_empty() { Err(NO_CONFIG.to_owned()) } else { Ok(findings) }
}

/// Names of upstreams, as the resolver knows them.
pub(super) fn names(facts: &Facts<'_>, _: &Needs) -> Verdict {
    if facts.names.is_empty() {
        return Err("no upstream is named by a host".to_owned());
    }
    let findings = facts.names.iter().map(|(name, answer)| match answer {
        Ok(count) => Finding::ok(format!("{name}: {count} address(es)")),
        Err(error) => Finding::new(Level::Failure, format!("{name}: {error}"))
            .advise("a name that can be looked up, or addresses in /etc/hosts")
            .why("the gateway does not start with a name that it cannot look up (exit code 3)")
            .command(format!("getent ahosts {}", name.rsplit_once(':').map_or(&**name, |it| it.0))),
    });
    Ok(findings.collect())
}

/// Who answers questions about names.
pub(super) fn resolver(facts: &Facts<'_>, _: &Needs) -> Verdict {
    let Some(text) = facts.text("/etc/resolv.conf") else {
        return Err("there is no /etc/resolv.conf".to_owned());
    };
    let servers = text.lines().filter(|line| line.trim_start().starts_with("nameserver"));
    let found = format!("{} server(s)", servers.count());
    if facts.names.is_empty() || found != "0 server(s)" {
        return Finding::ok(found).alone();
    }
    Finding::new(Level::Warning, found)
        .advise("two at least, or names in /etc/hosts")
        .why("without one, resolv.conf(5) means the local machine, and a look-up waits 5 s for it")
        .command("editor /etc/resolv.conf")
        .alone()
}

fn each(
    facts: &Facts<'_>,
    is_wanted: impl Fn(&FileKind) -> bool,
    judge: impl Fn(&FileFacts, &Ends) -> Finding,
) -> Verdict {
    let mut findings = Vec::new();
    for file in facts.files.iter().filter(|file| is_wanted(&file.kind)) {
        match &file.ends {
            Ok(all) => {
                // The one that ends first speaks for a bundle.
                let first = all.iter().min_by_key(|ends| ends.until);
                findings.extend(first.map(|ends| judge(file, ends)));
            }
            Err(why) => findings.push(unreadable(file, why)),
        }
    }
    if findings.is_empty() { Err(NO_CONFIG.to_owned()) } else { Ok(findings) }
}

fn unreadable(file: &FileFacts, why: &str) -> Finding {
    Finding::new(Level::Failure, format!("{}: {why}", file.path))
        .advise("a file that can be read")
        .why("the configuration cannot be loaded without it (exit code 3)")
        .command("tlsgate check -c FILE tells line and reason")
}

fn certificate(now: i64, file: &FileFacts, ends: &Ends, over: Level, why: &str) -> Finding {
    let left = (ends.until - now).div_euclid(DAY);
    let age = (now - ends.from).div_euclid(DAY);
    let name = format!("{} ({})", file.path, ends.what);
    let renew = "a new one, and `tlsgate reload`, or gateway.certificate_watch";
    if ends.from > now {
        return Finding::new(Level::Failure, format!("{name}: not valid for {} days yet", -age))
            .advise("to wait, or to set the clock")
            .why("peers refuse it");
    }
    let command = format!("openssl x509 -noout -dates -in {}", file.path);
    match left {
        SOON_DAYS.. => Finding::ok(format!("{name}: {age} days old, {left} left")),
        0.. => Finding::new(Level::Warning, format!("{name}: expires in {left} days"))
            .advise(renew)
            .why(why)
            .command(command),
        _ => Finding::new(over, format!("{name}: expired {} days ago", -left))
            .advise(renew)
            .why(why)
            .command(command),
    }
}

fn list(now: i64, file: &FileFacts, ends: &Ends, rejects: bool) -> Finding {
    let (age, left) = (now - ends.from, ends.until - now);
    let name = format!("{} ({})", file.path, ends.what);
    let command = format!("openssl crl -noout -lastupdate -nextupdate -in {}", file.path);
    let (consequence, over) = match rejects {
        true => ("everybody whose CA it is of is refused (crl_expired)", Level::Failure),
        false => ("it counts on, without what was revoked since (crl_expired)", Level::Warning),
    };
    if left < 0 {
        return Finding::new(over, format!("{name}: expired {} days ago", (-left) / DAY))
            .advise("a new list; crl_watch takes it without a reload")
            .why(consequence)
            .command(command);
    }
    // Lists that are renewed at all have their successor by then.
    if left < (age + left) / 10 {
        return Finding::new(Level::Warning, format!("{name}: expires in {} hours", left / 3600))
            .advise("a new list: nine tenths of its time are over")
            .why(consequence)
            .command(command);
    }
    Finding::ok(format!("{name}: {} days old, {} left", age / DAY, left / DAY))
}

/// Only its owner, and a group that was named, may read a key.
fn key(facts: &Facts<'_>, file: &FileFacts, group: Option<&str>) -> Finding {
    let Access { mode, group: of_file } = match &file.access {
        Ok(access) => *access,
        Err(why) => return unreadable(file, why),
    };
    let groups = facts.text("/etc/group").unwrap_or_default();
    let may = group.and_then(|name| crate::tls::identity::account_number(&groups, name));
    let found = format!("{}: mode {mode:04o}, group {of_file}", file.path);
    let is_open = mode & 0o007 != 0;
    let is_open_to_group = mode & 0o020 != 0 || mode & 0o050 != 0 && may != Some(of_file);
    if !is_open && !is_open_to_group {
        return Finding::ok(found);
    }
    let whom = if is_open { "everybody" } else { "a group that key_group does not name" };
    Finding::new(Level::Failure, format!("{found}: open to {whom}"))
        .advise("0600, or 0640 with the group of key_group; and a new key, if others could log in")
        .why("who reads it can be the server; the gateway refuses to use it")
        .command(format!("chmod 600 {}", file.path))
}
