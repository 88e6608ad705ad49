//! What the kernel side is told before it is loaded: whom and what to trace, and where the running
//! kernel keeps what it reads.

use tracer_common::{
    abi::global,
    scope::{BY_CGROUP, BY_COMM, BY_PROCESS, BY_UID, FOLLOW, LAUNCHES},
};

use super::{
    KernelError,
    btf::KernelTypes,
    preflight::{KernelVersion, PADDED_COMM_SINCE},
    programs,
    settings::Settings,
};

/// The globals that are words, by name. `reader` is the process that reads command lines.
pub(super) fn words(
    settings: &Settings,
    types: &KernelTypes,
    reader: Option<u32>,
) -> Result<Vec<(&'static str, u32)>, KernelError> {
    let task = |field| types.offset("task_struct", field);
    let (compat_offset, compat_mask) = compat_flag(types);
    let running = KernelVersion::running();
    let mut words = vec![
        (global::SELF_TGID, std::process::id()),
        (global::READER_TGID, reader.unwrap_or(0)),
        (global::SCOPE, scope_bits(settings)),
        (global::CGROUP_LEVELS, settings.cgroups.iter().fold(0, |all, cgroup| all | cgroup.levels)),
        (global::CGROUPS_CHANGE, u32::from(settings.cgroups_change)),
        (global::RESULT_FILTER, settings.result.bits()),
        (global::CAPTURES, settings.captures()),
        (global::STRING_LIMIT, u32::from(settings.data.bytes)),
        (global::DATA_LIMIT, if settings.data.data { settings.data.bytes.into() } else { 0 }),
        (global::ATOMIC_COUNTERS, u32::from(programs::is_preemptible())),
        (global::UNPADDED_COMM, u32::from(running.is_none_or(|now| now < PADDED_COMM_SINCE))),
        (global::COMPAT_OFFSET, compat_offset),
        (global::COMPAT_MASK, compat_mask),
        (global::TASK_PID, task("pid")?),
        (global::TASK_TGID, task("tgid")?),
        (global::TASK_COMM, task("comm")?),
        (global::TASK_GROUP_LEADER, task("group_leader")?),
        (global::TASK_START_BOOTTIME, task("start_boottime")?),
        (global::TASK_SIGNAL, task("signal")?),
        (global::TASK_BPF_STORAGE, task("bpf_storage").unwrap_or(0)),
        (global::TASK_CGROUPS, task("cgroups")?),
        (global::CSS_SET_DFL_CGRP, types.offset("css_set", "dfl_cgrp")?),
        (global::CGROUP_KN, types.offset("cgroup", "kn")?),
        (global::KERNFS_NODE_ID, types.offset("kernfs_node", "id")?),
        (
            global::CGROUP_PARENT,
            types.offset("cgroup", "self")? + types.offset("cgroup_subsys_state", "parent")?,
        ),
        (global::CGROUP_ROOT, types.offset("cgroup", "root")?),
        (global::CGROUP_ROOT_HIERARCHY_ID, types.offset("cgroup_root", "hierarchy_id")?),
        (global::SIGNAL_LIVE, types.offset("signal_struct", "live")?),
        (global::SIGNAL_FLAGS, types.offset("signal_struct", "flags")?),
        (global::SIGNAL_GROUP_EXIT_CODE, types.offset("signal_struct", "group_exit_code")?),
        (global::TASK_FLAGS, task("flags")?),
        (global::TASK_STATE, task("__state")?),
        (global::TASK_ON_CPU, task("on_cpu").unwrap_or(0)),
        (global::TASK_SWITCHES, task("nvcsw")?),
        (global::TASK_REAL_PARENT, task("real_parent")?),
        (global::TASK_EXIT_CODE, task("exit_code")?),
        (global::TASK_EXEC_ID, task("self_exec_id")?),
        (global::TASK_THREAD_PID, task("thread_pid")?),
        (global::TASK_MM, task("mm")?),
        (global::TASK_CRED, task("cred")?),
        (global::CRED_UID, types.offset("cred", "uid")?),
        (global::CRED_EUID, types.offset("cred", "euid")?),
        (global::CRED_EGID, types.offset("cred", "egid")?),
        (global::PID_LEVEL, types.offset("pid", "level")?),
        (global::PID_NUMBERS, types.offset("pid", "numbers")?),
        (global::MM_ARG_START, types.offset("mm_struct", "arg_start")?),
        (global::MM_EXE_FILE, types.offset("mm_struct", "exe_file")?),
        (global::FILE_INODE, types.offset("file", "f_inode")?),
        (global::INODE_INO, types.offset("inode", "i_ino")?),
        (global::INODE_SB, types.offset("inode", "i_sb")?),
        (global::SB_DEV, types.offset("super_block", "s_dev")?),
        (global::BPRM_FILENAME, types.offset("linux_binprm", "filename")?),
        (global::BPRM_INTERP, types.offset("linux_binprm", "interp")?),
    ];
    words.extend(namespaces(types));
    Ok(words)
}

/// Where namespaces stand, and their numbers; 0 for kinds that the kernel does not have.
fn namespaces(types: &KernelTypes) -> impl Iterator<Item = (&'static str, u32)> {
    let at = |owner, field| types.offset(owner, field).ok();
    let places = [
        (global::TASK_NSPROXY, "task_struct", "nsproxy"),
        (global::NSPROXY_MNT, "nsproxy", "mnt_ns"),
        (global::NSPROXY_NET, "nsproxy", "net_ns"),
        (global::NSPROXY_UTS, "nsproxy", "uts_ns"),
        (global::NSPROXY_IPC, "nsproxy", "ipc_ns"),
        (global::NSPROXY_CGROUP, "nsproxy", "cgroup_ns"),
        (global::CRED_USER_NS, "cred", "user_ns"),
    ];
    let numbers = [
        (global::PID_NS_NUMBER, "pid_namespace"),
        (global::MNT_NS_NUMBER, "mnt_namespace"),
        (global::NET_NS_NUMBER, "net"),
        (global::USER_NS_NUMBER, "user_namespace"),
        (global::UTS_NS_NUMBER, "uts_namespace"),
        (global::IPC_NS_NUMBER, "ipc_namespace"),
        (global::CGROUP_NS_NUMBER, "cgroup_namespace"),
    ];
    let number = move |owner| Some(at(owner, "ns")? + at("ns_common", "inum")?);
    let places = places.map(|(name, owner, field)| (name, at(owner, field).unwrap_or(0)));
    let numbers = numbers.map(|(name, owner)| (name, number(owner).unwrap_or(0)));
    places.into_iter().chain(numbers)
}

fn scope_bits(settings: &Settings) -> u32 {
    let bit = |on: bool, bit: u32| if on { bit } else { 0 };
    bit(settings.by_process, BY_PROCESS)
        | bit(settings.follow, FOLLOW)
        | bit(settings.launches, LAUNCHES)
        | bit(settings.cgroups_change || !settings.cgroups.is_empty(), BY_CGROUP)
        | bit(!settings.comms.is_empty(), BY_COMM)
        | bit(!settings.uids.is_empty(), BY_UID)
}

/// Where the kernel says that a call is a 32-bit one: `TS_COMPAT` of `thread_info.status` on x86,
/// `TIF_32BIT` of `thread_info.flags` on arm64. The struct is the first member of `task_struct`.
fn compat_flag(types: &KernelTypes) -> (u32, u32) {
    let (field, mask) =
        if cfg!(target_arch = "x86_64") { ("status", 1 << 1) } else { ("flags", 1 << 22) };
    types
        .offset("task_struct", "thread_info")
        .and_then(|base| Ok(base + types.offset("thread_info", field)?))
        .map_or((0, 0), |offset| (offset, mask))
}
