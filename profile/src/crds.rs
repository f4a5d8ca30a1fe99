//! The custom resource definitions: what `kubectl apply` installs, and the schemas that [`crate::validate`] reads.
//!
//! kube-derive's output is finished here (see [`mod@finish`]); nothing else may change a schema.

mod finish;
mod reference;
mod yaml;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use kube::CustomResourceExt;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{CollectorNode, CollectorProfile, CollectorSink};

pub use reference::reference_markdown;

/// A CRD above this does not fit beside its copy in the annotation that client-side `kubectl apply` makes.
pub const MAX_CRD_BYTES: usize = 64 * 1024;
/// Annotation with the digest of the CRD's schema: operator and agents compare it with their own at start.
pub const SCHEMA_DIGEST_ANNOTATION: &str = "weir.dev/schema-digest";

/// One of our kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrdKind {
    /// `CollectorProfile`
    Profile,
    /// `CollectorSink`
    Sink,
    /// `CollectorNode`
    Node,
}

impl CrdKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Profile, Self::Sink, Self::Node];

    /// The kind's name in a document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Profile => "CollectorProfile",
            Self::Sink => "CollectorSink",
            Self::Node => "CollectorNode",
        }
    }

    /// Name of the file that [`write`] makes.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Profile => "weir.dev_collectorprofiles.yaml",
            Self::Sink => "weir.dev_collectorsinks.yaml",
            Self::Node => "weir.dev_collectornodes.yaml",
        }
    }
}

impl fmt::Display for CrdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the CRDs could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The schema cannot be expressed as YAML: a defect of this crate.
    #[error("write the {kind} CRD as YAML")]
    Render {
        /// Which one.
        kind: CrdKind,
        /// Why.
        #[source]
        source: serde_saphyr::ser::Error,
    },
    /// The file cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

static CRDS: LazyLock<[Value; 3]> = LazyLock::new(|| {
    CrdKind::ALL.map(|kind| {
        let crd = match kind {
            CrdKind::Profile => CollectorProfile::crd(),
            CrdKind::Sink => CollectorSink::crd(),
            CrdKind::Node => CollectorNode::crd(),
        };
        // A CRD is plain data with string keys, so that this cannot fail; an empty one would fail every test here.
        finish::finish(kind, serde_json::to_value(crd).unwrap_or_default())
    })
});

/// The three CRDs, as the API server takes them.
#[must_use]
pub fn crds() -> &'static [Value; 3] {
    &CRDS
}

/// One CRD.
#[must_use]
pub fn crd(kind: CrdKind) -> &'static Value {
    &CRDS[kind as usize]
}

/// The `OpenAPI` v3 schema of one kind.
#[must_use]
pub fn schema(kind: CrdKind) -> &'static Value {
    &crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// Digest of one kind's schema, as [`SCHEMA_DIGEST_ANNOTATION`] has it.
#[must_use]
pub fn schema_digest(kind: CrdKind) -> &'static str {
    crd(kind)["metadata"]["annotations"][SCHEMA_DIGEST_ANNOTATION]
        .as_str()
        .unwrap_or_default()
}

fn digest(schema: &Value) -> String {
    let hash = Sha256::digest(yaml::canonical_json(schema).as_bytes());
    crate::hex::hex(&hash[..8])
}

/// One CRD as YAML with sorted keys.
pub fn crd_yaml(kind: CrdKind) -> Result<String, CrdError> {
    yaml::render(crd(kind)).map_err(|source| CrdError::Render { kind, source })
}

/// Writes the three CRDs into a folder.
pub fn write(folder: &Path) -> Result<(), CrdError> {
    for kind in CrdKind::ALL {
        let path = folder.join(kind.file_name());
        std::fs::write(&path, crd_yaml(kind)?).map_err(|source| CrdError::Write { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
