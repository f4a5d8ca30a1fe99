//! The cluster's certificates: one authority, serving certificates, and a client certificate for each component.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::command;
use super::layout::{API_SERVICE, CONTROL_ADDRESS, Layout, Node};

/// Who a client certificate speaks for: file stem, common name, organisation.
struct Client {
    file: String,
    name: String,
    group: Option<&'static str>,
}

impl Client {
    fn new(file: impl Into<String>, name: impl Into<String>, group: Option<&'static str>) -> Self {
        Self {
            file: file.into(),
            name: name.into(),
            group,
        }
    }
}

/// Writes everything below `pki/`. The files of an earlier cluster are replaced.
pub(crate) fn write(layout: &Layout, nodes: u8) -> Result<()> {
    let authority = authority(layout)?;
    let api_names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let api_addresses = [
        CONTROL_ADDRESS.into(),
        API_SERVICE.into(),
        IpAddr::from([127, 0, 0, 1]),
    ];
    serving(layout, &authority, "apiserver", &api_names, &api_addresses)?;
    for node in Node::all(nodes) {
        serving(
            layout,
            &authority,
            &format!("kubelet-{}", node.name()),
            &[&node.name()],
            &[node.address().into()],
        )?;
    }
    for client in clients(nodes) {
        issue_client(layout, &authority, &client)?;
    }
    let tokens = KeyPair::generate().context("generate the service account key")?;
    key(&layout.pki("service-account.key"), &tokens.serialize_pem())?;
    command::write(&layout.pki("service-account.pub"), tokens.public_key_pem())
}

fn clients(nodes: u8) -> Vec<Client> {
    let mut clients = vec![
        Client::new("admin", "weir-admin", Some("system:masters")),
        Client::new("apiserver-kubelet", "kube-apiserver", Some("system:masters")),
        Client::new("controller-manager", "system:kube-controller-manager", None),
        Client::new("scheduler", "system:kube-scheduler", None),
        Client::new("proxy", "system:kube-proxy", None),
        Client::new("coredns", "system:coredns", None),
    ];
    clients.extend(Node::all(nodes).map(|node| {
        let name = node.name();
        Client::new(name.clone(), format!("system:node:{name}"), Some("system:nodes"))
    }));
    clients
}

fn authority(layout: &Layout) -> Result<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject("weir-local", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    let pair = KeyPair::generate().context("generate the authority's key")?;
    let certificate = params
        .self_signed(&pair)
        .context("sign the authority's certificate")?;
    command::write(&layout.pki("ca.crt"), certificate.pem())?;
    Ok(Issuer::new(params, pair))
}

fn serving(
    layout: &Layout,
    authority: &Issuer<'_, KeyPair>,
    file: &str,
    names: &[&str],
    addresses: &[IpAddr],
) -> Result<()> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).context("a serving certificate's names")?;
    params
        .subject_alt_names
        .extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.distinguished_name = subject(file, None);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    issue(layout, authority, file, params)
}

fn issue_client(layout: &Layout, authority: &Issuer<'_, KeyPair>, client: &Client) -> Result<()> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(&client.name, client.group);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    issue(layout, authority, &client.file, params)
}

fn issue(
    layout: &Layout,
    authority: &Issuer<'_, KeyPair>,
    file: &str,
    mut params: CertificateParams,
) -> Result<()> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let pair = KeyPair::generate().with_context(|| format!("generate the key of {file}"))?;
    let certificate = params
        .signed_by(&pair, authority)
        .with_context(|| format!("sign the certificate of {file}"))?;
    command::write(&layout.pki(&format!("{file}.crt")), certificate.pem())?;
    key(&layout.pki(&format!("{file}.key")), &pair.serialize_pem())
}

fn key(path: &Path, pem: &str) -> Result<()> {
    command::write(path, pem)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("restrict {} to its owner", path.display()))
}

fn subject(name: &str, group: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    subject.push(DnType::CommonName, name);
    subject
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_components_name_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        write(&layout, 2).unwrap();
        for name in [
            "ca.crt",
            "apiserver.crt",
            "kubelet-node2.key",
            "node1.crt",
            "service-account.pub",
        ] {
            let text = fs::read_to_string(layout.pki(name)).unwrap();
            assert!(text.starts_with("-----BEGIN "), "{name}: {text}");
        }
        let mode = fs::metadata(layout.pki("admin.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(
            !layout.pki("ca.key").exists(),
            "the authority's key has no use after this"
        );
    }
}
