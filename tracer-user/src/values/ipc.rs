//! What `msgctl`, `semctl` and `shmctl` pass and return, by their commands.

use tracer_common::{event::Abi, syscalls::Set};

use super::{
    Context,
    layout::{self, Entry, Kind, field, silent},
    node::{Fields, Node, Shown},
    reader::Reader,
    set,
};

/// `struct ipc64_perm`, `asm-generic/ipcbuf.h`. What the program sets comes first in text.
fn permissions(reader: &mut Reader<'_>) -> Option<Node> {
    let key = reader.u32()?;
    let [owner, group, creator, its_group] =
        [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
    let mode = reader.u32()?;
    // `mode_t` has 16 bits there, and padding behind it.
    let mode = if reader.is_narrow() { mode & 0xffff } else { mode };
    let sequence = reader.u16()?;
    reader.u16()?;
    for _ in 0..2 {
        reader.ulong()?;
    }
    let mut fields = Fields::default();
    fields.push("uid", Node::id(owner));
    fields.push("gid", Node::id(group));
    fields.push("mode", Node::Octal(mode.into()));
    fields.push("key", Node::Unsigned(key.into()));
    fields.push("cuid", Node::id(creator));
    fields.push("cgid", Node::id(its_group));
    fields.push_as("seq", Node::Unsigned(sequence.into()), Shown::Silent);
    Some(fields.into())
}

/// `struct msqid64_ds`, `asm-generic/msgbuf.h`.
const QUEUE: &[Entry] = &[
    field("msg_perm", Kind::Custom(permissions)),
    field("msg_stime", Kind::Custom(time)),
    field("msg_rtime", Kind::Custom(time)),
    field("msg_ctime", Kind::Custom(time)),
    silent("msg_cbytes", Kind::Ulong),
    field("msg_qnum", Kind::Ulong),
    field("msg_qbytes", Kind::Ulong),
    field("msg_lspid", Kind::I32),
    field("msg_lrpid", Kind::I32),
];
/// `struct semid64_ds`, `asm-generic/sembuf.h`; x86-64 has words between the times.
const SEMAPHORES: &[Entry] = &[
    field("sem_perm", Kind::Custom(permissions)),
    field("sem_otime", Kind::Custom(spaced_time)),
    field("sem_ctime", Kind::Custom(spaced_time)),
    field("sem_nsems", Kind::Ulong),
];
/// `struct shmid64_ds`, `asm-generic/shmbuf.h`.
const SEGMENT: &[Entry] = &[
    field("shm_perm", Kind::Custom(permissions)),
    field("shm_segsz", Kind::Ulong),
    field("shm_atime", Kind::Custom(time)),
    field("shm_dtime", Kind::Custom(time)),
    field("shm_ctime", Kind::Custom(time)),
    field("shm_cpid", Kind::I32),
    field("shm_lpid", Kind::I32),
    field("shm_nattch", Kind::Ulong),
];
/// `struct msginfo`, `linux/msg.h`.
const QUEUE_LIMITS: &[Entry] = &[
    field("msgpool", Kind::I32),
    field("msgmap", Kind::I32),
    field("msgmax", Kind::I32),
    field("msgmnb", Kind::I32),
    field("msgmni", Kind::I32),
    field("msgssz", Kind::I32),
    field("msgtql", Kind::I32),
    field("msgseg", Kind::U16),
];
/// `struct seminfo`, `linux/sem.h`.
const SEMAPHORE_LIMITS: &[Entry] = &[
    field("semmap", Kind::I32),
    field("semmni", Kind::I32),
    field("semmns", Kind::I32),
    field("semmnu", Kind::I32),
    field("semmsl", Kind::I32),
    field("semopm", Kind::I32),
    field("semume", Kind::I32),
    field("semusz", Kind::I32),
    field("semvmx", Kind::I32),
    field("semaem", Kind::I32),
];
/// `struct shminfo64`, `asm-generic/shmbuf.h`.
const SEGMENT_LIMITS: &[Entry] = &[
    field("shmmax", Kind::Ulong),
    field("shmmin", Kind::Ulong),
    field("shmmni", Kind::Ulong),
    field("shmseg", Kind::Ulong),
    field("shmall", Kind::Ulong),
];
/// `struct shm_info`, `linux/shm.h`.
const SEGMENT_USE: &[Entry] = &[
    field("used_ids", Kind::I32),
    field("shm_tot", Kind::Ulong),
    field("shm_rss", Kind::Ulong),
    field("shm_swp", Kind::Ulong),
    field("swap_attempts", Kind::Ulong),
    field("swap_successes", Kind::Ulong),
];

/// A time whose upper half stands behind it where a word has 32 bits.
fn time(reader: &mut Reader<'_>) -> Option<Node> {
    let low = reader.ulong()?;
    let high = if reader.is_narrow() { reader.ulong()? } else { 0 };
    Some(Node::Signed((low | high << 32).cast_signed()))
}

/// The same where x86-64 has a word of padding too, for the sake of i386.
fn spaced_time(reader: &mut Reader<'_>) -> Option<Node> {
    let time = time(reader)?;
    if reader.abi() == Abi::X86_64 {
        reader.ulong()?;
    }
    Some(time)
}

/// What the last argument of `msgctl`, `semctl` or `shmctl` points to.
pub(super) fn control(reader: &mut Reader<'_>, context: &Context<'_>) -> Option<Fields> {
    // Behind `IPC_64`, which is in the number where a program asks for the structures of today.
    const IPC_64: u64 = 0x100;
    let (commands, at) = match context.name {
        "msgctl" => (Set::MsgctlCommands, 1),
        "semctl" => (Set::SemctlCommands, 2),
        _ => (Set::ShmctlCommands, 1),
    };
    let command = context.args.get(at).copied().unwrap_or_default() & 0xffff_ffff & !IPC_64;
    let command = set::name(commands, context.abi, command)?;
    let layout = match (context.name, command) {
        ("msgctl", "IPC_SET" | "IPC_STAT" | "MSG_STAT" | "MSG_STAT_ANY") => QUEUE,
        ("semctl", "IPC_SET" | "IPC_STAT" | "SEM_STAT" | "SEM_STAT_ANY") => SEMAPHORES,
        ("shmctl", "IPC_SET" | "IPC_STAT" | "SHM_STAT" | "SHM_STAT_ANY") => SEGMENT,
        ("msgctl", "IPC_INFO" | "MSG_INFO") => QUEUE_LIMITS,
        ("semctl", "IPC_INFO" | "SEM_INFO") => SEMAPHORE_LIMITS,
        ("shmctl", "IPC_INFO") => SEGMENT_LIMITS,
        ("shmctl", "SHM_INFO") => SEGMENT_USE,
        _ => return None,
    };
    let mut fields = layout::read(layout, reader);
    // strace shows the times last.
    for name in ["shm_atime", "shm_dtime", "shm_ctime"] {
        fields.move_to_end(name);
    }
    if command == "IPC_SET" {
        only_what_is_set(&mut fields);
    }
    Some(fields)
}

/// Of a structure that is passed, the kernel looks at the owner, the mode and the size of a queue.
fn only_what_is_set(fields: &mut Fields) {
    for name in ["msg_perm", "sem_perm", "shm_perm"] {
        if let Some(Node::Fields(permissions)) = fields.node(name) {
            for name in ["key", "cuid", "cgid"] {
                permissions.show(name, Shown::Silent);
            }
        }
    }
    for entry in [QUEUE, SEMAPHORES, SEGMENT].into_iter().flatten() {
        if !entry.name().ends_with("_perm") && entry.name() != "msg_qbytes" {
            fields.show(entry.name(), Shown::Silent);
        }
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::syscalls::Struct;

    use super::super::push_struct;
    use super::*;

    fn text(abi: Abi, name: &'static str, args: [u64; 6], words: &[u32]) -> String {
        let context = Context { abi, name, args, ret: 0, at_exit: true, is_cut: false, fds: &[] };
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let kind = match name {
            "msgctl" => Struct::MsqidDs,
            "semctl" => Struct::SemidDs,
            _ => Struct::ShmidDs,
        };
        let mut out = Vec::new();
        let known = push_struct(&mut out, kind, &context, &bytes);
        if known { String::from_utf8(out).unwrap() } else { "none".to_owned() }
    }

    #[test]
    fn semaphores_have_padding_on_x86_64_alone() {
        // `struct ipc64_perm` of 48 bytes, then words.
        let permissions = [7, 1, 2, 3, 4, 0o600, 0, 0, 0, 0, 0, 0];
        let set = "{sem_perm={uid=1, gid=2, mode=0600";
        let all = format!("{set}, key=7, cuid=3, cgid=4}}");
        let padded = [&permissions[..], &[10, 0, 0, 0, 11, 0, 0, 0, 5, 0, 0, 0, 0, 0]].concat();
        let dense = [&permissions[..], &[10, 0, 11, 0, 5, 0, 0, 0, 0, 0]].concat();
        // IPC_STAT with IPC_64.
        let args = [1, 0, 0x102, 0, 0, 0];
        let expected = format!("{all}, sem_otime=10, sem_ctime=11, sem_nsems=5}}");
        assert_eq!(text(Abi::X86_64, "semctl", args, &padded), expected);
        assert_eq!(text(Abi::Aarch64, "semctl", args, &dense), expected);
        // IPC_SET, GETALL.
        assert_eq!(text(Abi::X86_64, "semctl", [1, 0, 1, 0, 0, 0], &padded), format!("{set}}}}}"));
        assert_eq!(text(Abi::X86_64, "semctl", [1, 0, 13, 0, 0, 0], &padded), "none");
    }

    #[test]
    fn times_of_32_bit_programs_have_two_halves() {
        let words = [7, 1, 2, 3, 4, 0o600, 0, 0, 0, 8, 0, 1, 9, 0, 10, 0, 21, 22, 23];
        let text = text(Abi::I386, "shmctl", [1, 2, 0, 0, 0, 0], &words);
        let rest = "shm_segsz=8, shm_cpid=21, shm_lpid=22, shm_nattch=23, \
                    shm_atime=4294967296, shm_dtime=9, shm_ctime=10}";
        assert!(text.ends_with(rest), "{text}");
    }
}
