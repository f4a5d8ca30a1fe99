//! Pods and containers, encoded once when they become known and copied into events from then on.

use crate::encode::{Encoder, Json, Proto, fields};

/// Fields of `Workload`.
mod field {
    super::fields! {
        NAMESPACE = 1, "namespace";
        POD = 2, "pod";
        POD_UID = 3, "podUid";
        CONTAINER = 4, "container";
        CONTAINER_ID = 5, "containerId";
        IMAGE = 6, "image";
        OWNER_KIND = 7, "ownerKind";
        OWNER_NAME = 8, "ownerName";
        NODE = 9, "node";
    }
}

/// What is known of a pod and container; empty is: not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Workload {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// The container's name in the pod.
    pub container: String,
    /// The container's id, without the runtime's prefix.
    pub container_id: String,
    /// The container's image, as the pod names it.
    pub image: String,
    /// The kind of the pod's controller, such as `ReplicaSet`.
    pub owner_kind: String,
    /// The name of the pod's controller.
    pub owner_name: String,
    /// The node the pod runs on.
    pub node: String,
}

impl Workload {
    fn write<E: Encoder>(&self, encoder: &mut E) {
        let Self {
            namespace,
            pod,
            pod_uid,
            container,
            container_id,
            image,
            owner_kind,
            owner_name,
            node,
        } = self;
        encoder.text(field::NAMESPACE, namespace.as_bytes());
        encoder.text(field::POD, pod.as_bytes());
        encoder.text(field::POD_UID, pod_uid.as_bytes());
        encoder.text(field::CONTAINER, container.as_bytes());
        encoder.text(field::CONTAINER_ID, container_id.as_bytes());
        encoder.text(field::IMAGE, image.as_bytes());
        encoder.text(field::OWNER_KIND, owner_kind.as_bytes());
        encoder.text(field::OWNER_NAME, owner_name.as_bytes());
        encoder.text(field::NODE, node.as_bytes());
    }
}

/// A workload in both encodings, to be interned by whoever resolves workloads.
#[derive(Clone, Debug)]
pub struct WorkloadRef {
    identity: u32,
    workload: Workload,
    protobuf: Box<[u8]>,
    json: Box<[u8]>,
}

impl WorkloadRef {
    /// Encodes `workload`.
    ///
    /// `identity` stands for this content in the batches' workload tables: when anything about the workload changes,
    /// the new content needs another identity, never used before in this process.
    #[must_use]
    pub fn new(identity: u32, workload: Workload) -> Self {
        let mut proto = Proto::default();
        workload.write(&mut proto);
        let mut json = Json::default();
        json.buffer.put_byte(b'{');
        workload.write(&mut json);
        json.close(b'}');
        Self {
            identity,
            workload,
            protobuf: proto.buffer.as_slice().into(),
            json: json.buffer.as_slice().into(),
        }
    }

    /// What stands for it in workload tables.
    #[must_use]
    pub const fn identity(&self) -> u32 {
        self.identity
    }

    /// What is known of it.
    #[must_use]
    pub const fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The `Workload` message.
    pub(crate) fn protobuf(&self) -> &[u8] {
        &self.protobuf
    }

    /// The JSON object.
    pub(crate) fn json(&self) -> &[u8] {
        &self.json
    }
}
