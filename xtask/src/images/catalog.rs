//! Which images there are and what is in each of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::oci::Image;
use super::tar::{Entry, Tree};
use crate::shell;

/// Where releases are published; the agent's default image follows the operator's own registry and tag.
const REGISTRY: &str = "ghcr.io/weir-dev";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version of the nats-server that is put into the image.
const NATS_VERSION: &str = "2.15.1";
/// The user that distroless images call `nonroot`.
const NONROOT: &str = "65532:65532";

/// The agent: root inside its pod, since added capabilities have no effect for others.
pub(crate) fn agent(architecture: &'static str, binary: &Path) -> Result<Image> {
    let image = program("weir-agent", VERSION, architecture, "0:0", binary)?;
    Ok(with_authorities(image))
}

/// The operator, which needs no privilege at all.
pub(crate) fn operator(architecture: &'static str, binary: &Path) -> Result<Image> {
    let image = program("weir-operator", VERSION, architecture, NONROOT, binary)?;
    Ok(with_authorities(image))
}

/// A broker for the quick start and the tests. Its store must be a volume that user 65532 may write.
pub(crate) fn nats(architecture: &'static str, binary: &Path) -> Result<Image> {
    let mut image = program("nats-server", NATS_VERSION, architecture, NONROOT, binary)?;
    image.reference = format!("{REGISTRY}/nats:{NATS_VERSION}");
    Ok(image)
}

/// What holds a pod's namespaces.
pub(crate) fn pause(architecture: &'static str, reference: &str, binary: &Path) -> Result<Image> {
    let mut image = program("pause", "1", architecture, NONROOT, binary)?;
    reference.clone_into(&mut image.reference);
    Ok(image)
}

/// A shell and small tools: the workload of tests.
pub(crate) fn testbox(architecture: &'static str, busybox: &Path) -> Result<Image> {
    let mut tree = base();
    add_folder(&mut tree, "bin", 0o755);
    tree.insert("bin/busybox".to_owned(), executable(busybox)?);
    // Without it, the C library that Debian's busybox is linked with would load resolvers that are not here.
    let resolvers = b"passwd: files\ngroup: files\nhosts: files dns\n".to_vec();
    tree.insert(
        "etc/nsswitch.conf".to_owned(),
        Entry::File {
            mode: 0o644,
            content: resolvers,
        },
    );
    for applet in shell::capture(Command::new(busybox).arg("--list"))?
        .lines()
        .filter(|name| *name != "busybox")
    {
        tree.insert(
            format!("bin/{applet}"),
            Entry::Symlink {
                target: "busybox".to_owned(),
            },
        );
    }
    Ok(Image {
        reference: testbox_reference(),
        architecture,
        user: "0:0",
        entrypoint: Vec::new(),
        command: vec!["/bin/sh".to_owned()],
        environment: vec!["PATH=/bin".to_owned()],
        tree,
    })
}

/// The name that test pods use.
pub(crate) fn testbox_reference() -> String {
    format!("{REGISTRY}/weir-testbox:1")
}

/// An image with one static program and nothing else to run.
fn program(
    name: &str,
    version: &str,
    architecture: &'static str,
    user: &'static str,
    binary: &Path,
) -> Result<Image> {
    let mut tree = base();
    tree.insert(name.to_owned(), executable(binary)?);
    Ok(Image {
        reference: format!("{REGISTRY}/{name}:{version}"),
        architecture,
        user,
        entrypoint: vec![format!("/{name}")],
        command: Vec::new(),
        environment: Vec::new(),
        tree,
    })
}

/// Adds the public authorities, for sinks that name none of their own. They come from a crate, so that the lock file says
/// which, and the image is the same wherever it is made.
fn with_authorities(mut image: Image) -> Image {
    for folder in ["etc/ssl", "etc/ssl/certs"] {
        add_folder(&mut image.tree, folder, 0o755);
    }
    image.tree.insert(
        "etc/ssl/certs/ca-certificates.crt".to_owned(),
        Entry::File {
            mode: 0o644,
            content: authorities().into_bytes(),
        },
    );
    image
}

fn authorities() -> String {
    let certificates: Vec<pem::Pem> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|certificate| pem::Pem::new("CERTIFICATE", certificate.as_ref()))
        .collect();
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    format!(
        "# Mozilla's root certificates, under CDLA-Permissive-2.0: https://cdla.dev/permissive-2-0/\n{}",
        pem::encode_many_config(&certificates, config)
    )
}

/// Names for the users, and a place for temporary files where the root is writable.
fn base() -> Tree {
    let mut tree = Tree::new();
    add_folder(&mut tree, "etc", 0o755);
    add_folder(&mut tree, "tmp", 0o1777);
    let passwd = "root:x:0:0:root:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
    let group = "root:x:0:\nnonroot:x:65532:\n";
    for (name, text) in [("etc/passwd", passwd), ("etc/group", group)] {
        tree.insert(
            name.to_owned(),
            Entry::File {
                mode: 0o644,
                content: text.as_bytes().to_vec(),
            },
        );
    }
    tree
}

fn add_folder(tree: &mut Tree, path: &str, mode: u32) {
    tree.insert(path.to_owned(), Entry::Directory { mode });
}

fn executable(path: &Path) -> Result<Entry> {
    let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Entry::File { mode: 0o755, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_and_operator_hold_the_public_authorities() {
        let file = tempfile::NamedTempFile::new().expect("makes a file");
        for make in [agent, operator] {
            let image = make("amd64", file.path()).expect("makes an image");
            let Some(Entry::File { content, .. }) = image.tree.get("etc/ssl/certs/ca-certificates.crt")
            else {
                panic!("{} has none", image.reference);
            };
            let read = pem::parse_many(content).expect("is PEM");
            let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
            assert!(roots.len() > 100, "{}", roots.len());
            assert!(
                read.iter()
                    .map(pem::Pem::contents)
                    .eq(roots.iter().map(AsRef::as_ref)),
                "{}",
                image.reference
            );
        }
    }
}
