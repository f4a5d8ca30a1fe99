//! Keeps on disk what an agent needs that restarts without an API server: the last good configuration, what of it has
//! expired, and the last known metadata of the Node, its pods and the namespaces.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::node_meta::NodeMeta;
use super::objects::Saved;
use crate::enrich::Pod;

/// Largest file that is written and read: 128 profiles of 128 KiB, and as many sinks.
const MAX_BYTES: usize = 32 << 20;
/// Form of the file; another form is not read.
const FORMAT: u32 = 1;
const CONFIGURATION: &str = "configuration.json";
const NODE: &str = "node.json";
const PODS: &str = "pods.json";
const NAMESPACES: &str = "namespaces.json";
const ENDED: &str = "expired.json";
const ALL: [&str; 5] = [CONFIGURATION, NODE, PODS, NAMESPACES, ENDED];

/// Why something is not there or not kept. The agent goes on in either case.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Reading failed.
    #[error("cannot read {}, which a former agent kept", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{} is damaged; it is fetched anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by another version, or is larger than anything that is written.
    #[error("{} is of another form; it is fetched anew", path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// It would be larger than what is read. What was kept before stays.
    #[error(
        "{} would have {bytes} bytes, more than the {MAX_BYTES} that are kept: a restart without the API server would \
         go on with what was kept before; use fewer or smaller profiles",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How large it would be.
        bytes: usize,
    },
    /// Writing failed.
    #[error("cannot write {}; a restart without the API server would go on without it", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Form<T> {
    format: u32,
    #[serde(flatten)]
    content: T,
}

/// Labels by namespace.
pub type NamespaceLabels = BTreeMap<String, BTreeMap<String, String>>;

/// Pods as the index takes them.
#[derive(Serialize, Deserialize)]
struct Pods {
    pods: Vec<Pod>,
}

#[derive(Serialize, Deserialize)]
struct Namespaces {
    namespaces: NamespaceLabels,
}

/// Generations by UID.
#[derive(Serialize, Deserialize)]
struct Ended {
    ended: BTreeMap<String, i64>,
}

/// Whether a file must outlive a loss of power.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    Yes,
    /// It changes often, and what it says is told anew soon.
    No,
}

/// The files in the state directory.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// In this directory, which exists.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
        }
    }

    /// The configuration that was kept; `None` if none was.
    pub fn load(&self) -> Result<Option<Saved>, CacheError> {
        self.read(CONFIGURATION)
    }

    /// Keeps the configuration: whole and on the disk, or not at all.
    pub fn store(&self, saved: &Saved) -> Result<(), CacheError> {
        self.write(CONFIGURATION, saved, Durable::Yes)
    }

    /// Removes the configuration: the last profile went.
    pub fn purge(&self) -> Result<(), CacheError> {
        self.remove(CONFIGURATION)
    }

    /// The Node that was kept: without its labels a profile with a node selector could not be taken up again.
    pub fn load_node(&self) -> Result<Option<NodeMeta>, CacheError> {
        self.read(NODE)
    }

    /// Keeps the Node.
    pub fn store_node(&self, node: &NodeMeta) -> Result<(), CacheError> {
        self.write(NODE, node, Durable::Yes)
    }

    /// This node's pods as they were last known.
    pub fn load_pods(&self) -> Result<Option<Vec<Pod>>, CacheError> {
        self.read(PODS).map(|kept| kept.map(|Pods { pods }| pods))
    }

    /// Keeps this node's pods.
    pub fn store_pods(&self, pods: Vec<Pod>) -> Result<(), CacheError> {
        self.write(PODS, &Pods { pods }, Durable::No)
    }

    /// The namespaces' labels as they were last known.
    pub fn load_namespaces(&self) -> Result<Option<NamespaceLabels>, CacheError> {
        self.read(NAMESPACES)
            .map(|kept| kept.map(|Namespaces { namespaces }| namespaces))
    }

    /// Keeps the namespaces' labels.
    pub fn store_namespaces(&self, namespaces: NamespaceLabels) -> Result<(), CacheError> {
        self.write(NAMESPACES, &Namespaces { namespaces }, Durable::No)
    }

    /// The generations that expired here, by the profile's UID.
    pub fn load_ended(&self) -> Result<Option<BTreeMap<String, i64>>, CacheError> {
        self.read(ENDED).map(|kept| kept.map(|Ended { ended }| ended))
    }

    /// Keeps the generations that expired here.
    pub fn store_ended(&self, ended: BTreeMap<String, i64>) -> Result<(), CacheError> {
        self.write(ENDED, &Ended { ended }, Durable::Yes)
    }

    /// Removes everything: the agent is uninstalled.
    pub fn purge_all(&self) -> Result<(), CacheError> {
        ALL.iter().try_for_each(|name| self.remove(name))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CacheError> {
        let path = self.directory.join(name);
        let mut text = Vec::new();
        let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        match File::open(&path).and_then(|file| file.take(most + 1).read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CacheError::Read { path, source }),
        }
        if text.len() > MAX_BYTES {
            return Err(CacheError::Form { path });
        }
        let damaged = |source| CacheError::Damaged {
            path: path.clone(),
            source,
        };
        let form: Form<T> = serde_json::from_slice(&text).map_err(damaged)?;
        if form.format == FORMAT {
            Ok(Some(form.content))
        } else {
            Err(CacheError::Form { path })
        }
    }

    fn draft(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.new"))
    }

    fn write<T: Serialize>(&self, name: &str, content: &T, durable: Durable) -> Result<(), CacheError> {
        let path = self.directory.join(name);
        let failed = |source: io::Error| CacheError::Write {
            path: path.clone(),
            source,
        };
        let form = Form {
            format: FORMAT,
            content,
        };
        let text = serde_json::to_vec(&form).map_err(|error| failed(error.into()))?;
        if text.len() > MAX_BYTES {
            let bytes = text.len();
            return Err(CacheError::TooLarge { path, bytes });
        }
        let write = || {
            let draft = self.draft(name);
            let mut file = File::create(&draft)?;
            file.write_all(&text)?;
            if durable == Durable::Yes {
                file.sync_all()?;
            }
            fs::rename(&draft, &path)?;
            if durable == Durable::Yes {
                File::open(&self.directory)?.sync_all()?;
            }
            Ok(())
        };
        write().map_err(failed)
    }

    /// The file, and the draft that a write left which did not end.
    fn remove(&self, name: &str) -> Result<(), CacheError> {
        [self.directory.join(name), self.draft(name)]
            .into_iter()
            .try_for_each(|path| match fs::remove_file(&path) {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(source) => Err(CacheError::Write { path, source }),
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn store_then_load_gives_it_back_and_purge_removes_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        assert_eq!(cache.load().unwrap(), None);
        let saved = Saved {
            profiles: vec![json!({"metadata": {"name": "a"}})],
            sinks: vec![],
        };
        cache.store(&saved).unwrap();
        assert_eq!(cache.load().unwrap(), Some(saved));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
        cache.purge().unwrap();
        cache.purge().unwrap();
        assert_eq!(cache.load().unwrap(), None);
    }

    #[test]
    fn node_is_kept_apart_from_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let node = NodeMeta {
            uid: "u".into(),
            labels: [("pool".to_owned(), "web".to_owned())].into(),
        };
        cache.store_node(&node).unwrap();
        assert_eq!(cache.load().unwrap(), None);
        cache.purge().unwrap();
        assert_eq!(cache.load_node().unwrap(), Some(node));
        cache.purge_all().unwrap();
        assert_eq!(cache.load_node().unwrap(), None);
    }

    #[test]
    fn metadata_and_what_expired_are_kept_and_purge_all_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let pod = Pod {
            uid: "u".into(),
            cgroup_uid: "u".into(),
            namespace: "shop".into(),
            name: "web-0".into(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            owner: None,
            node: "node1".into(),
            containers: vec![],
        };
        let namespaces: BTreeMap<_, _> = [("shop".to_owned(), pod.labels.clone())].into();
        let ended: BTreeMap<_, _> = [("uid-a".to_owned(), 3)].into();
        cache.store_pods(vec![pod.clone()]).unwrap();
        cache.store_namespaces(namespaces.clone()).unwrap();
        cache.store_ended(ended.clone()).unwrap();
        assert_eq!(cache.load_pods().unwrap(), Some(vec![pod]));
        assert_eq!(cache.load_namespaces().unwrap(), Some(namespaces));
        assert_eq!(cache.load_ended().unwrap(), Some(ended));
        cache.store(&Saved::default()).unwrap();
        for name in ALL {
            // As a loss of power leaves them.
            fs::write(cache.draft(name), "{").unwrap();
        }
        cache.purge_all().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn store_refuses_what_load_would_not_read_and_leaves_what_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let saved = |bytes| Saved {
            profiles: vec![json!("x".repeat(bytes))],
            sinks: vec![],
        };
        let small = saved(MAX_BYTES - 1_000);
        cache.store(&small).unwrap();
        assert!(matches!(
            cache.store(&saved(MAX_BYTES)),
            Err(CacheError::TooLarge { .. })
        ));
        assert_eq!(cache.load().unwrap(), Some(small));
    }

    #[test]
    fn load_damaged_or_foreign_file_is_an_error_not_a_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        fs::write(dir.path().join(CONFIGURATION), "{\"format\":1,\"profiles\":[{]").unwrap();
        assert!(matches!(cache.load(), Err(CacheError::Damaged { .. })));
        fs::write(
            dir.path().join(CONFIGURATION),
            "{\"format\":2,\"profiles\":[],\"sinks\":[]}",
        )
        .unwrap();
        assert!(matches!(cache.load(), Err(CacheError::Form { .. })));
    }

    #[test]
    fn store_into_a_missing_directory_says_what_it_means() {
        let error = Cache::new(Path::new("/nonexistent/weir"))
            .store(&Saved::default())
            .unwrap_err();
        assert!(error.to_string().contains("restart"), "{error}");
    }
}
