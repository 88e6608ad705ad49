//! Two empty raw tracepoints: what any tracer at these points costs at the least.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Attached until dropped.
pub(crate) struct Floor {
    _links: [OwnedFd; 2],
}

const BPF_PROG_LOAD: i64 = 5;
const BPF_RAW_TRACEPOINT_OPEN: i64 = 17;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;

/// `struct bpf_insn`: `r0 = 0; exit`.
const EMPTY: [u64; 2] = [0xb7, 0x95];

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`, bpf(2).
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log: [u64; 2],
    kern_version: u32,
    prog_flags: u32,
}

/// The same for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct OpenAttr {
    name: u64,
    prog_fd: u32,
    pad: u32,
}

impl Floor {
    pub(crate) fn attach() -> io::Result<Self> {
        let load = LoadAttr {
            prog_type: BPF_PROG_TYPE_RAW_TRACEPOINT,
            insn_cnt: 2,
            insns: EMPTY.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            ..LoadAttr::default()
        };
        let program = bpf(BPF_PROG_LOAD, &load)?;
        let open = |name: &CStr| {
            let prog_fd = program.as_raw_fd().cast_unsigned();
            let attr = OpenAttr { name: name.as_ptr() as u64, prog_fd, pad: 0 };
            bpf(BPF_RAW_TRACEPOINT_OPEN, &attr)
        };
        Ok(Self { _links: [open(c"sys_exit")?, open(c"sys_enter")?] })
    }
}

fn bpf<T>(command: i64, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is valid for its size, and what it points to outlives the call.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}
