//! `weir-agent probe`: which hooks and kinds work here, through which hook, or why not.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_profile::EventKind;

use crate::bpf::hook::{HOOKS, HookError};
use crate::bpf::object::{self, LoadError};
use crate::bpf::tracefs;

/// A hook's verdict.
#[derive(Debug, Serialize)]
pub struct HookReport {
    /// Its name.
    pub hook: &'static str,
    /// How it is attached.
    pub method: &'static str,
    /// Whether it works.
    pub works: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Why not, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A kind's verdict.
#[derive(Debug, Serialize)]
pub struct KindReport {
    /// Its name.
    pub kind: &'static str,
    /// Whether it is collected.
    pub works: bool,
    /// The hooks that deliver it.
    pub through: Vec<String>,
    /// Hooks that fail, so that it is not collected or covers less.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<String>,
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// Every kind.
    pub kinds: Vec<KindReport>,
    /// Every hook.
    pub hooks: Vec<HookReport>,
}

/// Loads every program once and says what became of it.
pub fn probe() -> Result<Report, LoadError> {
    tracefs::ensure_mounted();
    let object = object::load(1 << 20, None)?;
    let hooks: Vec<HookReport> = HOOKS
        .iter()
        .zip(&object.hooks)
        .map(|(hook, result)| HookReport {
            hook: hook.name(),
            method: hook.method(),
            works: result.is_ok(),
            reason: result.as_ref().err().map(HookError::reason),
            message: result.as_ref().err().map(ToString::to_string),
        })
        .collect();
    let mut kinds: BTreeMap<EventKind, KindReport> = BTreeMap::new();
    for (hook, report) in HOOKS.iter().zip(&hooks) {
        let Some(kind) = hook.kind else { continue };
        let entry = kinds.entry(kind).or_insert_with(|| KindReport {
            kind: kind.as_str(),
            works: true,
            through: Vec::new(),
            failing: Vec::new(),
        });
        if report.works {
            entry.through.push(format!("{} {}", report.method, report.hook));
        } else {
            entry.works &= !hook.essential;
            entry.failing.push(report.hook.to_owned());
        }
    }
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Ok(Report {
        kernel,
        kinds: kinds.into_values().collect(),
        hooks,
    })
}

impl Report {
    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("kernel {}\n\nKIND           WORKS  THROUGH\n", self.kernel);
        // Writing to a String cannot fail.
        for kind in &self.kinds {
            let works = if kind.works { "yes" } else { "no" };
            let _infallible = writeln!(text, "{:<14} {works:<6} {}", kind.kind, kind.through.join(", "));
        }
        text.push_str("\nHOOK                 METHOD      WORKS\n");
        for hook in &self.hooks {
            let works = hook
                .message
                .as_deref()
                .map_or("yes".to_owned(), |message| format!("no: {message}"));
            let _infallible = writeln!(text, "{:<20} {:<11} {works}", hook.hook, hook.method);
        }
        text
    }
}
