//! Cgroups as they are made, with their paths: so that one is known by its id before the first
//! process is in it, and after it is gone.

use aya_ebpf::{
    helpers::{bpf_probe_read_kernel_str_bytes, generated::bpf_ringbuf_output},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    cgroup::{CGROUP_PATH_LEN, CgroupEvent},
    counter::Counter,
};

use crate::{
    kernel_memory::field,
    maps::{
        CGROUP_EVENT, CGROUP_KN, CGROUP_RING, CGROUP_ROOT, CGROUP_ROOT_HIERARCHY_ID, KERNFS_NODE_ID,
    },
    stats::Stats,
};

const HEADER: u64 = (size_of::<CgroupEvent>() - CGROUP_PATH_LEN) as u64;

/// Prototype: `void (struct cgroup *cgrp, const char *path)`. Runs before the folder can be seen,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/cgroup/cgroup.c#L5839>, under the lock of
/// all tracepoints of cgroups, with interrupts off: never twice at once on any CPU, so one place in
/// memory does, and no run is taken for recursion.
#[btf_tracepoint(function = "cgroup_mkdir")]
fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup = ctx.arg::<*mut u8>(0);
    // SAFETY: a `cgroup`, checked by the verifier like a task; as are those that follow.
    let root: *mut u8 = unsafe { field(cgroup, CGROUP_ROOT.load()) };
    // SAFETY: as above.
    let hierarchy: u32 = unsafe { field(root, CGROUP_ROOT_HIERARCHY_ID.load()) };
    // Version 2 has number 0, cgroups(7).
    if hierarchy == 0 {
        // SAFETY: as above.
        let node: *mut u8 = unsafe { field(cgroup, CGROUP_KN.load()) };
        // SAFETY: as above.
        let id = unsafe { field(node, KERNFS_NODE_ID.load()) };
        made(id, ctx.arg(1));
    }
    0
}

#[inline(always)]
fn made(id: u64, path: *const u8) {
    let (Some(stats), Some(event)) = (Stats::get(), CGROUP_EVENT.get_ptr_mut(0)) else { return };
    stats.bump(Counter::CgroupMade);
    // SAFETY: a map value, which nobody else uses meanwhile.
    let event = unsafe { &mut *event };
    // SAFETY: the kernel's own string.
    let read = unsafe { bpf_probe_read_kernel_str_bytes(path, &mut event.path) };
    let len = read.map_or(0, <[u8]>::len) as u64;
    event.id = id;
    event.len = len as u32;
    event.pad = 0;
    let mut failed = -1;
    if len < CGROUP_PATH_LEN as u64 {
        let ring = (&raw const CGROUP_RING).cast_mut().cast();
        let data = core::ptr::from_mut(event).cast();
        // SAFETY: `data` holds as many bytes. The reader of this ring sleeps until it is woken.
        failed = unsafe { bpf_ringbuf_output(ring, data, HEADER + len, 0) };
    }
    if failed != 0 {
        stats.bump(Counter::CgroupLost);
    }
}
