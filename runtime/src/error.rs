//! What every binary asks of an error: its words, once, with all its causes; and whether TLS is what failed.

use std::error::Error;
use std::io;

use async_nats::rustls;

/// An error and its sources in one line; a source that its error already quotes is not repeated.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let inner = source.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        next = source.source();
    }
    text
}

/// Whether TLS failed, which a connection reports as an I/O error with the TLS error inside.
#[must_use]
pub fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>) {
            return true;
        }
        next = error.source();
    }
    false
}
