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

/// The threads of each program: the shell starts `timeout` for each, and that the program. Whose
/// parent is not known belongs to the program that was started last.
pub(super) fn split(threads: Vec<Thread>, count: usize) -> Vec<Vec<Thread>> {
    let mut starts = BTreeMap::new();
    for thread in &threads {
        if let [program, 0] = thread.path[..] {
            starts.insert(thread.order, program);
        }
    }
    let mut programs: Vec<Vec<Thread>> = (0..count).map(|_| Vec::new()).collect();
    let mut orphans: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for mut thread in threads {
        let program = match thread.path[..] {
            [usize::MAX, number, ..] => {
                let started = starts.range(..thread.order).next_back();
                let Some((_, program)) = started else { continue };
                let next = orphans.keys().filter(|(of, _)| of == program).count();
                let number = *orphans.entry((*program, number)).or_insert(next);
                if let Some(place) = thread.path.get_mut(1) {
                    *place = number;
                }
                *program
            }
            [program, 0, ..] => {
                thread.path.drain(..2);
                if thread.path.is_empty() {
                    calls::from_start(&mut thread.calls);
                }
                program
            }
            _ => continue,
        };
        if let Some(threads) = programs.get_mut(program) {
            threads.push(thread);
        }
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_belong_to_the_program_that_made_them() {
        let text = "1 execve(\"sh\") = 0\n1 fork() = 2\n2 execve(\"timeout\") = 0\n2 fork() = 3\n\
                    3 close(9) = 0\n3 execve(\"a\") = 0\n3 fork() = 4\n4 getpid() = 4\n90 getpid() = 2\n\
                    1 vfork() = 5\n5 clone() = 6\n6 execve(\"b\") = 0\n91 getpid() = 2\n92 getpid() = 3\n";
        let split = split(calls::strace(text), 3);
        let shown = |threads: &[Thread]| -> Vec<(Vec<usize>, u32, usize)> {
            threads.iter().map(|it| (it.path.clone(), it.id, it.calls.len())).collect()
        };
        let orphan = |number| vec![usize::MAX, number];
        assert_eq!(shown(&split[0]), [(vec![], 3, 2), (vec![0], 4, 1), (orphan(0), 90, 1)]);
        assert_eq!(shown(&split[1]), [(vec![], 6, 1), (orphan(0), 91, 1), (orphan(1), 92, 1)]);
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
