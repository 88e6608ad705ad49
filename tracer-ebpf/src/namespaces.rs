//! The namespaces that a process is in, by the numbers that `/proc/PID/ns` shows.

use tracer_common::lifecycle::NAMESPACES;

use crate::{
    kernel_memory::read_kernel,
    maps::{
        CGROUP_NS_NUMBER, CRED_USER_NS, IPC_NS_NUMBER, MNT_NS_NUMBER, NET_NS_NUMBER,
        NSPROXY_CGROUP, NSPROXY_IPC, NSPROXY_MNT, NSPROXY_NET, NSPROXY_UTS, PID_NS_NUMBER,
        USER_NS_NUMBER, UTS_NS_NUMBER,
    },
    task::Task,
};

/// Where the namespace stands in a `struct upid`.
const UPID_NS: u64 = 8;

/// Writes pid, mnt, net, user, uts, ipc and cgroup; 0 for a kind that the kernel does not have. Not
/// inlined: on kernels before 6.2 the stack is short.
#[inline(never)]
pub(crate) fn write(task: Task, to: &mut [u32; NAMESPACES]) {
    let proxy = task.namespaces();
    let upid = task.innermost_pid();
    let pid: u64 = read_kernel(upid + UPID_NS);
    *to = [
        number(pid, PID_NS_NUMBER.load()),
        number(member(proxy, NSPROXY_MNT.load()), MNT_NS_NUMBER.load()),
        number(member(proxy, NSPROXY_NET.load()), NET_NS_NUMBER.load()),
        number(member(task.credentials(), CRED_USER_NS.load()), USER_NS_NUMBER.load()),
        number(member(proxy, NSPROXY_UTS.load()), UTS_NS_NUMBER.load()),
        number(member(proxy, NSPROXY_IPC.load()), IPC_NS_NUMBER.load()),
        number(member(proxy, NSPROXY_CGROUP.load()), CGROUP_NS_NUMBER.load()),
    ];
}

/// A pointer in a struct; 0 where there is none. What is behind a null pointer cannot be read, and is
/// 0 too.
#[inline(always)]
fn member(base: u64, offset: u32) -> u64 {
    if offset == 0 { 0 } else { read_kernel(base + u64::from(offset)) }
}

/// The inode number of a namespace.
#[inline(always)]
fn number(namespace: u64, offset: u32) -> u32 {
    if offset == 0 { 0 } else { read_kernel(namespace + u64::from(offset)) }
}
