//! A program at a pinned version: looked for, installed where it is missing, put on PATH.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::Ctx;
use crate::shell;

/// One program.
pub(crate) struct Program {
    /// Its name, also on PATH.
    pub(crate) name: &'static str,
    /// The version that is installed.
    pub(crate) version: &'static str,
    /// The reason shown when it is installed.
    pub(crate) why: &'static str,
    /// Where it is below its own directory.
    pub(crate) path: &'static str,
    /// The version it reports; none where it cannot be run.
    pub(crate) reported: fn(&Path) -> Option<String>,
    /// Whether a version other than ours will do.
    pub(crate) suits: fn(&str) -> bool,
}

impl Program {
    /// Looks for it: what was installed before, then what is on PATH.
    pub(crate) fn find(&self, ctx: &Ctx) -> Option<PathBuf> {
        let candidates = [Some(self.ours(ctx)), shell::which(self.name)];
        candidates.into_iter().flatten().find_map(|candidate| {
            let version = (self.reported)(&candidate)
                .filter(|version| version == self.version || (self.suits)(version))?;
            ctx.found(self.name, &version, &candidate.display().to_string());
            ctx.add_to_path(&candidate);
            Some(candidate)
        })
    }

    /// Installs it by calling `how` with the directory that becomes its own.
    pub(crate) fn install(&self, ctx: &Ctx, how: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let ours = self.ours(ctx);
        let is_there = || (self.reported)(&ours).as_deref() == Some(self.version);
        let place = ours.display().to_string();
        ctx.install_unless(self.name, self.version, self.why, &place, is_there, || {
            how(&ctx.directory(self.name, self.version))?;
            if !is_there() {
                bail!(
                    "{place} is there now but does not report version {}",
                    self.version
                );
            }
            Ok(())
        })?;
        ctx.add_to_path(&ours);
        Ok(ours)
    }

    fn ours(&self, ctx: &Ctx) -> PathBuf {
        ctx.directory(self.name, self.version).join(self.path)
    }
}

/// The last word of what most programs print for `--version`.
pub(crate) fn last_word(program: &Path) -> Option<String> {
    let text = shell::capture(Command::new(program).arg("--version")).ok()?;
    let word = text.split_whitespace().next_back()?;
    Some(word.trim_start_matches('v').to_owned())
}

/// For programs that must be of our version.
pub(crate) fn exactly(_version: &str) -> bool {
    false
}
