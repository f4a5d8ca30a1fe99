//! Parses YAML into plain values and remembers the line of every field.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use super::LoadError;

/// Lines of a document's fields, by path.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<String, u64>);

impl Lines {
    /// The line of the field, or of the nearest field around it that is there.
    pub(super) fn find(&self, path: &str) -> Option<u64> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = match path.rfind(['.', '[']) {
                Some(end) => &path[..end],
                None if path.is_empty() => return None,
                None => "",
            };
        }
    }
}

/// Parses every document; one that is not YAML ends the list.
pub(super) fn parse(text: &str) -> Vec<Result<(Value, Lines), LoadError>> {
    let mut bytes = text.as_bytes();
    let documents: Vec<_> = serde_saphyr::read::<_, Spanned<Node>>(&mut bytes).collect();
    documents
        .into_iter()
        .map(|document| match document {
            Ok(node) => {
                let mut lines = Lines::default();
                let value = plain(node, String::new(), &mut lines);
                Ok((value, lines))
            }
            Err(error) => Err(LoadError {
                document: 0,
                line: error.location().map(|location| location.line()),
                path: String::new(),
                message: format!("is not valid YAML: {}; correct the file", error.without_snippet()),
            }),
        })
        .collect()
}

fn plain(node: Spanned<Node>, path: String, lines: &mut Lines) -> Value {
    let line = node.referenced.line();
    let value = match node.value {
        Node::Scalar(value) => value,
        Node::List(items) => Value::Array(
            items
                .into_iter()
                .enumerate()
                .map(|(i, item)| plain(item, format!("{path}[{i}]"), lines))
                .collect(),
        ),
        Node::Mapping(entries) => {
            let mut map = Map::new();
            for (name, entry) in entries {
                let child = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let value = plain(entry, child, lines);
                map.insert(name, value);
            }
            Value::Object(map)
        }
    };
    if line > 0 {
        lines.0.insert(path, line);
    }
    value
}

/// A YAML node whose children know their lines.
#[derive(Debug)]
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Mapping(Vec<(String, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        // Infinity and NaN have no JSON form: the text makes the error message.
        Ok(Node::Scalar(
            Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number),
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Mapping(entries))
    }
}
