//! The process that holds a pod's namespaces open: it does nothing, in one static binary.
//!
//! The container runtime ends it with SIGKILL. It does not reap orphans, so pods of this cluster must not set
//! `shareProcessNamespace`.

fn main() {
    loop {
        std::thread::park();
    }
}
