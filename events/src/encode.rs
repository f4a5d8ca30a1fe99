//! The encoders: one description of the schema, written as protobuf or as canonical JSON.
//!
//! `event` and `agent::wire` name each field once; [`Proto`] and [`Json`] differ in how a field is written. What the
//! protobuf JSON mapping asks for holds for both: a field at its default is left out, unless the schema gives it
//! presence (the `present_*` methods).

#![expect(
    clippy::inline_always,
    reason = "measured: with tags and places folded into constants, a third of the time"
)]

mod address;
mod buffer;
pub(crate) mod event;
mod json;
mod proto;
mod text;
mod time;

pub(crate) use buffer::Buffer;
pub(crate) use json::Json;
pub(crate) use proto::Proto;
pub(crate) use time::TimeText;

/// A field of the schema: its number and its JSON key, quoted and followed by a colon.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    number: u32,
    key: &'static str,
}

impl Field {
    pub(crate) const fn new(number: u32, key: &'static str) -> Self {
        Self { number, key }
    }
}

/// `fields! { NAME = number, "jsonName"; ... }` makes the constants of one message.
macro_rules! fields {
    ($($name:ident = $number:literal, $json:literal;)*) => {
        $(pub(super) const $name: $crate::encode::Field =
            $crate::encode::Field::new($number, concat!("\"", $json, "\":"));)*
    };
}
pub(crate) use fields;

/// Writes the fields of one message after another.
pub(crate) trait Encoder {
    /// An unsigned number that the schema gives presence: written also when zero.
    fn present_u32(&mut self, field: Field, value: u32);
    /// An unsigned number that the schema gives presence: written also when zero.
    fn present_u64(&mut self, field: Field, value: u64);
    /// Text that the schema gives presence: written also when empty.
    fn present_text(&mut self, field: Field, value: &[u8]);
    /// `true`.
    fn set(&mut self, field: Field);
    /// An enum's value by number and name.
    fn enumeration(&mut self, field: Field, value: (u32, &'static str));
    /// A repeated string; none are written for no items.
    fn texts<'t>(&mut self, field: Field, items: impl Iterator<Item = &'t [u8]>);
    /// A `google.protobuf.Timestamp`.
    fn timestamp(&mut self, field: Field, unix_nanos: u64);
    /// A nested message.
    fn message(&mut self, field: Field, body: impl FnOnce(&mut Self));
    /// A repeated nested message; none are written for no items.
    fn messages<T>(&mut self, field: Field, items: &[T], body: impl Fn(&mut Self, &T));

    /// An unsigned number; zero is left out.
    #[inline(always)]
    fn u32(&mut self, field: Field, value: u32) {
        if value != 0 {
            self.present_u32(field, value);
        }
    }

    /// An unsigned number; zero is left out.
    #[inline(always)]
    fn u64(&mut self, field: Field, value: u64) {
        if value != 0 {
            self.present_u64(field, value);
        }
    }

    /// Text that may be invalid UTF-8; empty text is left out.
    #[inline(always)]
    fn text(&mut self, field: Field, value: &[u8]) {
        if !value.is_empty() {
            self.present_text(field, value);
        }
    }

    /// A flag; `false` is left out.
    #[inline(always)]
    fn bool(&mut self, field: Field, value: bool) {
        if value {
            self.set(field);
        }
    }
}
