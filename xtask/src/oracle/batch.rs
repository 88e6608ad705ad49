//! Programs that run one after the other under one tracer, and whose calls are whose.

use std::collections::BTreeMap;
use std::path::Path;

use super::programs::Program;
use crate::calls::{self, Thread};
use crate::text::push;

/// The shell's script: each program in its folder, with a process group of its own, and what it
/// prints in a file. The file `statuses` has a line of each.
pub(super) fn script(programs: &[&Program], tests: &Path, folder: &Path, limit: u64) -> String {
    let quoted = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"));
    let mut script = String::new();
    for Program { name, .. } in programs {
        let (file, place) = (quoted(&tests.join(name)), quoted(&folder.join(name)));
        push(
            &mut script,
            format_args!(
                "cd {place}; timeout -k 2 {limit} {file} >out 2>errors; echo {name} $? >>../statuses\n"
            ),
        );
    }
    script
}

/// The exit statuses in that file, by program.
pub(super) fn statuses(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.rsplit_once(' ')).collect()
}

/// The threads of each program: the one that has executed its file, and those below. Whose parent is
/// not known belongs to the program that was started last.
pub(super) fn split(threads: Vec<Thread>, programs: &[&Program]) -> Vec<Vec<Thread>> {
    let mut roots: Vec<(usize, Vec<usize>, usize)> = Vec::new();
    for thread in &threads {
        let program = programs.iter().position(|program| has_executed(thread, &program.name));
        let Some(program) = program else { continue };
        let is_known = |(other, path, _): &(usize, Vec<usize>, usize)| {
            *other == program || thread.path.starts_with(path)
        };
        if !roots.iter().any(is_known) {
            roots.push((program, thread.path.clone(), thread.order));
        }
    }
    let mut split: Vec<Vec<Thread>> = programs.iter().map(|_| Vec::new()).collect();
    for mut thread in threads {
        let below = roots.iter().find(|(_, path, _)| thread.path.starts_with(path));
        let is_orphan = thread.path.first() == Some(&usize::MAX);
        let program = if let Some((program, path, _)) = below {
            thread.path.drain(..path.len());
            if thread.path.is_empty() {
                calls::from_start(&mut thread.calls);
            }
            *program
        } else if is_orphan {
            let before = roots.iter().filter(|(_, _, order)| *order < thread.order);
            let Some((program, ..)) = before.max_by_key(|root| root.2) else { continue };
            *program
        } else {
            continue;
        };
        if let Some(threads) = split.get_mut(program) {
            threads.push(thread);
        }
    }
    for threads in &mut split {
        number_orphans(threads);
    }
    split
}

/// Whether the thread has executed the program's file.
fn has_executed(thread: &Thread, name: &str) -> bool {
    thread.calls.iter().any(|call| {
        let file = call.args.first().and_then(|path| path.rsplit('/').next());
        call.name == "execve"
            && call.result == "0"
            && file.and_then(|file| file.strip_suffix('"')) == Some(name)
    })
}

/// Numbers the threads without a parent within their program.
fn number_orphans(threads: &mut [Thread]) {
    let mut numbers = BTreeMap::new();
    for thread in threads {
        if let [usize::MAX, number, ..] = &mut thread.path[..] {
            let next = numbers.len();
            *number = *numbers.entry(*number).or_insert(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_belong_to_the_program_that_made_them() {
        // What the shell did for the second is not there.
        let text = "1 execve(\"/sh\") = 0\n1 fork() = 2\n2 execve(\"/timeout\") = 0\n2 fork() = 3\n\
                    3 close(9) = 0\n3 execve(\"/x/a\") = 0\n3 fork() = 4\n4 getpid() = 4\n\
                    90 getpid() = 2\n5 clone() = 6\n6 execve(\"/x/b\") = 0\n6 fork() = 7\n\
                    7 execve(\"/x/a\") = 0\n91 getpid() = 2\n92 getpid() = 3\n";
        let [a, b, c] = ["a", "b", "c"].map(|name| Program::about(name, &[]));
        let split = split(calls::strace(text), &[&a, &b, &c]);
        let shown = |threads: &[Thread]| -> Vec<(Vec<usize>, u32, usize)> {
            threads.iter().map(|it| (it.path.clone(), it.id, it.calls.len())).collect()
        };
        let orphan = |number| vec![usize::MAX, number];
        // `timeout` itself is before its program.
        assert_eq!(
            shown(&split[0]),
            [(vec![], 3, 2), (vec![0], 4, 1), (orphan(0), 90, 1), (orphan(1), 5, 1)]
        );
        assert_eq!(
            shown(&split[1]),
            [(vec![], 6, 2), (vec![0], 7, 1), (orphan(0), 91, 1), (orphan(1), 92, 1)]
        );
        assert!(split[2].is_empty());
    }

    #[test]
    fn statuses_are_read() {
        assert_eq!(statuses("a 0\nb 143\nc\n"), BTreeMap::from([("a", "0"), ("b", "143")]));
    }

    #[test]
    fn a_path_is_quoted() {
        let program = Program::about("a", &[]);
        let script = script(&[&program], Path::new("/x y"), Path::new("/it's"), 5);
        assert_eq!(
            script,
            "cd '/it'\\''s/a'; timeout -k 2 5 '/x y/a' >out 2>errors; echo a $? >>../statuses\n"
        );
    }
}
