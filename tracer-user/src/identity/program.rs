//! A program, as the kernel's records tell of it.

/// A program as a process runs it, by the kernel's records alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The kernel's number for it (`self_exec_id`), which tells the programs of one process apart.
    pub exec_id: u32,
    /// Its name: the last part of the path that was executed, or of that of its file where the first
    /// leads through `/proc` or `/dev/fd`; the first thread's name where neither is known. Any bytes,
    /// and never none but for [`Program::default`].
    pub name: Box<[u8]>,
    /// The path as `execve` was given it: any bytes. `None` where its `execve` was not seen, or the
    /// path could not be read.
    pub filename: Option<Filename>,
    /// Whether what runs is an interpreter that the file at this path names: a script.
    pub is_interpreted: bool,
    /// The file that the kernel has mapped.
    pub executable: Option<Executable>,
    /// The arguments that it was begun with: any bytes.
    pub args: Box<[Box<[u8]>]>,
    /// Whether there are more arguments than these, or the last one is longer.
    pub args_cut: bool,
}

/// A path as `execve` was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filename {
    /// Any bytes.
    pub path: Box<[u8]>,
    /// Whether it is longer.
    pub is_cut: bool,
}

/// The file that a program was mapped from, as the kernel held it when the program began, or when
/// tracing did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Its path as the process sees it: any bytes, without links; `...` in front of one whose beginning
    /// is missing. `None` where the kernel side could not walk it.
    pub path: Option<Box<[u8]>>,
    /// Whether no folder has it by then: it was removed, or never had a name in any.
    pub is_deleted: bool,
    /// Device, as stat(2) numbers it, of the file system that has it.
    pub device: u64,
    /// Inode number there.
    pub inode: u64,
}
