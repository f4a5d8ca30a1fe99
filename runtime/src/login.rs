//! How a NATS client says who it is.
//!
//! Where the text comes from, a file or a Secret, is the caller's business; what it means is the same everywhere.

use std::fmt;
use std::io;

use async_nats::ConnectOptions;

/// Length of an NKEY seed: 2 prefix bytes, 32 bytes of key and a 2-byte checksum in base32.
const NKEY_SEED_CHARS: usize = 58;

/// How to log in. It is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// As nobody.
    #[default]
    Anonymous,
    /// A user JWT with its seed, as text of a `.creds` file.
    Creds(String),
    /// An NKEY seed.
    Nkey(String),
    /// A token.
    Token(String),
    /// A user and a password.
    User(String, String),
}

impl Login {
    /// Tells what a text is by its form.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let text = text.trim();
        if text.contains("-----") {
            Self::Creds(text.to_owned())
        } else if text.len() == NKEY_SEED_CHARS && text.starts_with("SU") {
            Self::Nkey(text.to_owned())
        } else if let Some((user, password)) = text.split_once(':') {
            Self::User(user.to_owned(), password.to_owned())
        } else {
            Self::Token(text.to_owned())
        }
    }

    /// Adds it to a connection's options. Fails for a [`Login::Creds`] that is none.
    pub fn apply(&self, options: ConnectOptions) -> io::Result<ConnectOptions> {
        Ok(match self {
            Self::Anonymous => options,
            Self::Creds(text) => return options.credentials(text),
            Self::Nkey(seed) => options.nkey(seed.clone()),
            Self::Token(token) => options.token(token.clone()),
            Self::User(user, password) => options.user_and_password(user.clone(), password.clone()),
        })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Creds(_) => "Creds(...)",
            Self::Nkey(_) => "Nkey(...)",
            Self::Token(_) => "Token(...)",
            Self::User(..) => "User(...)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_is_told_by_its_form() {
        let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
        let creds = "-----BEGIN NATS USER JWT-----";
        let table = [
            (creds, Login::Creds(creds.to_owned())),
            (seed, Login::Nkey(seed.to_owned())),
            ("weir:a:b\n", Login::User("weir".to_owned(), "a:b".to_owned())),
            (" s3cret\n", Login::Token("s3cret".to_owned())),
        ];
        for (text, expected) in table {
            // Not `assert_eq`, which could not show what differs.
            assert!(Login::from_text(text) == expected, "{expected:?}");
        }
    }

    #[test]
    fn login_is_never_shown() {
        let login = Login::User("weir".to_owned(), "secret".to_owned());
        assert_eq!(format!("{login:?}"), "User(...)");
    }
}
