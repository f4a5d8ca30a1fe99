//! Kubeconfig files: one per component, one for people, and the context in the user's own file.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell::capture;

use super::command;
use super::layout::{API_PORT, CONTEXT, CONTROL_ADDRESS, Layout, Node};

/// Writes the kubeconfig of every component and the two of the administrator.
pub(crate) fn write(layout: &Layout, nodes: u8, host_port: u16) -> Result<()> {
    let inner = format!("https://{CONTROL_ADDRESS}:{API_PORT}");
    let fixed = ["admin", "controller-manager", "scheduler", "proxy", "coredns"].map(str::to_owned);
    for client in fixed.into_iter().chain(Node::all(nodes).map(Node::name)) {
        command::write(
            &layout.config(&format!("{client}.kubeconfig")),
            text(layout, &inner, &client),
        )?;
    }
    let outer = format!("https://127.0.0.1:{host_port}");
    command::write(&layout.kubeconfig(), text(layout, &outer, "admin"))
}

fn text(layout: &Layout, server: &str, client: &str) -> String {
    let authority = layout.pki("ca.crt");
    let certificate = layout.pki(&format!("{client}.crt"));
    let key = layout.pki(&format!("{client}.key"));
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: {CONTEXT}
  cluster:
    server: {server}
    certificate-authority: {authority}
users:
- name: {CONTEXT}
  user:
    client-certificate: {certificate}
    client-key: {key}
contexts:
- name: {CONTEXT}
  context:
    cluster: {CONTEXT}
    user: {CONTEXT}
current-context: {CONTEXT}
",
        authority = authority.display(),
        certificate = certificate.display(),
        key = key.display(),
    )
}

/// Makes plain `kubectl` find the cluster, without changing which cluster the user works with now.
///
/// Returns the sentence that tells the user what was done.
pub(crate) fn publish(layout: &Layout, kube: &Path, home: &Path) -> Result<String> {
    let user = user_file(home);
    let ours = layout.kubeconfig();
    if !user.exists() || is_ours(&user, layout)? {
        let text = std::fs::read(&ours).with_context(|| format!("read {}", ours.display()))?;
        command::write(&user, text)?;
        return Ok(format!(
            "wrote {}: plain `kubectl` uses this cluster",
            user.display()
        ));
    }
    let server = capture(kubectl_on(kube, &ours).args([
        "config",
        "view",
        "-o",
        "jsonpath={.clusters[0].cluster.server}",
    ]))?;
    let set = |arguments: &[&str]| capture(kubectl_on(kube, &user).arg("config").args(arguments));
    set(&[
        "set-cluster",
        CONTEXT,
        &format!("--server={server}"),
        &format!("--certificate-authority={}", layout.pki("ca.crt").display()),
    ])?;
    set(&[
        "set-credentials",
        CONTEXT,
        &format!("--client-certificate={}", layout.pki("admin.crt").display()),
        &format!("--client-key={}", layout.pki("admin.key").display()),
    ])?;
    set(&[
        "set-context",
        CONTEXT,
        &format!("--cluster={CONTEXT}"),
        &format!("--user={CONTEXT}"),
    ])?;
    Ok(format!(
        "added the context {CONTEXT} to {}; your current context is unchanged: `kubectl config use-context {CONTEXT}`, \
         or `export KUBECONFIG={}`",
        user.display(),
        ours.display()
    ))
}

/// Takes back what [`publish`] did.
pub(crate) fn withdraw(layout: &Layout, kube: &Path, home: &Path) -> Result<()> {
    let user = user_file(home);
    if !user.exists() {
        return Ok(());
    }
    if is_ours(&user, layout)? {
        return std::fs::remove_file(&user).with_context(|| format!("remove {}", user.display()));
    }
    if !kube.exists() {
        return Ok(());
    }
    let contexts = capture(kubectl_on(kube, &user).args(["config", "get-contexts", "-o", "name"]))?;
    if contexts.lines().any(|name| name == CONTEXT) {
        for (verb, name) in [
            ("delete-context", CONTEXT),
            ("delete-cluster", CONTEXT),
            ("delete-user", CONTEXT),
        ] {
            capture(kubectl_on(kube, &user).args(["config", verb, name]))?;
        }
    }
    Ok(())
}

/// Whether the user's file is one that [`publish`] wrote whole: it names this checkout's files and no other cluster.
fn is_ours(user: &Path, layout: &Layout) -> Result<bool> {
    let text = std::fs::read_to_string(user).with_context(|| format!("read {}", user.display()))?;
    let authority = format!("certificate-authority: {}", layout.pki("ca.crt").display());
    Ok(text.matches("- name: ").count() == 3
        && text.matches("server: ").count() == 1
        && text.contains(&authority)
        && text.contains(&format!("current-context: {CONTEXT}")))
}

fn user_file(home: &Path) -> PathBuf {
    home.join(".kube/config")
}

fn kubectl_on(kube: &Path, file: &Path) -> Command {
    let mut command = Command::new(kube);
    command
        .arg("kubectl")
        .arg(format!("--kubeconfig={}", file.display()));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_of_this_checkout_alone_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("cluster"));
        write(&layout, 1, 16443).unwrap();
        assert!(is_ours(&layout.kubeconfig(), &layout).unwrap());
    }

    #[test]
    fn file_with_another_cluster_is_the_users() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("cluster"));
        write(&layout, 1, 16443).unwrap();
        let mut text = std::fs::read_to_string(layout.kubeconfig()).unwrap();
        text.push_str("- name: production\n");
        let user = folder.path().join("config");
        std::fs::write(&user, text).unwrap();
        assert!(!is_ours(&user, &layout).unwrap());
    }

    #[test]
    fn people_reach_the_server_on_loopback_and_components_inside() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        write(&layout, 1, 17000).unwrap();
        let outer = std::fs::read_to_string(layout.kubeconfig()).unwrap();
        let inner = std::fs::read_to_string(layout.inner_kubeconfig()).unwrap();
        assert!(outer.contains("server: https://127.0.0.1:17000"), "{outer}");
        assert!(inner.contains("server: https://10.97.0.1:6443"), "{inner}");
    }
}
