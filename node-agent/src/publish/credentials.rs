//! A NATS sink's credentials, read from mounted files at every connect.
//!
//! Files are named `<sink>.<key>`: `creds`, `nkey` (seed), `token`, or `username` with `password`; and for TLS `ca.crt`,
//! `tls.crt`, `tls.key`. `creds` is what a sink's one Secret key is mounted as, and may hold any of them: the text of a
//! `.creds` file, an NKEY seed, `user:password`, or a token. Nothing read here is ever logged.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use weir_runtime::login::Login;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file is there and cannot be read.
    #[error("the credentials file {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// More than one way to authenticate.
    #[error("both {first} and {second} exist; keep the one that the server expects")]
    Ambiguous {
        /// One file.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// A username without password, or the reverse.
    #[error("{present} exists without {absent}")]
    Half {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        absent: PathBuf,
    },
}

/// Everything that was found.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How to authenticate.
    pub login: Login,
    /// Certificate authorities.
    pub ca: Option<PathBuf>,
    /// Client certificate and key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The certificates' text, so that a rotation is noticed.
    certificates: Vec<Option<Vec<u8>>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("login", &self.login)
            .field("ca", &self.ca)
            .finish_non_exhaustive()
    }
}

/// Where a sink's files are.
#[derive(Debug, Clone)]
pub struct CredentialFiles {
    dir: Option<PathBuf>,
    sink: String,
}

impl CredentialFiles {
    /// The files of `sink` in `dir`; without a directory there are none.
    #[must_use]
    pub fn new(dir: Option<&Path>, sink: &str) -> Self {
        Self {
            dir: dir.map(Path::to_path_buf),
            sink: sink.to_owned(),
        }
    }

    /// The path of one key.
    #[must_use]
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.dir
            .as_ref()
            .map(|dir| dir.join(format!("{}.{key}", self.sink)))
    }

    /// Reads all of them: a few small files from memory-backed mounts, so that blocking is no matter.
    pub fn read(&self) -> Result<Credentials, CredentialsError> {
        let [creds, nkey, token, username, password] =
            ["creds", "nkey", "token", "username", "password"].map(|key| self.text(key));
        let (username, password) = (username?, password?);
        let user = match (username, password) {
            (Some((_, name)), Some((path, password))) => Some((path, Login::User(name, password))),
            (None, None) => None,
            (Some((present, _)), None) => return Err(self.half(present, "password")),
            (None, Some((present, _))) => return Err(self.half(present, "username")),
        };
        let found = [
            creds?.map(|(path, text)| (path, Login::from_text(&text))),
            nkey?.map(|(path, text)| (path, Login::Nkey(text))),
            token?.map(|(path, text)| (path, Login::Token(text))),
            user,
        ];
        let mut found = found.into_iter().flatten();
        let login = match (found.next(), found.next()) {
            (Some((first, _)), Some((second, _))) => {
                return Err(CredentialsError::Ambiguous { first, second });
            }
            (Some((_, login)), None) => login,
            (None, _) => Login::Anonymous,
        };
        let certificates = ["ca.crt", "tls.crt", "tls.key"].map(|key| self.bytes(key));
        let [ca, certificate, key] = certificates;
        let (ca, certificate, key) = (ca?, certificate?, key?);
        let client = match (&certificate, &key) {
            (Some((certificate, _)), Some((key, _))) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            (Some((present, _)), None) => return Err(self.half(present.clone(), "tls.key")),
            (None, Some((present, _))) => return Err(self.half(present.clone(), "tls.crt")),
        };
        Ok(Credentials {
            login,
            ca: ca.as_ref().map(|(path, _)| path.clone()),
            client,
            certificates: [ca, certificate, key]
                .map(|file| file.map(|(_, bytes)| bytes))
                .to_vec(),
        })
    }

    fn half(&self, present: PathBuf, absent: &str) -> CredentialsError {
        let absent = present.with_file_name(format!("{}.{absent}", self.sink));
        CredentialsError::Half { present, absent }
    }

    fn bytes(&self, key: &str) -> Result<Option<(PathBuf, Vec<u8>)>, CredentialsError> {
        let Some(path) = self.path(key) else {
            return Ok(None);
        };
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some((path, bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CredentialsError::Read { path, source }),
        }
    }

    fn text(&self, key: &str) -> Result<Option<(PathBuf, String)>, CredentialsError> {
        let Some((path, bytes)) = self.bytes(key)? else {
            return Ok(None);
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some((path, text.trim().to_owned()))),
            Err(error) => {
                let source = io::Error::new(io::ErrorKind::InvalidData, error.utf8_error());
                Err(CredentialsError::Read { path, source })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> (tempfile::TempDir, CredentialFiles) {
        let dir = tempfile::tempdir().expect("makes a directory");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("writes");
        }
        let credentials = CredentialFiles::new(Some(dir.path()), "default");
        (dir, credentials)
    }

    #[test]
    fn credentials_absent_are_anonymous() {
        assert_eq!(
            CredentialFiles::new(None, "default").read().expect("reads").login,
            Login::Anonymous
        );
        let (_dir, credentials) = files(&[("other.token", "t")]);
        assert_eq!(credentials.read().expect("reads").login, Login::Anonymous);
    }

    #[test]
    fn credentials_are_trimmed_and_never_shown() {
        let (_dir, credentials) = files(&[("default.username", "u\n"), ("default.password", "secret\n")]);
        let credentials = credentials.read().expect("reads");
        assert_eq!(credentials.login, Login::User("u".into(), "secret".into()));
        assert!(!format!("{credentials:?}").contains("secret"));
    }

    #[test]
    fn credentials_in_one_file_are_told_by_their_form() {
        let (_dir, credentials) = files(&[("default.creds", "weir:a:b\n")]);
        let login = credentials.read().expect("reads").login;
        assert!(login == Login::User("weir".into(), "a:b".into()), "{login:?}");
    }

    #[test]
    fn credentials_of_two_ways_name_both_files() {
        let (_dir, credentials) = files(&[("default.token", "t"), ("default.nkey", "n")]);
        let message = credentials.read().expect_err("is ambiguous").to_string();
        assert!(
            message.contains("default.token") && message.contains("default.nkey"),
            "{message}"
        );
    }

    #[test]
    fn credentials_by_half_name_the_missing_file() {
        let (_dir, credentials) = files(&[("default.username", "u")]);
        let message = credentials.read().expect_err("has no password").to_string();
        assert!(message.ends_with("default.password"), "{message}");
    }

    #[test]
    fn credentials_rotated_differ() {
        let (dir, credentials) = files(&[("default.ca.crt", "one")]);
        let before = credentials.read().expect("reads");
        std::fs::write(dir.path().join("default.ca.crt"), "two").expect("writes");
        assert_ne!(before, credentials.read().expect("reads"));
    }
}
