//! Keeps the last good configuration and the Node's labels on disk, so that an agent that restarts without an API server goes on.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::node_meta::NodeMeta;
use super::objects::Saved;

/// Largest file that is read: 64 profiles of 128 KiB and as many sinks.
const MAX_BYTES: u64 = 32 << 20;
/// Form of the file; another form is not read.
const FORMAT: u32 = 1;
const CONFIGURATION: &str = "configuration.json";
const NODE: &str = "node.json";

/// Why the last good configuration is not there or not kept. The agent goes on in either case.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Reading failed.
    #[error("cannot read the last good configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error("the last good configuration {} is damaged; it is fetched anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by another version, or is larger than anything that is written.
    #[error("the last good configuration {} is of another form; it is fetched anew", path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
    /// Writing failed.
    #[error("cannot keep the last good configuration in {}; a restart without the API server would collect nothing", path.display())]
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
        self.write(CONFIGURATION, saved)
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
        self.write(NODE, node)
    }

    /// Removes everything: the agent is uninstalled.
    pub fn purge_all(&self) -> Result<(), CacheError> {
        self.remove(CONFIGURATION)?;
        self.remove(NODE)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CacheError> {
        let path = self.directory.join(name);
        let mut text = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CacheError::Read { path, source }),
        }
        if u64::try_from(text.len()).is_ok_and(|len| len > MAX_BYTES) {
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

    fn write<T: Serialize>(&self, name: &str, content: &T) -> Result<(), CacheError> {
        let path = self.directory.join(name);
        let write = || {
            let text = serde_json::to_vec(&Form {
                format: FORMAT,
                content,
            })?;
            let draft = self.directory.join(format!("{name}.new"));
            let mut file = File::create(&draft)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|source: io::Error| CacheError::Write {
            path: path.clone(),
            source,
        })
    }

    fn remove(&self, name: &str) -> Result<(), CacheError> {
        let path = self.directory.join(name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(CacheError::Write { path, source }),
        }
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
