//! Attribution: turns a record's process and cgroup into an executable, a pod and a scope.
//!
//! All of it is owned by one thread and needs no lock; lookups per event are hash lookups that allocate nothing.
//! Time is boot time in nanoseconds and is passed in.
//!
//! * [`Index`]: cgroups, pods, namespaces, scope rules; what the kernel's scope map must hold.
//! * [`Processes`]: executables and parents.
//! * [`WallClock`]: boot time to wall time.
//! * [`CgroupRoot`] and [`walk`](walk::walk): the node's part of the hierarchy, and what is in it already.

pub mod ancestry;
pub mod cgroup_path;
pub mod cgroups;
mod change;
pub mod clock;
pub mod dense;
pub mod index;
mod intern;
pub mod processes;
mod reference;
pub mod root;
pub mod scope;
pub mod walk;
pub mod workloads;

pub use ancestry::Ancestry;
pub use cgroups::{CgroupCounts, CgroupEntry};
pub use change::Change;
pub use clock::WallClock;
pub use index::{Index, IndexCounts, ScopeChange, ScopeUpdate, SharedCounts};
pub use processes::{ProcessFacts, Processes, Subject};
pub use root::{CgroupRoot, RootError};
pub use scope::{Decision, ProfileScope, Verdict};
pub use walk::WalkError;
pub use workloads::{Container, Owner, Pod, WorkloadCounts};
