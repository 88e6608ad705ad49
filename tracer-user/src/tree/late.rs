//! What an `execve` was given, where its memory could not be read at its entry: a page that was not
//! resident cannot be read later, for after a success the old memory is gone. The kernel has read it
//! meanwhile, and the record of the program has what it found.

use std::sync::Arc;

use tracer_common::{
    event::{CaptureState, Phase},
    memory::{MAX_ARGV, MAX_ENVP, part},
    syscalls::ArgKind,
};

use crate::{
    process::Program,
    span_record::{Payload, SyscallSpan},
};

/// What the call that has begun a program can be given.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(super) program: Arc<Program>,
    /// Variables of the environment, where all of it was read.
    pub(super) variables: Option<u32>,
    /// Bytes that are captured of each string of `argv`.
    pub(super) argument_limit: usize,
}

impl Begun {
    /// Completes the captures of the call; what was read at its entry stays.
    #[cold]
    pub(crate) fn complete(&self, call: &mut SyscallSpan) {
        let Some(info) = call.info() else { return };
        let is_exec = info.args.iter().any(|arg| arg.kind == ArgKind::Argv);
        if !is_exec || call.ret != 0 {
            return;
        }
        let mut added = Vec::new();
        for (index, arg) in info.args.iter().enumerate() {
            let Ok(number) = u8::try_from(index) else { break };
            if call.args.get(index).is_none_or(|pointer| *pointer == 0) {
                continue;
            }
            match arg.kind {
                ArgKind::Path => self.add_filename(&mut added, call, number),
                ArgKind::Argv => self.add_args(&mut added, call, number),
                ArgKind::Envp => self.add_variables(&mut added, call, number),
                _ => {}
            }
        }
        if !added.is_empty() {
            call.payload = Payload::new(&[call.payload.as_slice(), &added].concat());
        }
    }

    fn add_filename(&self, out: &mut Vec<u8>, call: &SyscallSpan, arg: u8) {
        let Some(filename) = &self.program.filename else { return };
        if !is_missing(call, arg) {
            return;
        }
        let state = if filename.is_cut { CaptureState::Truncated } else { CaptureState::Whole };
        add(out, (arg, part::WHOLE), state, passed(&filename.path, call, arg));
    }

    /// Arguments that an interpreter was given are not those of the call.
    fn add_args(&self, out: &mut Vec<u8>, call: &SyscallSpan, arg: u8) {
        let Program { is_interpreted, args, args_cut, .. } = &*self.program;
        let is_faulty = |part| call.passed(arg.into(), part).is_some_and(|it| !it.is_read());
        let is_wanted = is_missing(call, arg) || (0..).take(MAX_ARGV).any(is_faulty);
        if *is_interpreted || args.is_empty() || !is_wanted {
            return;
        }
        let last = args.len() - 1;
        for (index, text) in args.iter().enumerate().take(MAX_ARGV) {
            let Ok(part) = u8::try_from(index) else { break };
            let shown = text.get(..self.argument_limit).unwrap_or(text);
            let is_cut = shown.len() < text.len() || (index == last && *args_cut);
            let state = if is_cut { CaptureState::Truncated } else { CaptureState::Whole };
            add(out, (arg, part), state, shown);
        }
        if args.len() > MAX_ARGV || *args_cut {
            add(out, (arg, part::MORE), CaptureState::Truncated, &[]);
        }
    }

    fn add_variables(&self, out: &mut Vec<u8>, call: &SyscallSpan, arg: u8) {
        let Some(count) = self.variables.filter(|_| is_missing(call, arg)) else { return };
        let most = u32::try_from(MAX_ENVP).unwrap_or(u32::MAX);
        let state = if count >= most { CaptureState::Truncated } else { CaptureState::Whole };
        add(out, (arg, part::WHOLE), state, &count.min(most).to_ne_bytes());
    }
}

/// Whether nothing was read of what the argument leads to, though it was to be.
fn is_missing(call: &SyscallSpan, arg: u8) -> bool {
    match call.passed(arg.into(), part::WHOLE) {
        Some(captured) => !captured.is_read(),
        None => call.payload.as_slice().is_empty(),
    }
}

/// The path as the program passed it. That of `execveat` is completed by the kernel where it is
/// relative: `/dev/fd/N/path`, and `/dev/fd/N` for an empty one,
/// <https://github.com/torvalds/linux/blob/v6.12/fs/exec.c#L1527>.
fn passed<'a>(path: &'a [u8], call: &SyscallSpan, arg: u8) -> &'a [u8] {
    const AT_FDCWD: u32 = 0xffff_ff9c;
    let folder = call.args[0].to_le_bytes();
    let folder = u32::from_le_bytes([folder[0], folder[1], folder[2], folder[3]]);
    if arg == 0 || folder == AT_FDCWD {
        return path;
    }
    let prefix = format!("/dev/fd/{}", folder.cast_signed());
    match path.strip_prefix(prefix.as_bytes()) {
        Some([]) => &[],
        Some([b'/', rest @ ..]) => rest,
        _ => path,
    }
}

/// Appends a capture as the kernel side writes it.
fn add(out: &mut Vec<u8>, (arg, part): (u8, u8), state: CaptureState, bytes: &[u8]) {
    out.extend([arg, state as u8, Phase::Late as u8, part]);
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_ne_bytes());
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(8), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{process::Filename, span_record::test_call};

    const EXECVE: u32 = 59;
    const EXECVEAT: u32 = 322;

    fn begun(args: &[&[u8]]) -> Begun {
        let program = Program {
            filename: Some(Filename { path: (*b"/bin/x").into(), is_cut: false }),
            args: args.iter().map(|arg| (*arg).into()).collect(),
            ..Program::default()
        };
        Begun { program: program.into(), variables: Some(2), argument_limit: 4 }
    }

    fn exec(nr: u32, captures: &[(u8, u8, CaptureState, &[u8])]) -> SyscallSpan {
        let mut payload = Vec::new();
        for (arg, part, state, bytes) in captures {
            add(&mut payload, (*arg, *part), *state, bytes);
        }
        let args = [7, 8, 9, 10, 11, 12];
        SyscallSpan { args, payload: Payload::new(&payload), ..test_call(nr, 0) }
    }

    fn read(call: &SyscallSpan, arg: usize, part: u8) -> Option<(CaptureState, &[u8])> {
        call.passed(arg, part).map(|it| (it.state, it.bytes))
    }

    #[test]
    fn what_could_not_be_read_is_filled_in() {
        use CaptureState::{Fault, Truncated, Whole};
        let mut call = exec(EXECVE, &[(0, 0, Fault, b""), (1, 0, Fault, b""), (2, 0, Fault, b"")]);
        begun(&[b"x", b"12345"]).complete(&mut call);
        assert_eq!(read(&call, 0, 0), Some((Whole, &b"/bin/x"[..])));
        assert_eq!(read(&call, 1, 0), Some((Whole, &b"x"[..])));
        assert_eq!(read(&call, 1, 1), Some((Truncated, &b"1234"[..])));
        assert_eq!(read(&call, 1, part::MORE), None);
        assert_eq!(read(&call, 2, 0), Some((Whole, &2u32.to_ne_bytes()[..])));
        // Nothing at all was captured.
        let mut call = exec(EXECVE, &[]);
        begun(&[b"x"]).complete(&mut call);
        assert_eq!(read(&call, 1, 0), Some((Whole, &b"x"[..])));
    }

    #[test]
    fn what_was_read_stays_and_what_is_not_known_is_not_made_up() {
        use CaptureState::{Fault, Whole};
        let read_all = [(0, 0, Whole, &b"/lib/y"[..]), (1, 0, Whole, b"y"), (2, 0, Whole, b"4444")];
        let mut call = exec(EXECVE, &read_all);
        let before = call.clone();
        begun(&[b"x"]).complete(&mut call);
        assert_eq!(call, before);
        // Of a script the arguments are the interpreter's; a failed call has begun nothing.
        let faults = [(0, 0, Whole, &b"./s"[..]), (1, 0, Fault, b""), (2, 0, Fault, b"")];
        let mut call = exec(EXECVE, &faults);
        let program =
            Program { is_interpreted: true, ..Program::clone(&begun(&[b"sh", b"./s"]).program) };
        let script = Begun { program: program.into(), variables: None, argument_limit: 4 };
        let before = call.clone();
        script.complete(&mut call);
        assert_eq!(call, before);
        let mut call = SyscallSpan { ret: -2, ..exec(EXECVE, &[]) };
        begun(&[b"x"]).complete(&mut call);
        assert!(call.payload.as_slice().is_empty());
    }

    #[test]
    fn the_path_of_execveat_is_as_it_was_passed() {
        let path = |folder: u64, completed: &[u8]| {
            let mut call = exec(EXECVEAT, &[(1, 0, CaptureState::Fault, b"")]);
            call.args[0] = folder;
            let filename = Some(Filename { path: completed.into(), is_cut: false });
            let program = Program { filename, ..Program::default() };
            Begun { program: program.into(), variables: None, argument_limit: 4 }
                .complete(&mut call);
            String::from_utf8(read(&call, 1, 0).unwrap().1.to_vec()).unwrap()
        };
        assert_eq!(path(5, b"/dev/fd/5/a/b"), "a/b");
        assert_eq!(path(5, b"/dev/fd/5"), "");
        assert_eq!(path(5, b"/dev/fd/51"), "/dev/fd/51");
        assert_eq!(path(5, b"/bin/x"), "/bin/x");
        assert_eq!(path(0xffff_ffff_ffff_ff9c, b"/dev/fd/5"), "/dev/fd/5");
    }
}
