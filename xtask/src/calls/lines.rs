//! Reads the lines of strace and of tracer: calls, by thread.

use std::collections::BTreeMap;

use super::{
    call::{Call, UNFINISHED},
    unfold::unfold,
};

/// The calls of a thread, in their order.
#[derive(Debug, Default)]
pub(crate) struct Thread {
    /// How it came to be: the numbers of those that were made before it by the same parent.
    /// A thread whose parent is not known has [`usize::MAX`] and its number among those.
    pub(crate) path: Vec<usize>,
    /// As the lines have it.
    pub(crate) id: u32,
    /// The number of threads that had a line before it.
    pub(crate) order: usize,
    pub(crate) calls: Vec<Call>,
}

/// The threads of `strace -f`, the first of them first.
pub(crate) fn strace(text: &str) -> Vec<Thread> {
    const SUPERSEDED: &str = "+++ superseded by execve in pid ";
    let mut threads = Threads::default();
    let mut unfinished: BTreeMap<u32, String> = BTreeMap::new();
    for line in text.lines() {
        let Some((id, rest)) = line.split_once(' ') else { continue };
        let Ok(id) = id.parse() else { continue };
        let rest = rest.trim_start();
        if let Some(other) = rest.strip_prefix(SUPERSEDED) {
            // The thread that has called execve goes on with the id of the first.
            let other = other.split(' ').next().and_then(|other| other.parse().ok());
            if let Some(start) = other.and_then(|other: u32| unfinished.remove(&other)) {
                unfinished.insert(id, start);
            }
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((_, end)) = resumed.split_once(" resumed>") else { continue };
            let start = unfinished.remove(&id).unwrap_or_default();
            let end = end.strip_prefix(UNFINISHED).unwrap_or(end);
            threads.push(id, Call::parse(&format!("{start}{end}")));
        } else if let Some(start) = rest.strip_suffix(UNFINISHED) {
            if let Some(before) = unfinished.insert(id, start.to_owned()) {
                threads.push(id, Call::unfinished(&before));
            }
        } else {
            threads.push(id, Call::parse(rest));
        }
    }
    for (id, start) in unfinished {
        threads.push(id, Call::unfinished(&start));
    }
    threads.finish()
}

/// The threads of `tracer trace`, the first of them first.
pub(crate) fn tracer(text: &str) -> Vec<Thread> {
    let mut threads = Threads::default();
    for line in text.lines() {
        let Some((id, call)) = tracer_line(line) else { continue };
        threads.push(id, tracer_call(call).map(unfold));
    }
    threads.finish()
}

/// The call of a line, which may have a duration behind it.
fn tracer_call(text: &str) -> Option<Call> {
    let is_duration = |end: &str| {
        end.strip_suffix('>')
            .is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()) && it.contains('.'))
    };
    let text = text.rsplit_once(" <").filter(|(_, end)| is_duration(end)).map_or(text, |it| it.0);
    if let Some((start, _)) = text.split_once(UNFINISHED).filter(|(_, end)| !end.contains('=')) {
        return Call::unfinished(start);
    }
    let resumed = text.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>"));
    match resumed {
        Some((name, rest)) => Call::parse(&format!("{name}{rest}")),
        None => Call::parse(text),
    }
}

/// The thread's id and the call of `time name[pid/tid] call`.
fn tracer_line(line: &str) -> Option<(u32, &str)> {
    line.match_indices('[').find_map(|(at, _)| {
        let (ids, call) = line.get(at + 1..)?.split_once("] ")?;
        let id = ids.rsplit('/').next()?.parse().ok()?;
        let is_call = call.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            || call.starts_with("<... ");
        is_call.then_some((id, call))
    })
}

/// Takes away what came before the program's start.
pub(crate) fn from_start(calls: &mut Vec<Call>) {
    let is_start = |call: &Call| call.name == "execve" && call.result == "0";
    let start = calls.iter().position(is_start);
    calls.drain(..start.unwrap_or_default());
}

/// Threads by their ids, in the order of their first calls.
#[derive(Default)]
struct Threads {
    order: Vec<u32>,
    calls: BTreeMap<u32, Vec<Call>>,
}

impl Threads {
    fn push(&mut self, id: u32, call: Option<Call>) {
        let calls = self.calls.entry(id).or_insert_with(|| {
            self.order.push(id);
            Vec::new()
        });
        calls.extend(call);
    }

    /// Gives each thread its path, and takes away what came before the program's start.
    fn finish(mut self) -> Vec<Thread> {
        let Some(first) = self.order.first().copied() else { return Vec::new() };
        if let Some(calls) = self.calls.get_mut(&first) {
            from_start(calls);
        }
        let mut threads = Vec::new();
        self.descend(first, &[], &mut threads);
        let mut orphans = 0;
        for id in self.order.clone() {
            if self.calls.get(&id).is_some_and(|calls| !calls.is_empty()) {
                self.descend(id, &[usize::MAX, orphans], &mut threads);
                orphans += 1;
            }
        }
        threads.sort_by(|a, b| a.path.cmp(&b.path));
        threads
    }

    /// Takes a thread, and those that it made, theirs, and so on.
    fn descend(&mut self, id: u32, path: &[usize], threads: &mut Vec<Thread>) {
        let mut waiting = vec![(id, path.to_vec())];
        while let Some((id, path)) = waiting.pop() {
            let Some(calls) = self.calls.remove(&id) else { continue };
            for (number, child) in calls.iter().filter_map(Call::child).enumerate() {
                let mut path = path.clone();
                path.push(number);
                waiting.push((child, path));
            }
            let order = self.order.iter().position(|it| *it == id).unwrap_or_default();
            threads.push(Thread { path, id, order, calls });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strace_lines_are_put_together() {
        let text = "7  execve(\"/bin/x\", [\"x\"], 0x7f /* 3 vars */) = 0\n\
                    7  vfork( <unfinished ...>\n8  read(3, \"a)\\\"\", 4) = 1\n\
                    7  <... vfork resumed>) = 8\n";
        let threads = strace(text);
        assert_eq!(threads.len(), 2);
        assert_eq!(threads[0].calls[1].name, "vfork");
        assert_eq!((threads[1].path.as_slice(), threads[1].calls[0].args.len()), (&[0][..], 3));
        assert_eq!((threads[1].id, threads[1].calls[0].result.as_str()), (8, "1"));
    }

    #[test]
    fn what_is_quoted_is_no_bracket() {
        let text = r#"ioctl(1, [{a='(', b='\'', c=',', d='"'}], "')\")", 3 /* it's */) = 0"#;
        assert_eq!(Call::parse(text).unwrap().args.len(), 4);
    }

    #[test]
    fn calls_that_do_not_end_are_calls() {
        let text = "7 pause( <unfinished ...>\n7 <... pause resumed> <unfinished ...>) = ?\n\
                    8 read(3,  <unfinished ...>\n";
        let threads = strace(text);
        let shown: Vec<String> =
            threads.iter().flat_map(|thread| &thread.calls).map(Call::show).collect();
        assert_eq!(shown, ["pause() = ?", "read(3) = ?"]);
        let ours = "1 a[7] pause( <unfinished ...>\n2 a[8] read(3, 0x1 <unfinished ...> superseded\n\
                    3 a[9] <... open resumed>(\"a\") = -1 EPERM (No) <0.000000001>\n";
        let shown: Vec<String> =
            tracer(ours).iter().flat_map(|thread| &thread.calls).map(Call::show).collect();
        assert_eq!(shown, ["pause() = ?", "read(3, 0x1) = ?", "open(\"a\") = -1 EPERM (No)"]);
    }

    #[test]
    fn an_exec_goes_on_under_the_first_id() {
        let text = "7 execve(\"a\") = 0\n7 clone() = 8\n8 execve(\"b\" <unfinished ...>\n\
                    7 +++ superseded by execve in pid 8 +++\n7 <... execve resumed>) = 0\n";
        let threads = strace(text);
        let last = threads[0].calls.last().unwrap();
        assert_eq!(last.show(), "execve(\"b\") = 0");
    }

    #[test]
    fn threads_without_a_parent_are_kept() {
        let text = "7 execve(\"a\") = 0\n9 getpid() = 2\n9 fork() = 10\n10 getpid() = 3\n";
        let paths: Vec<Vec<usize>> = strace(text).into_iter().map(|thread| thread.path).collect();
        assert_eq!(paths, [vec![], vec![usize::MAX, 0], vec![usize::MAX, 0, 0]]);
    }

    #[test]
    fn tracer_lines_are_read() {
        let text = "14:05:02.095762 a [b] c[27/28] getpid() = 27 <0.000004577>\n\
                    14:05:02.095762 sh[28] exit_group(0) = ?\n\
                    14:05:02.095762 sh[28] +++ exited with 0 +++\n";
        let threads = tracer(text);
        assert_eq!(threads[0].calls[0].result, "27");
        assert_eq!((threads.len(), threads[0].calls.len()), (1, 2));
        assert_eq!(tracer_line(text.lines().nth(1).unwrap()), Some((28, "exit_group(0) = ?")));
    }

    #[test]
    fn no_line_is_too_strange() {
        let pieces = [
            "",
            "7",
            "7 ",
            "(",
            ")",
            "=",
            "\"",
            "\\",
            "/*",
            "*/",
            "é",
            "\u{202e}",
            " = ",
            "[7/8] ",
            "<... ",
            " resumed>",
            UNFINISHED,
            "+++ superseded by execve in pid ",
            ",",
            "{",
            "a(",
            "99999999999999999999",
            "fork() = 7",
            " <0.1>",
            "\n",
            "\0",
        ];
        // Every three of them, in every order.
        for number in 0..pieces.len().pow(3) {
            let at = |power| pieces[number / pieces.len().pow(power) % pieces.len()];
            let text = format!("7 {}{}{}", at(0), at(1), at(2));
            drop((strace(&text), tracer(&text)));
        }
    }
}
