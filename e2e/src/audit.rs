//! Counts writes in the API server's audit log: what a component really did, whatever it says of itself.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What goes wrong while reading the log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be read.
    #[error("reading the audit log {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A line is not JSON.
    #[error("the audit log has a line that is not JSON: {line}")]
    Parse {
        /// The line.
        line: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

/// One write that the API server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// `system:serviceaccount:NAMESPACE:NAME` for service accounts.
    pub user: String,
    /// `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Plural name, with the subresource where there is one: `collectornodes/status`.
    pub resource: String,
    /// Name of the object; empty where the request had none.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u64,
}

/// A place in the log; what was written after it can be asked for.
#[derive(Debug, Clone)]
pub struct Mark {
    path: PathBuf,
    offset: u64,
}

impl Mark {
    /// The log's end now.
    pub fn now(path: &Path) -> Result<Self, AuditError> {
        let metadata = std::fs::metadata(path).map_err(|source| AuditError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            offset: metadata.len(),
        })
    }

    /// Every write since this mark whose user `select` names.
    ///
    /// Lines that are not whole yet are left for the next call.
    pub fn writes_since(&self, select: impl Fn(&str) -> bool) -> Result<Vec<Write>, AuditError> {
        self.read(select).map(|(writes, _)| writes)
    }

    /// As [`Self::writes_since`], with the mark behind what was read: nothing falls between two calls.
    fn read(&self, select: impl Fn(&str) -> bool) -> Result<(Vec<Write>, Self), AuditError> {
        let fail = |source| AuditError::Read {
            path: self.path.clone(),
            source,
        };
        let mut file = File::open(&self.path).map_err(fail)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(fail)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(fail)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let behind = Self {
            path: self.path.clone(),
            offset: self.offset + whole.len() as u64,
        };
        let mut writes = Vec::new();
        for line in whole.lines() {
            let value = serde_json::from_str(line).map_err(|source| AuditError::Parse {
                line: line.to_owned(),
                source,
            })?;
            if let Some(write) = parse(&value).filter(|write| select(&write.user)) {
                writes.push(write);
            }
        }
        Ok((writes, behind))
    }

    /// Every write of Weir's own service accounts, Leases aside: what a steady cluster must not show.
    pub fn weir_writes(&self) -> Result<Vec<Write>, AuditError> {
        self.weir_writes_and_on().map(|(writes, _)| writes)
    }

    /// As [`Self::weir_writes`], with the mark behind what was read.
    pub fn weir_writes_and_on(&self) -> Result<(Vec<Write>, Self), AuditError> {
        let (mut writes, behind) = self.read(is_weir)?;
        writes.retain(|write| write.resource != "leases");
        Ok((writes, behind))
    }
}

/// Whether a user is a service account of Weir's namespaces.
#[must_use]
pub fn is_weir(user: &str) -> bool {
    [
        "system:serviceaccount:weir-system:",
        "system:serviceaccount:weir-agents:",
    ]
    .iter()
    .any(|prefix| user.starts_with(prefix))
}

/// An answered request; its other stages are the same request again.
fn parse(event: &Value) -> Option<Write> {
    if event["stage"] != "ResponseComplete" {
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let mut resource = text(&object["resource"]);
    if let Some(subresource) = object["subresource"].as_str() {
        resource = format!("{resource}/{subresource}");
    }
    Some(Write {
        user: text(&event["user"]["username"]),
        verb: text(&event["verb"]),
        resource,
        name: text(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn line(user: &str, resource: &str, subresource: Option<&str>, stage: &str) -> String {
        let value = serde_json::json!({
            "stage": stage, "verb": "patch", "user": {"username": user},
            "objectRef": {"resource": resource, "subresource": subresource, "name": "node1"},
            "responseStatus": {"code": 200},
        });
        format!("{value}\n")
    }

    #[test]
    fn only_weirs_writes_after_the_mark_count() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let agent = "system:serviceaccount:weir-agents:weir-agent";
        file.write_all(line(agent, "collectornodes", Some("status"), "ResponseComplete").as_bytes())
            .unwrap();
        let mark = Mark::now(file.path()).unwrap();
        assert_eq!(mark.weir_writes().unwrap(), []);
        for (user, stage) in [
            (agent, "ResponseComplete"),
            (agent, "Panic"),
            ("system:node:node1", "ResponseComplete"),
            ("system:serviceaccount:default:weir-agent", "ResponseComplete"),
        ] {
            file.write_all(line(user, "collectornodes", Some("status"), stage).as_bytes())
                .unwrap();
        }
        file.write_all(b"{\"half a li").unwrap();
        let writes = mark.weir_writes().unwrap();
        assert_eq!(writes.len(), 1, "{writes:?}");
        assert_eq!(
            (writes[0].resource.as_str(), writes[0].code),
            ("collectornodes/status", 200)
        );
        // The line that was half there is of the next look; none is read twice.
        let (_, behind) = mark.weir_writes_and_on().unwrap();
        assert_eq!(
            behind.offset,
            file.as_file().metadata().unwrap().len() - "{\"half a li".len() as u64
        );
    }

    #[test]
    fn leases_are_no_writes() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mark = Mark::now(file.path()).unwrap();
        let lease = line(
            "system:serviceaccount:weir-system:weir-operator",
            "leases",
            None,
            "ResponseComplete",
        );
        file.write_all(lease.as_bytes()).unwrap();
        assert_eq!(mark.weir_writes().unwrap(), []);
        assert_eq!(mark.writes_since(is_weir).unwrap().len(), 1);
    }
}
