//! What the span of a signal knows.

use std::borrow::Cow;

use nix::sys::signal::Signal;
use tracer_common::signal::{LAST_SIGNAL, SIGINFO_LEN};

/// A signal that a thread got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalSpan {
    /// Its number.
    pub signal: u32,
    /// The beginning of the native `siginfo_t` that came with it.
    pub info: [u8; SIGINFO_LEN],
    /// Bytes of it that are known.
    pub info_len: u16,
    /// Name of the thread, ended by a zero byte unless it fills the array.
    pub comm: [u8; 16],
    /// Id of the thread's cgroup (v2).
    pub cgroup_id: u64,
    /// Effective user id of the thread, in the initial user namespace.
    pub uid: u32,
    /// Effective group id, likewise.
    pub gid: u32,
}

impl SignalSpan {
    /// `SIGUSR1`; `SIGRTMIN` and `SIGRT_2` for the kernel's realtime signals, as strace writes them.
    pub fn name(&self) -> Cow<'static, str> {
        name(self.signal)
    }

    /// What is known of the `siginfo_t`.
    pub fn info(&self) -> &[u8] {
        self.info.get(..usize::from(self.info_len)).unwrap_or_default()
    }

    /// The name of the span: `signal SIGUSR1`.
    pub fn span_name(&self) -> String {
        format!("signal {}", self.name())
    }

    /// The thread's name.
    pub fn comm(&self) -> &[u8] {
        let end = self.comm.iter().position(|byte| *byte == 0).unwrap_or(self.comm.len());
        &self.comm[..end]
    }
}

/// The first realtime signal of the kernel, signal(7).
const SIGRTMIN: u32 = 32;

fn name(signal: u32) -> Cow<'static, str> {
    let known = i32::try_from(signal).ok().and_then(|number| Signal::try_from(number).ok());
    match (known, signal) {
        (Some(known), _) => Cow::Borrowed(known.as_str()),
        (None, SIGRTMIN) => Cow::Borrowed("SIGRTMIN"),
        (None, SIGRTMIN..=LAST_SIGNAL) => Cow::Owned(format!("SIGRT_{}", signal - SIGRTMIN)),
        (None, _) => Cow::Owned(signal.to_string()),
    }
}

/// The number of a signal by its name, with or without `SIG`, in any case.
pub(crate) fn signal_number(text: &str) -> Option<u32> {
    let upper = text.to_ascii_uppercase();
    let named = |signal: &u32| {
        let name = name(*signal);
        *name == upper || name.strip_prefix("SIG") == Some(upper.as_str())
    };
    (1..=LAST_SIGNAL).find(named).or_else(|| {
        let number = text.parse().ok()?;
        (1..=LAST_SIGNAL).contains(&number).then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_straces_names() {
        assert_eq!((&*name(10), &*name(32), &*name(34)), ("SIGUSR1", "SIGRTMIN", "SIGRT_2"));
        for signal in 1..=LAST_SIGNAL {
            assert_eq!(signal_number(&name(signal)), Some(signal));
        }
        assert_eq!((signal_number("usr1"), signal_number("15")), (Some(10), Some(15)));
        assert_eq!(
            (signal_number("SIGNO"), signal_number("65"), signal_number("0")),
            (None, None, None)
        );
    }
}
