//! The layers of tests, from the cheapest to the dearest, and which one an integration test belongs to.

use crate::workspace::TestTarget;

/// A set of tests that needs the same real parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Layer {
    /// Formatting, clippy, and the dependencies' licences and sources
    Lint,
    /// Unit, property and contract tests; nothing but Rust is needed
    Unit,
    /// Tests against a real nats-server
    Nats,
    /// Tests against the running kernel, as root
    Kernel,
    /// The agent on other kernels, in virtual machines
    Vm,
    /// Tests against a real cluster
    Cluster,
}

impl Layer {
    /// In the order they are run.
    pub(crate) const ALL: [Self; 6] = [
        Self::Lint,
        Self::Unit,
        Self::Nats,
        Self::Kernel,
        Self::Vm,
        Self::Cluster,
    ];

    /// The layer of an integration test: the dearest real part that a word of its name names.
    pub(crate) fn of(target: &TestTarget) -> Self {
        let names = |word: &str| target.name.split('_').any(|part| part == word);
        if target.package == "weir-e2e" || names("cluster") {
            Self::Cluster
        } else if names("kernel") {
            Self::Kernel
        } else if names("nats") {
            Self::Nats
        } else {
            Self::Unit
        }
    }

    /// Whether its tests start nats-server.
    pub(crate) fn wants_nats(self) -> bool {
        matches!(self, Self::Nats | Self::Kernel | Self::Cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_name_decides_outside_the_cluster_package() {
        for (package, name, expected) in [
            ("weir-node-agent", "kernel_exec", Layer::Kernel),
            ("weir-node-agent", "nats", Layer::Nats),
            ("weir-node-agent", "publish_nats", Layer::Nats),
            ("weir-node-agent", "kernel_to_nats", Layer::Kernel),
            ("weir-node-agent", "nats_redelivery", Layer::Nats),
            ("weir-node-agent", "natsort", Layer::Unit),
            ("weir-events", "golden", Layer::Unit),
            ("weir-operator", "cluster_rollout", Layer::Cluster),
            ("weir-e2e", "apply", Layer::Cluster),
        ] {
            let target = TestTarget {
                package: package.into(),
                name: name.into(),
            };
            assert_eq!(Layer::of(&target), expected, "{package} {name}");
        }
    }
}
