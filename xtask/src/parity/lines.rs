//! Reads the lines of strace and of tracer: calls, by thread.

use std::collections::BTreeMap;

/// The calls of a thread, in their order.
#[derive(Debug, Default)]
pub(super) struct Thread {
    /// How it came to be: the numbers of those that were made before it by the same parent.
    pub(super) path: Vec<usize>,
    pub(super) calls: Vec<Call>,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    /// What stands behind the equals sign, without a duration.
    pub(super) result: String,
}

impl Call {
    /// Name, arguments and result of `name(args) = result`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('(')?;
        let mut args = Vec::new();
        let mut current = String::new();
        let (mut depth, mut quoted, mut escaped, mut ends) = (0_usize, false, false, None);
        let mut previous = ' ';
        let mut comment = false;
        for (at, c) in rest.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' if !comment => quoted = !quoted,
                _ if quoted => {}
                '*' if previous == '/' => comment = true,
                '/' if previous == '*' => comment = false,
                _ if comment => {}
                '(' | '[' | '{' => depth += 1,
                ')' if depth == 0 => {
                    ends = Some(at + 1);
                    break;
                }
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    args.push(std::mem::take(&mut current).trim().to_owned());
                    previous = c;
                    continue;
                }
                _ => {}
            }
            previous = c;
            current.push(c);
        }
        let result = rest.get(ends?..)?.trim_start().strip_prefix('=')?.trim().to_owned();
        if !current.trim().is_empty() {
            args.push(current.trim().to_owned());
        }
        Some(Self { name: name.to_owned(), args, result })
    }

    /// The thread that the call has made.
    fn child(&self) -> Option<u32> {
        let makes = ["clone", "clone3", "fork", "vfork"].contains(&self.name.as_str());
        self.result.parse().ok().filter(|id| makes && *id > 0)
    }
}

/// The threads of `strace -f`, the first of them first.
pub(super) fn strace(text: &str) -> Vec<Thread> {
    let mut threads = Threads::default();
    let mut unfinished: BTreeMap<u32, String> = BTreeMap::new();
    for line in text.lines() {
        let Some((id, rest)) = line.split_once(' ') else { continue };
        let Ok(id) = id.parse() else { continue };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(id, start.to_owned());
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((_, end)) = resumed.split_once(" resumed>") else { continue };
            let start = unfinished.remove(&id).unwrap_or_default();
            threads.push(id, &format!("{start}{end}"));
        } else {
            threads.push(id, rest);
        }
    }
    threads.finish()
}

/// The threads of `tracer trace`, the first of them first.
pub(super) fn tracer(text: &str) -> Vec<Thread> {
    let mut threads = Threads::default();
    for line in text.lines() {
        let Some((id, rest)) = tracer_line(line) else { continue };
        let rest = rest.rsplit_once(" <").filter(|(_, end)| end.ends_with('>'));
        let call =
            rest.map_or_else(|| tracer_line(line).map_or("", |(_, call)| call), |(call, _)| call);
        threads.push(id, call);
    }
    threads.finish()
}

/// The thread's id and the call of `time name[pid/tid] call`.
fn tracer_line(line: &str) -> Option<(u32, &str)> {
    line.match_indices('[').find_map(|(at, _)| {
        let (ids, call) = line.get(at + 1..)?.split_once("] ")?;
        let id = ids.rsplit('/').next()?.parse().ok()?;
        call.starts_with(|c: char| c.is_ascii_lowercase() || c == '_').then_some((id, call))
    })
}

/// Threads by their ids, in the order of their first calls.
#[derive(Default)]
struct Threads {
    order: Vec<u32>,
    calls: BTreeMap<u32, Vec<Call>>,
}

impl Threads {
    fn push(&mut self, id: u32, text: &str) {
        if !self.calls.contains_key(&id) {
            self.order.push(id);
        }
        self.calls.entry(id).or_default().extend(Call::parse(text));
    }

    /// Gives each thread its path, and takes away what came before the program's start.
    fn finish(mut self) -> Vec<Thread> {
        let Some(first) = self.order.first().copied() else { return Vec::new() };
        let start = self.calls.get(&first).and_then(|calls| {
            calls.iter().position(|call| call.name == "execve" && call.result == "0")
        });
        if let Some(calls) = self.calls.get_mut(&first) {
            calls.drain(..start.unwrap_or(0));
        }
        let mut threads = Vec::new();
        let mut waiting = vec![(first, Vec::new())];
        while let Some((id, path)) = waiting.pop() {
            let Some(calls) = self.calls.remove(&id) else { continue };
            for (number, child) in calls.iter().filter_map(Call::child).enumerate() {
                let mut path = path.clone();
                path.push(number);
                waiting.push((child, path));
            }
            threads.push(Thread { path, calls });
        }
        threads.sort_by(|a, b| a.path.cmp(&b.path));
        threads
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
        assert_eq!(threads[1].calls[0].result, "1");
    }

    #[test]
    fn tracer_lines_are_read() {
        let text = "14:05:02.095762 a [b] c[27/28] getpid() = 27 <0.000004577>\n\
                    14:05:02.095762 sh[27] exit_group(0) = ?\n";
        let threads = tracer(text);
        assert_eq!(threads[0].calls[0].result, "27");
        assert_eq!(threads.len(), 1, "the second is not the first's child");
        assert_eq!(tracer_line(text.lines().nth(1).unwrap()), Some((27, "exit_group(0) = ?")));
    }
}
