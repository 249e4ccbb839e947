//! `tickcast check`: whether this machine suits a configuration, and what to change where it does not.
//!
//! `facts` reads the machine and `files` what the start reads, `rules` and `memory` judge what was read and are pure.

mod facts;
mod files;
mod memory;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use serde_json::json;

use crate::config::{Loaded, Machine};
use facts::Facts;
pub(crate) use files::spool_of;
pub use files::{files, is_of_files};

/// What becomes of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It serves, but not everything that was configured can happen at once.
    Consider,
    /// It must change.
    Change,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Consider => "consider",
            Verdict::Change => "change",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    name: &'static str,
    verdict: Verdict,
    /// What is there, and what it means.
    why: String,
    /// What mends it: commands and flags, one a line.
    fix: Vec<String>,
}

impl Finding {
    fn ok(name: &'static str, why: impl Into<String>) -> Self {
        Finding { name, verdict: Verdict::Ok, why: why.into(), fix: Vec::new() }
    }

    fn consider(name: &'static str, why: String, fix: Vec<String>) -> Self {
        Finding { name, verdict: Verdict::Consider, why, fix }
    }

    fn change(name: &'static str, why: String, fix: Vec<String>) -> Self {
        Finding { name, verdict: Verdict::Change, why, fix }
    }
}

/// The report of a configuration on this machine, and whether nothing must change.
pub fn run(loaded: &Loaded, machine: &Machine, as_json: bool) -> (String, bool) {
    let facts = Facts::read(loaded);
    let findings = rules::judge(loaded, machine, &facts);
    let changes = findings.iter().filter(|finding| finding.verdict == Verdict::Change).count();
    let report = if as_json { in_json(&findings, changes) } else { in_words(&findings, changes) };
    (report, changes == 0)
}

fn in_json(findings: &[Finding], changes: usize) -> String {
    let checks: Vec<_> = findings
        .iter()
        .map(|f| json!({"name": f.name, "verdict": f.verdict.as_str(), "why": f.why, "fix": f.fix}))
        .collect();
    format!("{}\n", json!({"changes": changes, "checks": checks}))
}

fn in_words(findings: &[Finding], changes: usize) -> String {
    let mut text = String::new();
    for Finding { name, verdict, why, fix } in findings {
        let _ = writeln!(text, "{:<9} {name:<15} {why}", verdict.as_str());
        for line in fix {
            let _ = writeln!(text, "{:<9} {:<15}     {line}", "", "");
        }
    }
    let _ = match changes {
        0 => writeln!(text, "\nnothing must change"),
        1 => writeln!(text, "\n1 thing must change"),
        changes => writeln!(text, "\n{changes} things must change"),
    };
    text
}
