//! An image archive that docker, containerd and kind all load: an OCI layout with docker's index beside it.
//!
//! The layers are not compressed, so that no compressor's version shows in the digest.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::tar::{self, Entry, Tree};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What an image is made of.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Full reference with registry and tag.
    pub(crate) reference: String,
    /// As Go names it: `amd64`, `arm64`.
    pub(crate) architecture: &'static str,
    /// `UID:GID`
    pub(crate) user: &'static str,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<String>,
    pub(crate) tree: Tree,
}

/// The bytes of an archive and the digest that a registry would show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Archive {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: String,
}

/// Builds the archive; the same image gives the same bytes.
pub(crate) fn archive(image: &Image) -> Result<Archive> {
    let mut layer = Vec::new();
    tar::write(&image.tree, &mut layer)?;
    let layer_digest = sha256(&layer);
    let config =
        serde_json::to_vec(&config(image, &layer_digest)).context("encoding an image's configuration")?;
    let config_digest = sha256(&config);
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config_digest, config.len()),
        "layers": [descriptor(LAYER, &layer_digest, layer.len())],
    }))
    .context("encoding an image's manifest")?;
    let digest = sha256(&manifest);

    let mut entry = descriptor(MANIFEST, &digest, manifest.len());
    entry["platform"] = json!({"architecture": image.architecture, "os": "linux"});
    entry["annotations"] = json!({
        "io.containerd.image.name": image.reference,
        "org.opencontainers.image.ref.name": tag(&image.reference),
    });
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]});
    let docker = json!([{
        "Config": blob(&config_digest),
        "RepoTags": [image.reference],
        "Layers": [blob(&layer_digest)],
    }]);

    let mut outer = Tree::from([
        ("blobs".to_owned(), Entry::Directory { mode: 0o755 }),
        ("blobs/sha256".to_owned(), Entry::Directory { mode: 0o755 }),
    ]);
    let mut add = |path: String, content: Vec<u8>| outer.insert(path, Entry::File { mode: 0o644, content });
    add(blob(&layer_digest), layer);
    add(blob(&config_digest), config);
    add(blob(&digest), manifest);
    add("index.json".to_owned(), index.to_string().into_bytes());
    add("manifest.json".to_owned(), docker.to_string().into_bytes());
    add(
        "oci-layout".to_owned(),
        json!({"imageLayoutVersion": "1.0.0"}).to_string().into_bytes(),
    );
    let mut bytes = Vec::new();
    tar::write(&outer, &mut bytes)?;
    Ok(Archive { bytes, digest })
}

fn config(image: &Image, layer_digest: &str) -> Value {
    json!({
        "architecture": image.architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": image.user,
            "Entrypoint": image.entrypoint,
            "Cmd": image.command,
            "Env": image.environment,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask images"}],
    })
}

fn descriptor(media_type: &str, digest: &str, size: usize) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// What follows the last colon of the last path segment: a registry's port is not a tag.
fn tag(reference: &str) -> &str {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    name.rsplit_once(':').map_or("latest", |(_, tag)| tag)
}

fn sha256(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn sample(content: &[u8]) -> Image {
        Image {
            reference: "registry:5000/weir/fake:0.1.0".to_owned(),
            architecture: "amd64",
            user: "65532:65532",
            entrypoint: vec!["/fake".to_owned()],
            command: Vec::new(),
            environment: Vec::new(),
            tree: Tree::from([(
                "fake".to_owned(),
                Entry::File {
                    mode: 0o755,
                    content: content.to_vec(),
                },
            )]),
        }
    }

    #[test]
    fn building_twice_gives_the_same_bytes() {
        assert_eq!(
            archive(&sample(b"one")).unwrap(),
            archive(&sample(b"one")).unwrap()
        );
    }

    #[test]
    fn another_binary_gives_another_digest() {
        assert_ne!(
            archive(&sample(b"one")).unwrap().digest,
            archive(&sample(b"two")).unwrap().digest
        );
    }

    #[test]
    fn digest_is_sha256_of_known_bytes() {
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), expected);
    }

    #[test]
    fn port_of_a_registry_is_not_the_tag() {
        assert_eq!(tag("registry:5000/weir/fake:0.1.0"), "0.1.0");
        assert_eq!(tag("registry:5000/weir/fake"), "latest");
    }

    /// The archive of `image`, unpacked by the system's tar.
    fn unpacked(image: &Image) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image.tar");
        std::fs::write(&file, archive(image).unwrap().bytes).unwrap();
        let status = Command::new("tar")
            .arg("-xf")
            .arg(&file)
            .arg("-C")
            .arg(folder.path())
            .status();
        assert!(status.unwrap().success());
        folder
    }

    fn json_of(path: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn every_blob_has_the_digest_that_it_is_named_by() {
        let folder = unpacked(&sample(b"one"));
        let mut count = 0;
        for entry in std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            let digest = sha256(&std::fs::read(&path).unwrap());
            assert_eq!(
                path.file_name().unwrap().to_str().unwrap(),
                &digest["sha256:".len()..]
            );
            count += 1;
        }
        assert_eq!(count, 3, "layer, configuration, manifest");
    }

    #[test]
    fn both_indices_lead_to_the_same_configuration_and_layers() {
        let image = sample(b"one");
        let folder = unpacked(&image);
        let docker = json_of(&folder.path().join("manifest.json"));
        let index = json_of(&folder.path().join("index.json"));
        assert_eq!(docker[0]["RepoTags"], json!([image.reference]));
        let of = |value: &Value| folder.path().join(value.as_str().unwrap());
        let of_digest = |value: &Value| folder.path().join(blob(value.as_str().unwrap()));

        let manifest = json_of(&of_digest(&index["manifests"][0]["digest"]));
        assert_eq!(of(&docker[0]["Config"]), of_digest(&manifest["config"]["digest"]));
        let config = json_of(&of(&docker[0]["Config"]));
        let layers = docker[0]["Layers"].as_array().unwrap();
        assert_eq!(layers.len(), manifest["layers"].as_array().unwrap().len());
        for (number, layer) in layers.iter().enumerate() {
            let bytes = std::fs::read(of(layer)).unwrap();
            assert_eq!(manifest["layers"][number]["size"], bytes.len());
            // Nothing is compressed, so that what is stored and what is unpacked have one digest.
            assert_eq!(config["rootfs"]["diff_ids"][number], sha256(&bytes));
            assert_eq!(manifest["layers"][number]["digest"], sha256(&bytes));
        }
    }

    #[test]
    fn docker_loads_it_where_there_is_one() {
        let answers = Command::new("docker").arg("info").output();
        if !answers.is_ok_and(|output| output.status.success()) {
            // Past the test harness, which keeps what a passing test prints to itself.
            std::io::stderr()
                .write_all(b"SKIPPED, THIS PROVES NOTHING: no docker answers, to load an image\n")
                .unwrap();
            return;
        }
        let image = Image {
            reference: format!("weir.local/loaded-by-a-test:{}", std::process::id()),
            ..sample(b"one")
        };
        let folder = unpacked(&image);
        let docker = |arguments: &[&str]| {
            let output = Command::new("docker").args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let file = folder.path().join("image.tar").display().to_string();
        let loaded = docker(&["load", "--input", &file]);
        let removed = docker(&["rmi", &image.reference]);
        assert!(
            loaded.contains(&image.reference) && removed.contains("Untagged"),
            "{loaded}{removed}"
        );
    }
}
