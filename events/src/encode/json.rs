//! Canonical protobuf JSON, written directly: 64-bit numbers as strings, enums by name, times as RFC 3339.
//!
//! Every value is followed by a comma, and closing a message or list turns the last one into the bracket.

use super::time::TimeText;
use super::{Buffer, Encoder, Field, text};

/// Writes fields as JSON.
#[derive(Debug, Default)]
pub(crate) struct Json {
    pub(crate) buffer: Buffer,
    time: TimeText,
}

impl Json {
    /// A time in quotes, without key or comma.
    pub(crate) fn quoted_time(&mut self, unix_nanos: u64) {
        self.buffer.put_byte(b'"');
        self.time.put(&mut self.buffer, unix_nanos);
        self.buffer.put_byte(b'"');
    }

    /// A value that is encoded already.
    pub(crate) fn encoded(&mut self, field: Field, value: &[u8]) {
        self.key(field);
        self.buffer.put_slice(value);
        self.comma();
    }

    /// Closes the innermost message or list.
    pub(crate) fn close(&mut self, bracket: u8) {
        if self.buffer.last() == Some(b',') {
            self.buffer.truncate(self.buffer.len() - 1);
        }
        self.buffer.put_byte(bracket);
    }

    pub(crate) fn comma(&mut self) {
        self.buffer.put_byte(b',');
    }

    #[inline]
    fn key(&mut self, field: Field) {
        self.buffer.put_slice(field.key.as_bytes());
    }

    #[inline]
    fn quoted(&mut self, value: &[u8]) {
        self.buffer.put_byte(b'"');
        text::put_escaped(&mut self.buffer, value);
        self.buffer.put_slice(b"\",");
    }
}

impl Encoder for Json {
    fn present_u32(&mut self, field: Field, value: u32) {
        self.key(field);
        self.buffer
            .put_slice(itoa::Buffer::new().format(value).as_bytes());
        self.comma();
    }

    fn present_u64(&mut self, field: Field, value: u64) {
        self.key(field);
        self.buffer.put_byte(b'"');
        self.buffer
            .put_slice(itoa::Buffer::new().format(value).as_bytes());
        self.buffer.put_slice(b"\",");
    }

    fn present_text(&mut self, field: Field, value: &[u8]) {
        self.key(field);
        self.quoted(value);
    }

    fn set(&mut self, field: Field) {
        self.key(field);
        self.buffer.put_slice(b"true,");
    }

    fn enumeration(&mut self, field: Field, value: (u32, &'static str)) {
        if value.0 != 0 {
            self.key(field);
            self.quoted(value.1.as_bytes());
        }
    }

    fn texts<'t>(&mut self, field: Field, items: impl Iterator<Item = &'t [u8]>) {
        let mut items = items.peekable();
        if items.peek().is_none() {
            return;
        }
        self.key(field);
        self.buffer.put_byte(b'[');
        for item in items {
            self.quoted(item);
        }
        self.close(b']');
        self.comma();
    }

    fn timestamp(&mut self, field: Field, unix_nanos: u64) {
        self.key(field);
        self.quoted_time(unix_nanos);
        self.comma();
    }

    fn message(&mut self, field: Field, body: impl FnOnce(&mut Self)) {
        self.key(field);
        self.buffer.put_byte(b'{');
        body(self);
        self.close(b'}');
        self.comma();
    }

    fn messages<T>(&mut self, field: Field, items: &[T], body: impl Fn(&mut Self, &T)) {
        if items.is_empty() {
            return;
        }
        self.key(field);
        self.buffer.put_byte(b'[');
        for item in items {
            self.buffer.put_byte(b'{');
            body(self, item);
            self.close(b'}');
            self.comma();
        }
        self.close(b']');
        self.comma();
    }
}
