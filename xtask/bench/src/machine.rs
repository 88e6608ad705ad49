//! When and where something was measured.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use jiff::Timestamp;

/// One line: time, processor, kernel, memory.
pub(crate) fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (cpu, kernel) = (read("/proc/cpuinfo"), read("/proc/sys/kernel/osrelease"));
    let memory = read("/proc/meminfo");
    let model = field(&cpu, "model name").unwrap_or("unknown processor");
    let kib: u64 = field(&memory, "MemTotal")
        .and_then(|value| value.split(' ').next()?.parse().ok())
        .unwrap_or_default();
    format!(
        "Measured {} UTC on {} CPUs of {model}, {} GiB, kernel {}, tracer {}.",
        Timestamp::now().strftime("%Y-%m-%d %H:%M"),
        // This process may be pinned.
        cpu.lines().filter(|line| line.starts_with("processor")).count(),
        kib >> 20,
        kernel.trim(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The value of the first line with this name.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// How many threads the system may have.
pub(crate) fn most_threads() -> Result<usize> {
    let mut least = usize::MAX;
    for path in ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"] {
        let text = fs::read_to_string(path).context(path)?;
        least = least.min(text.trim().parse().context(path)?);
    }
    Ok(least)
}

/// Bytes of all objects in use in the kernel's slabs of general sizes, which task storage is made of:
/// what frees leave behind in half-empty slabs does not show, as it does in [`unreclaimable_kib`], nor
/// do caches of files, which the rest of the system fills and empties.
pub(crate) fn slab_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/slabinfo").context("/proc/slabinfo")?;
    Ok(sum_of_slabs(&text))
}

/// The sum over lines of name, objects in use, objects, bytes of one; slabinfo(5).
fn sum_of_slabs(text: &str) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with("kmalloc-"));
    let bytes = lines.filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let objects: u64 = fields.next()?.parse().ok()?;
        Some(objects * fields.nth(1)?.parse::<u64>().ok()?)
    });
    bytes.sum()
}

/// Memory of the kernel that it cannot give back, in KiB.
pub(crate) fn unreclaimable_kib() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    sum_of(&text, &["SUnreclaim:", "Percpu:"]).context("/proc/meminfo lacks a line")
}

/// The sum of these lines.
fn sum_of(text: &str, names: &[&str]) -> Option<u64> {
    names
        .iter()
        .map(|name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

/// The first line of what a program says of its version, and where it says nothing, why.
pub(crate) fn version(program: &str) -> String {
    match Command::new(program).arg("--version").output() {
        Ok(output) => {
            let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
            let said = String::from_utf8_lossy(&said).into_owned();
            said.lines().next().unwrap_or("no version").trim().to_owned()
        }
        Err(error) => format!("{program}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: A CPU: fast\n";
        assert_eq!(field(text, "model name"), Some("A CPU: fast"));
        assert_eq!(field(text, "name"), None);
    }

    #[test]
    fn the_machine_has_a_description() {
        let said = describe();
        assert!(said.starts_with("Measured 20") && said.contains(" kernel "), "{said}");
    }

    #[test]
    fn a_program_that_is_not_there_says_so() {
        assert!(version("/no/such/program").contains("No such file"));
    }

    #[test]
    fn slabs_are_counted_by_their_objects() {
        let text = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> : tunables\n\
                    task_struct 10 15 4000 8 8 : tunables 0 0 0 : slabdata 2 2 0\n\
                    kmalloc-8 3 512 8 512 1 : tunables 0 0 0 : slabdata 1 1 0\n";
        assert_eq!(sum_of_slabs(text), 24);
        assert!(slab_bytes().unwrap() > 0);
    }

    #[test]
    fn lines_of_meminfo_are_added_up() {
        let text = "SUnreclaim:       100 kB\nPercpu:            20 kB\n";
        assert_eq!(sum_of(text, &["SUnreclaim:", "Percpu:"]), Some(120));
        assert_eq!(sum_of(text, &["Slab:"]), None);
        assert!(unreclaimable_kib().unwrap() > 0);
        assert!(most_threads().unwrap() > 2000);
    }
}
