//! Writes JSON values as YAML and as canonical JSON, keys sorted whatever map `serde_json` was built with.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                let mut out = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    out.serialize_entry(key, &Sorted(value))?;
                }
                out.end()
            }
            Value::Array(items) => {
                let mut out = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    out.serialize_element(&Sorted(item))?;
                }
                out.end()
            }
            other => other.serialize(serializer),
        }
    }
}

pub(super) fn render(value: &Value) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&Sorted(value))
}

pub(super) fn canonical_json(value: &Value) -> String {
    // Plain data with string keys always has a JSON form.
    serde_json::to_string(&Sorted(value)).unwrap_or_default()
}
