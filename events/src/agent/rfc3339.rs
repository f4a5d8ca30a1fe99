//! Serde form of nanoseconds since 1970: RFC 3339 text.

use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

use crate::encode::{Buffer, TimeText};

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's `with` passes a reference"
)]
pub(super) fn serialize<S: Serializer>(unix_nanos: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let mut buffer = Buffer::default();
    TimeText::default().put(&mut buffer, *unix_nanos);
    serializer.collect_str(&buffer.as_slice().escape_ascii())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
    u64::try_from(time.as_nanosecond())
        .map_err(|_| D::Error::custom(format!("time {text} is not within 1970 to 2554")))
}
