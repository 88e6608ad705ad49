//! Differences that are meant, each with its reason.

/// Names of constants that are newer than strace 6.1, or that it leaves out.
const NEWER: [&str; 40] = [
    "MAP_ABOVE4G",
    "MAP_DROPPABLE",
    "FSCONFIG_CMD_CREATE_EXCL",
    "USER_DISPATCH_CONFIG",
    "FUTEX2_SIZE_",
    "SCHED_EXT",
    "MADV_GUARD_",
    "SOL_MPTCP",
    "SOL_MCTP",
    "SOL_SMC",
    "SOL_VSOCK",
    "F_DUPFD_QUERY",
    "F_CREATED_QUERY",
    "_RW_HINT",
    "PR_GET_MDWE",
    "PR_SET_MDWE",
    "_MEMORY_MERGE",
    "PR_GET_AUXV",
    "FALLOC_FL_WRITE_ZEROES",
    "MPOL_WEIGHTED_INTERLEAVE",
    "AT_HANDLE_",
    "MFD_NOEXEC_SEAL",
    "MFD_EXEC",
    "MEMBARRIER_CMD_GET_REGISTRATIONS",
    "STATX_DIO",
    "STATX_MNT_ID_UNIQUE",
    "STATX_SUBVOL",
    "STATX_WRITE_ATOMIC",
    "STATX_ATTR_WRITE_ATOMIC",
    "PIDFD_SIGNAL_",
    "IORING_",
    "LANDLOCK_",
    "PTRACE_SET_SYSCALL",
    "SO_PASSPIDFD",
    "SO_PEERPIDFD",
    "SO_RCVPRIORITY",
    "SO_PASSRIGHTS",
    "SO_INQ",
    "SO_DEVMEM",
    "MOVE_MOUNT_BENEATH",
];

/// Arguments that strace shows otherwise, and why ours is meant.
const ARGUMENTS: [(&str, &str, &str); 65] = [
    ("syslog", "len", "a level for one of the actions"),
    ("arch_prctl", "arg2", "what it is depends on the option"),
    ("futex", "val", "what it is depends on the operation"),
    ("futex", "uaddr2", "what it is depends on the operation"),
    ("futex_time64", "val", "what it is depends on the operation"),
    ("futex_time64", "uaddr2", "what it is depends on the operation"),
    ("kcmp", "idx2", "what it is depends on the type"),
    ("truncate", "length", "strace shows a negative length as a large one"),
    ("ftruncate", "length", "strace shows a negative length as a large one"),
    ("close_range", "fd", "strace shows the largest numbers without a sign"),
    ("fanotify_mark", "dfd", "strace has a name for none"),
    ("open_by_handle_at", "mountdirfd", "strace has no name for the current folder here"),
    ("set_tid_address", "tidptr", "strace has no name for no address"),
    ("rseq", "rseq", "strace has no name for no address"),
    ("ssetmask", "newmask", "the mask as a number"),
    ("sigsuspend", "unused1", "arguments that the kernel does not look at"),
    ("mmap2", "pgoff", "strace shows bytes for pages"),
    ("mincore", "vec", "an array without a decoder"),
    ("io_uring_register", "arg", "an array without a decoder"),
    ("kexec_file_load", "cmdline_ptr", "its length is an argument"),
    ("ptrace", "addr", "what it is depends on the request"),
    ("ptrace", "data", "what it is depends on the request"),
    ("io_uring_setup", "params", "reserved fields that are not zero"),
    ("setsockopt", "optval", "options that only getsockopt has, or that have names for values"),
    ("name_to_handle_at", "handle", "a handle longer than any"),
    ("open_by_handle_at", "handle", "a handle longer than any"),
    ("sched_setattr", "uattr", "a policy below zero"),
    ("fsmount", "attr_flags", "attributes that the call refuses"),
    ("times", "tbuf", "ticks below zero in 32 bits"),
    ("fcntl", "arg", "commands that only fcntl64 has"),
    ("oldolduname", "name", "strace shows the address"),
    ("olduname", "name", "strace shows the address"),
    ("select", "arg", "strace shows its members as arguments"),
    ("mmap", "arg", "strace shows its members as arguments"),
    ("_llseek", "result", "strace puts two arguments together"),
    ("io_submit", "iocbpp", "strace shows what each pointer leads to"),
    ("socket", "protocol", "protocols of rare families are shown as numbers"),
    ("socketpair", "protocol", "strace does not say what it means here"),
    ("setsockopt", "optname", "options of rare levels are shown as numbers"),
    ("getsockopt", "optname", "options of rare levels are shown as numbers"),
    ("ioctl", "cmd", "several drivers share the number"),
    ("io_cancel", "iocb", "fields that are mostly zero are left out"),
    ("get_thread_area", "u_info", "the number is -1 where it is none"),
    ("set_thread_area", "u_info", "the number is -1 where it is none"),
    ("swapon", "swap_flags", "bits without meaning"),
    ("kexec_load", "flags", "bits without meaning"),
    ("get_mempolicy", "policy", "flags of the mode have names"),
    ("move_pages", "flags", "strace has no name for a flag that the call refuses"),
    ("open_tree", "flags", "flags that the call refuses"),
    ("memfd_secret", "flags", "strace has no names for them"),
    ("landlock_create_ruleset", "attr", "fields that strace does not know"),
    ("landlock_add_rule", "rule_attr", "strace shows the address for an unknown type"),
    ("openat2", "how", "bytes behind the structure"),
    ("mount_setattr", "uattr", "bytes behind the structure"),
    ("uname", "name", "a name without its zero is shown whole"),
    ("utime", "times", "years from 10000 on are not shown as dates"),
    ("time", "tloc", "years from 10000 on are not shown as dates"),
    ("perf_event_open", "attr_uptr", "only the first fields of the attributes are decoded"),
    ("bpf", "uattr", "only the first fields of the attributes are decoded"),
    ("ioctl", "arg", "a command without a decoder: its argument as a number"),
    ("seccomp", "uargs", "strace shows the program that it points to"),
    ("rseq", "flags", "strace has no names for them"),
    ("ustat", "ubuf", "strace shows the address"),
    ("capget", "dataptr", "without a version of three words strace shows one of two"),
    ("capset", "data", "without a version of three words strace shows one of two"),
];

/// Numbers of which strace takes other bits than the kernel, or another sign.
const WIDTHS: [(&str, &str); 11] = [
    ("iopl", "level"),
    ("kcmp", "idx1"),
    ("mbind", "mode"),
    ("mmap", "flags"),
    ("readlink", "bufsiz"),
    ("readlinkat", "bufsiz"),
    ("remap_file_pages", "flags"),
    ("rseq", "rseq_len"),
    ("rseq", "sig"),
    ("setdomainname", "len"),
    ("sethostname", "len"),
];

/// Whether there is a number in the text that has 31 bits or more, or a negative one.
fn is_large(text: &str) -> bool {
    const DIGITS: usize = 8;
    text.starts_with('-')
        || text.split(|c: char| !c.is_ascii_hexdigit()).any(|part| part.len() >= DIGITS)
}

/// Calls of which strace shows all registers in hexadecimal, and why any text of theirs may differ.
const UNKNOWN: [&str; 10] = [
    "bdflush",
    "create_module",
    "epoll_ctl_old",
    "epoll_wait_old",
    "get_kernel_syms",
    "nfsservctl",
    "query_module",
    "sysfs",
    "vm86",
    "vm86old",
];
const IS_UNKNOWN: &str = "a call that strace does not decode";

/// Whether strace has its own name for the call.
pub(crate) fn has_other_name(_ours: &str, _theirs: &str) -> bool {
    false
}

/// Why two texts may differ.
pub(crate) fn reason(call: &str, argument: &str, ours: &str, theirs: &str) -> Option<&'static str> {
    if ascii(ours) == hexadecimal(theirs) {
        return Some("bytes that are no text are escaped in hexadecimal");
    }
    if NEWER.iter().any(|name| ours.contains(name)) {
        return Some("a constant that strace has no name for");
    }
    if theirs.matches("+0000 */").count() > ours.matches("+0000 */").count() {
        return Some("years from 10000 on are not shown as dates");
    }
    if theirs.contains("sipx_port=") {
        return Some("addresses of IPX, which kernels no longer have");
    }
    if call == "setsockopt" && ours.starts_with("{tv_sec=") {
        return Some("strace shows the bytes of a time");
    }
    if call == "keyctl" && argument == "arg2" && (theirs == "[]" || theirs.starts_with("0x")) {
        return Some(
            "a command of keyctl that strace does not know, or of which it shows no memory",
        );
    }
    if call == "prctl" && theirs.contains("PR_TAGGED_ADDR_ENABLE") {
        return Some("how addresses are tagged, as a number");
    }
    if call == "prctl" && theirs.ends_with("|0") {
        return Some("lengths of vectors of other architectures");
    }
    let is_message = ours.strip_suffix("...}").is_some_and(|ours| theirs.starts_with(ours));
    if argument == "msgp" && is_message {
        return Some("what a message says is data");
    }
    if theirs.contains("AUDIT_ARCH_") {
        return Some("the architecture of a SIGSYS is shown as a number");
    }
    if call == "ioctl" && without_zeroes(ours) == theirs {
        return Some("of a terminal's flags that are not set strace writes nothing");
    }
    if call.ends_with("ctl")
        && ours.contains("ctime=")
        && without_times(ours) == without_times(theirs)
    {
        return Some("strace leaves out the upper halves of times");
    }
    if call.contains("adjtim") && ours == "{modes=0}" && theirs.starts_with("{modes=0, ") {
        return Some("without a mode the kernel reads nothing else of it");
    }
    if call == "waitid" && theirs.starts_with(ours.trim_end_matches('}')) {
        return Some("strace shows two times that the kernel does not write");
    }
    if theirs.contains("SCHED_ISO") {
        return Some("a policy that the kernel does not have");
    }
    // Where there is a decoder, it must agree.
    let is_number = ours.starts_with("0x") || ["0", "NULL"].contains(&ours);
    if (call, argument) == ("ioctl", "arg") && !is_number {
        return None;
    }
    if WIDTHS.contains(&(call, argument)) && (is_large(ours) || is_large(theirs)) {
        return Some("other bits of the register than the kernel takes, or another sign");
    }
    if UNKNOWN.contains(&call) {
        return Some(IS_UNKNOWN);
    }
    ARGUMENTS
        .iter()
        .find(|(its_call, its_argument, _)| (*its_call, *its_argument) == (call, argument))
        .map(|(_, _, reason)| *reason)
}

/// Whether the reason is one of [`ARGUMENTS`] or [`IS_UNKNOWN`]: it says that any text of the argument
/// may differ.
pub(crate) fn is_about_all(reason: &str) -> bool {
    reason == IS_UNKNOWN || ARGUMENTS.iter().any(|(.., its_reason)| *its_reason == reason)
}

/// Our text of `struct termios` with nothing for no flags.
fn without_zeroes(text: &str) -> String {
    let fields = text.replace("c_iflag=0,", "c_iflag=,").replace("c_lflag=0,", "c_lflag=,");
    fields.replace("|0,", "|,")
}

/// The text of a structure of System V IPC without its times.
fn without_times(text: &str) -> Vec<&str> {
    text.split(", ").filter(|field| !field.contains("time=")).collect()
}

/// strace's text with its octal escapes as ours.
fn hexadecimal(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let digits = tail.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
        rest = if digits > 0 {
            let byte = u32::from_str_radix(&tail[..digits], 8).unwrap();
            out.push_str(&format!("\\x{byte:02x}"));
            &tail[digits..]
        } else {
            let (escape, end) = match tail.chars().next() {
                Some('v') => ("\\x0b", 1),
                Some('f') => ("\\x0c", 1),
                Some(c) => (&rest[at..=at + c.len_utf8()], c.len_utf8()),
                None => ("\\", 0),
            };
            out.push_str(escape);
            &tail[end..]
        };
    }
    out + rest
}

/// Our text with letters beyond ASCII as the bytes they are.
fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes)
                .bytes()
                .for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
        }
    }
    out
}
