//! Programs that try to make the trace report what is not so: the name of a descriptor against what
//! the kernel answers the program itself, right before and after the call.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use tracer_common::file::FileKind;
use tracer_user::{
    kernel::FileDetail,
    pipeline::TraceOptions,
    span_record::{DescriptorFile, SpanRecord, SyscallSpan},
};

use crate::{
    names::shown,
    support::{fewer_in_guests, skipped, syscalls, trace_speaking_workload},
};

/// Marked calls have this as the top byte of a register.
const MARK: u64 = 0x7e;

/// The cases of which the beginnings of paths are cut off.
const CUT: [&str; 2] = ["more-folders-than-are-kept", "longer-than-what-is-kept"];

/// A folder that a failed test leaves for nobody.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> String {
        let path: PathBuf = self.0.path().canonicalize().unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn options(calls: &str) -> TraceOptions {
    TraceOptions {
        syscalls: syscalls(calls),
        names: Some(FileDetail::Paths),
        ..TraceOptions::default()
    }
}

/// The marked calls by their numbers.
fn marked(spans: &[SpanRecord]) -> HashMap<u64, &SpanRecord> {
    let number = |span: &SpanRecord| span.syscall()?.args.into_iter().find(|arg| arg >> 56 == MARK);
    spans.iter().filter_map(|span| Some((number(span)?, span))).collect()
}

/// What the program has printed of one call.
struct Truth {
    number: u64,
    fd: i32,
    returned: bool,
    is_there: bool,
    held: Vec<u8>,
    owner: (u32, u32),
    name: Vec<u8>,
    program: Vec<u8>,
    /// Whether it is longer than what is kept.
    is_long: bool,
}

impl Truth {
    fn parse(line: &str, is_long: bool) -> Self {
        let words: Vec<&str> = line.split('\t').collect();
        let [number, fd, returned, is_there, held, uid, gid, name, program] = words[..] else {
            panic!("{line}")
        };
        Self {
            number: u64::from_str_radix(number, 16).unwrap(),
            fd: fd.parse().unwrap(),
            returned: returned.parse().unwrap(),
            is_there: is_there.parse().unwrap(),
            held: bytes(held),
            owner: (uid.parse().unwrap(), gid.parse().unwrap()),
            name: bytes(name),
            program: bytes(program),
            is_long,
        }
    }

    /// What is wrong with what was traced of the call.
    fn compare(&self, span: Option<&SpanRecord>) -> Vec<String> {
        let Some(span) = span else { return vec!["the call was not traced".to_owned()] };
        let call = span.syscall().unwrap();
        let captures = call.payload.as_slice();
        let mut wrong = self.compare_maker(span, call);
        match DescriptorFile::find(captures, self.fd, self.returned) {
            Some(file) => {
                wrong.extend(self.compare_file(&file));
                wrong.extend(self.compare_text(call, file.path().is_some()));
            }
            None => wrong.push("nothing was captured".to_owned()),
        }
        wrong
    }

    /// Who made the call.
    fn compare_maker(&self, span: &SpanRecord, call: &SyscallSpan) -> Vec<String> {
        let mut wrong = Vec::new();
        if span.owner() != Some(self.owner) {
            wrong.push(format!("made by {:?} and not {:?}", span.owner(), self.owner));
        }
        if call.comm() != self.name {
            let names = [call.comm(), &self.name].map(String::from_utf8_lossy);
            wrong.push(format!("made by the thread {:?} and not {:?}", names[0], names[1]));
        }
        let executable = span.process().and_then(|it| it.program.executable.as_ref());
        let program = executable.map(|it| named(it.path.as_deref(), it.is_deleted));
        if program.as_ref() != Some(&self.program) {
            let truth = String::from_utf8_lossy(&self.program);
            wrong.push(format!("made by the program {executable:?} and not {truth:?}"));
        }
        wrong
    }

    fn compare_file(&self, file: &DescriptorFile<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        if file.changed {
            wrong.push("marked as changed".to_owned());
        }
        if file.is_cut() != self.is_long {
            wrong.push(format!("cut off is {}", file.is_cut()));
        }
        let name = match file.kind() {
            Some(FileKind::File) => named(file.path().as_deref(), file.is_deleted()),
            Some(FileKind::Memory) => {
                named(file.name().map(|it| [b"/", it].concat()).as_deref(), true)
            }
            Some(FileKind::Closed) => Vec::new(),
            // Their text is compared.
            _ => return wrong,
        };
        let is_right = match name.strip_prefix(b"...") {
            Some(end) if file.is_cut() => self.held.ends_with(end),
            _ => name == self.held,
        };
        if !is_right {
            wrong.push(format!("traced as {:?}", String::from_utf8_lossy(&name)));
        }
        if self.is_there && file.is_deleted() {
            wrong.push("traced as removed".to_owned());
        }
        wrong
    }

    /// The text that is shown, where nothing has to be escaped in it.
    fn compare_text(&self, call: &SyscallSpan, is_path: bool) -> Option<String> {
        let text = if self.returned { return None } else { shown(call, self.fd) };
        let held = std::str::from_utf8(&self.held).ok()?;
        if self.is_long {
            let name = text.trim_start_matches("AT_FDCWD").strip_prefix("<...");
            let end = name.and_then(|name| name.strip_suffix('>'));
            let is_right = end.is_some_and(|end| end.starts_with('/') && held.ends_with(end));
            return (!is_right).then(|| format!("shown as {text:?}"));
        }
        let is_plain =
            held.chars().all(|it| (it.is_ascii_graphic() || it == ' ') && !"<>\\\"".contains(it));
        if !is_plain || (is_path && held.contains("(deleted)")) {
            return None;
        }
        let expected = match held.strip_suffix(" (deleted)") {
            _ if held.is_empty() => String::new(),
            Some(path) => format!("<{path}>(deleted)"),
            None => format!("<{held}>"),
        };
        (text.trim_start_matches("AT_FDCWD") != expected).then(|| format!("shown as {text:?}"))
    }
}

/// A path as the kernel writes it into links.
fn named(path: Option<&[u8]>, is_deleted: bool) -> Vec<u8> {
    let mark = if is_deleted { &b" (deleted)"[..] } else { b"" };
    [path.unwrap_or(b"(no path)"), mark].concat()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn no_program_can_make_the_name_of_a_descriptor_false() {
    let folder = Folder::new();
    let options = options("fcntl,faccessat,openat,dup");
    let (spans, output, _) = trace_speaking_workload(&["truth", &folder.path()], options);
    let calls = marked(&spans);
    let mut compared: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut wrong, mut left_out) = (Vec::new(), 0);
    for line in output.lines() {
        let (what, rest) = line.split_once('\t').unwrap_or_else(|| panic!("{line:?}"));
        let (case, rest) = rest.split_once('\t').unwrap();
        let count = compared.entry(case).or_default();
        match what {
            "case" => {}
            "truth" => {
                let truth = Truth::parse(rest, CUT.contains(&case));
                let held = String::from_utf8_lossy(&truth.held).into_owned();
                let differences = truth.compare(calls.get(&truth.number).copied());
                let about = format!("{case}: descriptor {} is {held:?}", truth.fd);
                wrong.extend(differences.iter().map(|it| format!("{about}: {it}")));
                *count += 1;
            }
            "skipped" => {
                skipped(&format!("truth, {case}: {rest}"));
                left_out += 1;
                *count += 1;
            }
            "failed" => wrong.push(format!("{case}: {rest}")),
            _ => panic!("{line:?}"),
        }
    }
    wrong.extend(compared.iter().filter(|it| *it.1 == 0).map(|it| format!("{}: no call", it.0)));
    let marks: usize = compared.values().sum::<usize>() - left_out;
    let summary = format!("{} cases, {left_out} left out, {marks} calls", compared.len());
    assert!(wrong.is_empty(), "{summary}, {} wrong:\n{}", wrong.len(), wrong.join("\n"));
    println!("{summary}");
    assert!(compared.len() - left_out >= 100, "{summary}");
}

#[test]
fn what_others_change_while_a_call_runs_is_marked() {
    let folder = Folder::new();
    let run = ["between", &folder.path()];
    let (spans, output, _) = trace_speaking_workload(&run, options("statfs,readlinkat"));
    let calls = marked(&spans);
    for line in output.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        let [number, fd, held, changes] = words[..] else { panic!("{line}") };
        let call = calls[&u64::from_str_radix(number, 16).unwrap()].syscall().unwrap();
        let (fd, changes): (i32, bool) = (fd.parse().unwrap(), changes.parse().unwrap());
        let file = DescriptorFile::find(call.payload.as_slice(), fd, false).unwrap();
        assert_eq!(file.changed, changes, "{line}: {file:?}");
        let text = shown(call, fd);
        assert_eq!(text.ends_with("(changed)"), changes, "{line}: {text}");
        let path = file.path().map(|path| String::from_utf8(path).unwrap());
        assert!(changes || path.as_deref() == Some(held), "{line}: {path:?}");
    }
    assert_eq!(output.lines().count(), 12, "{output}");
}

#[test]
fn a_number_that_others_change_meanwhile_has_the_right_name_or_a_mark() {
    let folder = Folder::new();
    let count = fewer_in_guests(20_000);
    let run = ["number-race", &folder.path(), &count.to_string()];
    let (spans, output, _) = trace_speaking_workload(&run, options("pread64"));
    let calls = marked(&spans);
    let (mut right, mut flagged, mut refused, mut unnamed) = (0, 0, 0, 0_u64);
    let mut wrong = Vec::new();
    for line in output.lines() {
        let (number, held) = line.split_once('\t').unwrap();
        let call = calls[&u64::from_str_radix(number, 16).unwrap()].syscall().unwrap();
        let fd = i32::try_from(call.args[0]).unwrap();
        let file = DescriptorFile::find(call.payload.as_slice(), fd, false).unwrap();
        let path = file.path().map(|path| String::from_utf8(path).unwrap());
        match path {
            _ if call.ret < 0 => refused += 1,
            _ if file.changed => flagged += 1,
            Some(path) if path == held => right += 1,
            None if file.kind() == Some(FileKind::Closed) => unnamed += 1,
            path => wrong.push(format!("{held}: {path:?} {:?}", file.kind())),
        }
    }
    let sums = format!("{right} right, {flagged} marked, {refused} refused, {unnamed} unnamed");
    println!("{sums}, {} wrong {wrong:?}", wrong.len());
    assert!(right > 0, "{sums}");
    assert_eq!(unnamed, 0, "{sums}");
    // The same `struct file` can be freed and come back for another name within one call, which
    // nothing distinguishes.
    let most = usize::try_from(count / 5_000).unwrap() + 1;
    assert!(wrong.len() <= most, "{sums}, {} wrong: {:?}", wrong.len(), wrong.first());
}

#[test]
fn a_name_that_another_thread_changes_is_never_torn() {
    let folder = Folder::new();
    let place = folder.path();
    let count = fewer_in_guests(50_000);
    let run = ["rename-race", &place, &count.to_string()];
    let (spans, output, _) = trace_speaking_workload(&run, options("fcntl"));
    let calls = marked(&spans);
    let names = [("one", "a".repeat(7)), ("two", "b".repeat(200))]
        .map(|(folder, name)| format!("{place}/{folder}/{name}/file"));
    let mut seen = [0, 0];
    let (mut unfinished, mut torn) = (0, Vec::new());
    for line in output.lines() {
        let call = calls[&u64::from_str_radix(line, 16).unwrap()].syscall().unwrap();
        let fd = i32::try_from(call.args[0]).unwrap();
        let file = DescriptorFile::find(call.payload.as_slice(), fd, false).unwrap();
        let path = file.path().map(|path| String::from_utf8_lossy(&path).into_owned());
        match path {
            Some(path) if path == names[0] => seen[0] += 1,
            Some(path) if path == names[1] => seen[1] += 1,
            _ if file.is_cut() || file.is_unreadable() || file.changed => unfinished += 1,
            path => torn.push(path),
        }
    }
    println!("{seen:?} names, {unfinished} marked, {} torn", torn.len());
    assert!(torn.is_empty(), "{} torn: {:?}", torn.len(), torn.first());
    assert!(seen.iter().sum::<u64>() > count / 2, "{seen:?} of {count}, {unfinished} marked");
}
