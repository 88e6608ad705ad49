//! When and where something was measured.

use std::{fs, process::Command};

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
}
