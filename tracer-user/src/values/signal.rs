//! Signals: their names, sets, actions and what comes with one.

use tracer_common::{event::Abi, syscalls::Set};

use super::{
    layout::{Entry, Kind, field},
    node::{Fields, Node, Shown},
    reader::Reader,
    set, time,
};

/// Signals are the same on every ABI here.
const ANY: Abi = Abi::X86_64;
/// `SIGRTMIN` of the kernel.
const FIRST_REALTIME: i32 = 32;
/// `_NSIG`
const LAST: i32 = 64;

/// `SIGINT`, `SIGRTMIN`, `SIGRT_2`, or the number.
pub(super) fn name(signal: i32) -> String {
    let known = u64::try_from(signal).ok().and_then(|value| set::name(Set::Signals, ANY, value));
    match (known, signal) {
        (Some(name), _) => name.to_owned(),
        (None, FIRST_REALTIME) => "SIGRTMIN".to_owned(),
        (None, 33..=LAST) => format!("SIGRT_{}", signal - FIRST_REALTIME),
        (None, _) => signal.to_string(),
    }
}

/// The same of a number as wide as a register, where the kernel looks at all of it.
pub(super) fn name_of_word(signal: u64) -> String {
    i32::try_from(signal).map_or_else(|_| signal.to_string(), name)
}

/// `[INT TERM]`; `~[KILL]` where most are in the set.
pub(super) fn set_node(bytes: &[u8]) -> Node {
    let is_in = |signal: i32| {
        let bit = usize::try_from(signal - 1).unwrap_or_default();
        bytes.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    };
    let signals = i32::try_from(bytes.len() * 8).unwrap_or(LAST).min(LAST);
    let count = (1..=signals).filter(|signal| is_in(*signal)).count();
    let negated = signals > 0 && count >= usize::try_from(signals).unwrap_or_default() * 2 / 3;
    let items = (1..=signals)
        .filter(|signal| is_in(*signal) != negated)
        .map(|signal| Node::Symbol(name(signal).trim_start_matches("SIG").to_owned()))
        .collect();
    Node::Members { items, negated }
}

/// What a handler is called that is no function.
pub(super) fn handler_name(handler: u64) -> Option<&'static str> {
    match handler {
        0 => Some("SIG_DFL"),
        1 => Some("SIG_IGN"),
        _ => None,
    }
}

/// `struct sigaction` of `rt_sigaction`: the mask is last.
pub(super) fn sigaction(reader: &mut Reader<'_>) -> Option<Fields> {
    let handler = reader.ulong()?;
    let flags = reader.ulong()?;
    let restorer = reader.ulong()?;
    let mask = reader.take_up_to(8);
    Some(action(reader.abi(), handler, mask, flags, restorer))
}

/// `struct old_sigaction` of `sigaction`: the mask is second, and a word.
pub(super) fn old_sigaction(reader: &mut Reader<'_>) -> Option<Fields> {
    let handler = reader.ulong()?;
    let mask = reader.take(reader.word())?;
    let flags = reader.ulong()?;
    let restorer = reader.ulong()?;
    Some(action(reader.abi(), handler, mask, flags, restorer))
}

fn action(abi: Abi, handler: u64, mask: &[u8], flags: u64, restorer: u64) -> Fields {
    let text = set::flags_text(Set::SigactionFlags, abi, flags);
    let has = |name: &str| text.split('|').any(|flag| flag == name);
    let shown = if has("SA_RESTORER") { Shown::Always } else { Shown::Silent };
    let mut fields = Fields::default();
    match handler {
        0 => fields.push("sa_handler", Node::Symbol("SIG_DFL".to_owned())),
        1 => fields.push("sa_handler", Node::Symbol("SIG_IGN".to_owned())),
        u64::MAX => fields.push("sa_handler", Node::Symbol("SIG_ERR".to_owned())),
        _ => fields.push("sa_handler", Node::Pointer(handler)),
    }
    fields.push("sa_mask", set_node(mask));
    fields.push("sa_flags", Node::Symbol(text));
    fields.push_as("sa_restorer", Node::Pointer(restorer), shown);
    fields
}

pub(super) const STACK: &[Entry] = &[
    field("ss_sp", Kind::Pointer),
    field("ss_flags", Kind::Flags32(Set::SigaltstackFlags)),
    field("ss_size", Kind::Ulong),
];

/// `struct sigevent`: what is done when something has happened.
pub(super) fn sigevent(reader: &mut Reader<'_>) -> Option<Fields> {
    let value = reader.ulong()?;
    let signal = reader.i32()?;
    let notify = reader.i32()?;
    let way = set::value_text(Set::SigevNotify, reader.abi(), notify.cast_unsigned().into());
    let mut fields = Fields::default();
    if value != 0 {
        fields.push("sigev_value", sigval(value).into());
    }
    if way == "SIGEV_NONE" || way.starts_with("0x") {
        fields.push("sigev_signo", Node::Unsigned(signal.cast_unsigned().into()));
    } else {
        fields.push("sigev_signo", Node::Symbol(name(signal)));
    }
    fields.push("sigev_notify", Node::Symbol(way.clone()));
    match way.as_str() {
        "SIGEV_THREAD_ID" => {
            fields.push("sigev_notify_thread_id", Node::Signed(reader.i32()?.into()));
        }
        "SIGEV_THREAD" => {
            fields.push("sigev_notify_function", Node::Pointer(reader.ulong()?));
            fields.push("sigev_notify_attributes", Node::Pointer(reader.ulong()?));
        }
        _ => {}
    }
    Some(fields)
}

/// A `union sigval`, both ways to read it.
fn sigval(value: u64) -> Fields {
    let mut fields = Fields::default();
    let low = u32::try_from(value & 0xffff_ffff).unwrap_or_default();
    fields.push("sival_int", Node::Signed(low.cast_signed().into()));
    fields.push("sival_ptr", Node::Pointer(value));
    fields
}

/// `siginfo_t`: which fields there are depends on the signal and on where it came from.
pub(super) fn siginfo(reader: &mut Reader<'_>) -> Option<Fields> {
    let (signal, errno, code) = (reader.i32()?, reader.i32()?, reader.i32()?);
    let mut fields = Fields::default();
    if signal == 0 {
        return Some(fields);
    }
    let code_name = code_name(signal, code);
    fields.push("si_signo", Node::Symbol(name(signal)));
    fields.push("si_code", Node::Symbol(code_name.clone()));
    if errno != 0 {
        fields.push("si_errno", Node::Signed(errno.into()));
    }
    if reader.word() == 8 {
        reader.seek(16);
    }
    let shown = if code <= 0 {
        from_user(&mut fields, reader, &code_name)
    } else {
        from_kernel(&mut fields, reader, signal, &code_name)
    };
    if shown.is_none() {
        fields.cut_after(reader.len());
    }
    Some(fields)
}

/// Fields of a signal that a process has sent, or a timer of one.
fn from_user(fields: &mut Fields, reader: &mut Reader<'_>, code: &str) -> Option<()> {
    match code {
        "SI_TIMER" => {
            fields.push("si_timerid", Node::Hex(u64::from(reader.u32()?)));
            fields.push("si_overrun", Node::Signed(reader.i32()?.into()));
            value(fields, reader)
        }
        "SI_SIGIO" => band(fields, reader),
        "SI_USER" | "SI_TKILL" => sender(fields, reader),
        _ => {
            sender(fields, reader)?;
            // Nothing where no value came with it.
            let mut ahead = reader.clone();
            if ahead.ulong()? == 0 { Some(()) } else { value(fields, reader) }
        }
    }
}

/// Fields of a signal from the kernel.
fn from_kernel(
    fields: &mut Fields,
    reader: &mut Reader<'_>,
    signal: i32,
    code: &str,
) -> Option<()> {
    match name(signal).as_str() {
        "SIGCHLD" => {
            sender(fields, reader)?;
            let status = reader.i32()?;
            let status = match code {
                "CLD_EXITED" => Node::Signed(status.into()),
                _ => Node::Symbol(name(status)),
            };
            fields.push("si_status", status);
            fields.push("si_utime", time::clock_ticks(reader)?);
            fields.push("si_stime", time::clock_ticks(reader)?);
        }
        "SIGILL" | "SIGFPE" | "SIGSEGV" | "SIGBUS" | "SIGTRAP" => {
            fields.push("si_addr", Node::Pointer(reader.ulong()?));
            at_address(fields, reader, code)?;
        }
        "SIGIO" => band(fields, reader)?,
        "SIGSYS" => {
            fields.push("si_call_addr", Node::Pointer(reader.ulong()?));
            fields.push("si_syscall", Node::Signed(reader.i32()?.into()));
            fields.push("si_arch", Node::Hex(reader.u32()?.into()));
        }
        _ => other(fields, reader)?,
    }
    Some(())
}

/// A signal without fields of its own: sender and value, each where there is one.
fn other(fields: &mut Fields, reader: &mut Reader<'_>) -> Option<()> {
    let mut ahead = reader.clone();
    let (pid, uid) = (ahead.u32()?, ahead.u32()?);
    if (pid, uid) != (0, 0) {
        sender(fields, &mut reader.clone())?;
    }
    let mut value_ahead = ahead.clone();
    if value_ahead.ulong()? == 0 { Some(()) } else { value(fields, &mut ahead) }
}

/// What more is said of an address.
fn at_address(fields: &mut Fields, reader: &mut Reader<'_>, code: &str) -> Option<()> {
    match code {
        "SEGV_BNDERR" => {
            // Behind `si_addr_lsb`, with its padding.
            reader.ulong()?;
            fields.push("si_lower", Node::Pointer(reader.ulong()?));
            fields.push("si_upper", Node::Pointer(reader.ulong()?));
        }
        "SEGV_PKUERR" => {
            reader.ulong()?;
            fields.push("si_pkey", Node::Unsigned(reader.u32()?.into()));
        }
        "BUS_MCEERR_AR" | "BUS_MCEERR_AO" => {
            fields.push("si_addr_lsb", Node::Hex(reader.u16()?.into()));
        }
        _ => {}
    }
    Some(())
}

fn sender(fields: &mut Fields, reader: &mut Reader<'_>) -> Option<()> {
    fields.push("si_pid", Node::Signed(reader.i32()?.into()));
    let uid = reader.u32()?;
    let is_none = uid == u32::MAX;
    fields.push("si_uid", if is_none { Node::Signed(-1) } else { Node::Unsigned(uid.into()) });
    Some(())
}

fn value(fields: &mut Fields, reader: &mut Reader<'_>) -> Option<()> {
    let value = sigval(reader.ulong()?);
    fields.push("si_int", Node::Signed(value.number("sival_int")?.cast_signed()));
    fields.push("si_ptr", Node::Pointer(value.number("sival_ptr")?));
    Some(())
}

fn band(fields: &mut Fields, reader: &mut Reader<'_>) -> Option<()> {
    fields.push("si_band", Node::Signed(reader.long()?));
    fields.push("si_fd", Node::Signed(reader.i32()?.into()));
    Some(())
}

/// `CLD_EXITED`, `SI_USER`; in hexadecimal where no name is known.
fn code_name(signal: i32, code: i32) -> String {
    // The tables have codes below zero as 64 bits.
    let value = i64::from(code).cast_unsigned();
    let own = match name(signal).as_str() {
        "SIGTRAP" => Some(Set::SigtrapCodes),
        "SIGCHLD" => Some(Set::SigchldCodes),
        "SIGIO" => Some(Set::SigpollCodes),
        "SIGILL" => Some(Set::SigillCodes),
        "SIGFPE" => Some(Set::SigfpeCodes),
        "SIGSEGV" => Some(Set::SigsegvCodes),
        "SIGBUS" => Some(Set::SigbusCodes),
        "SIGSYS" => Some(Set::SigsysCodes),
        _ => None,
    };
    set::name(Set::SiCodes, ANY, value)
        .or_else(|| own.and_then(|own| set::name(own, ANY, value)))
        .map_or_else(|| format!("{:#x}", code.cast_unsigned()), str::to_owned)
}

/// `struct aio_sigset` and the last argument of `pselect6`: a pointer to a set, and its size.
pub(super) const SIGSET_POINTER: &[Entry] =
    &[field("sigmask", Kind::Pointer), field("sigsetsize", Kind::Ulong)];

/// A structure that is read by `read`; one that ends too early says so.
pub(super) fn or_cut(
    reader: &mut Reader<'_>,
    read: fn(&mut Reader<'_>) -> Option<Fields>,
) -> Fields {
    read(reader).unwrap_or_else(|| {
        let mut fields = Fields::default();
        fields.cut_after(reader.len());
        fields
    })
}
