//! The running kernel takes every program.

use weir_node_agent::bpf::hook::HOOKS;
use weir_node_agent::bpf::{object, tracefs};

#[test]
fn object_on_this_kernel_loads_every_program() {
    tracefs::ensure_mounted();
    let object = object::load(4 << 20, None).expect("the object loads");
    for (hook, result) in HOOKS.iter().zip(&object.hooks) {
        assert_eq!(result, &Ok(()), "{}", hook.name());
    }
    assert_eq!(object.seed, Ok(()));
}
