//! Which clusters tests may change: this checkout's own, and one that somebody has named for it.
//!
//! The tests install Weir, break it, and remove it with its definitions. A `KUBECONFIG` that happens to be set must not be
//! enough for that.

use std::path::{Path, PathBuf};

/// Names the context of the cluster that tests may change, when it is not the checkout's own.
pub const VARIABLE: &str = "WEIR_E2E_CONTEXT";

/// Why tests keep away from a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The kubeconfig chooses no cluster.
    #[error("{} has no current context: `kubectl config use-context` chooses one", .0.display())]
    NoContext(PathBuf),
    /// Nobody said that this cluster is meant.
    #[error(
        "{} leads to the context {context:?}, and the tests would install, break and remove Weir there. If that is \
         what you want, set {VARIABLE}={context}; if not, unset KUBECONFIG and `cargo xtask cluster up --nodes 2`",
        path.display()
    )]
    NotNamed {
        /// The kubeconfig.
        path: PathBuf,
        /// Its current context.
        context: String,
    },
    /// Somebody named another one.
    #[error(
        "{VARIABLE} is {named:?}, but {} leads to the context {context:?}: make both the same",
        path.display()
    )]
    Other {
        /// The kubeconfig.
        path: PathBuf,
        /// Its current context.
        context: String,
        /// What the variable says.
        named: String,
    },
}

/// The context that tests may change by `kubeconfig`, whose current one is `current`. `own` is the folder of the cluster
/// that `cargo xtask cluster up` makes, `named` the value of [`VARIABLE`].
pub fn check(
    kubeconfig: &Path,
    current: Option<&str>,
    own: &Path,
    named: Option<&str>,
) -> Result<String, Refusal> {
    let path = || kubeconfig.to_owned();
    let context = current
        .filter(|context| !context.is_empty())
        .ok_or_else(|| Refusal::NoContext(path()))?
        .to_owned();
    match named.filter(|named| !named.is_empty()) {
        Some(named) if named != context => Err(Refusal::Other {
            path: path(),
            context,
            named: named.to_owned(),
        }),
        Some(_) => Ok(context),
        None if is_below(kubeconfig, own) => Ok(context),
        None => Err(Refusal::NotNamed {
            path: path(),
            context,
        }),
    }
}

/// Whether a file is in a folder, whatever links and dots its path has.
fn is_below(file: &Path, folder: &Path) -> bool {
    let real = |path: &Path| path.canonicalize();
    real(file).is_ok_and(|file| real(folder).is_ok_and(|folder| file.starts_with(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_only_the_own_cluster_needs_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("target/cluster");
        std::fs::create_dir_all(&own).unwrap();
        let ours = own.join("kubeconfig");
        let theirs = folder.path().join("config");
        for file in [&ours, &theirs] {
            std::fs::write(file, "").unwrap();
        }
        assert_eq!(
            check(&ours, Some("weir-local"), &own, None).unwrap(),
            "weir-local"
        );
        let refused = check(&theirs, Some("production"), &own, None).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("set WEIR_E2E_CONTEXT=production"), "{text}");
        // A path that only looks as if it was there.
        let dotted = own.join("../../config");
        assert!(check(&dotted, Some("production"), &own, None).is_err());
        assert_eq!(check(&theirs, Some("test"), &own, Some("test")).unwrap(), "test");
    }

    #[test]
    fn check_name_must_be_that_of_the_current_context() {
        let file = Path::new("/nowhere/config");
        let refused = check(file, Some("production"), Path::new("/nowhere"), Some("test")).unwrap_err();
        assert!(matches!(refused, Refusal::Other { .. }), "{refused}");
        for none in [None, Some("")] {
            let refused = check(file, none, Path::new("/nowhere"), Some("test")).unwrap_err();
            assert!(matches!(refused, Refusal::NoContext(_)), "{refused}");
        }
    }
}
