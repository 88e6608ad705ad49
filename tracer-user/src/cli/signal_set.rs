//! Sets of signals as they are typed.

use tracer_common::signal::signal_bit;

use crate::span_record::signal_number;

/// What is no signal.
#[derive(Debug, thiserror::Error)]
#[error(
    "--signal: no signal `{0}`; write names such as SIGTERM or TERM, numbers from 1 to 64, all or none"
)]
pub(super) struct SignalError(String);

/// `SIGTERM,usr1`, `!CHLD`, `all`, `none`.
pub(super) fn parse(text: &str) -> Result<u64, SignalError> {
    let (is_negated, list) = match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut set = 0;
    for word in list.split(',').map(str::trim) {
        set |= match word {
            "all" => u64::MAX,
            "none" => 0,
            _ => signal_number(word).map(signal_bit).ok_or_else(|| SignalError(word.to_owned()))?,
        };
    }
    Ok(if is_negated { !set } else { set })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_written_as_for_strace() {
        assert_eq!(parse("SIGHUP,int").unwrap(), 0b11);
        assert_eq!(parse("!SIGHUP,2").unwrap(), !0b11);
        assert_eq!((parse("all").unwrap(), parse("none").unwrap()), (u64::MAX, 0));
        assert_eq!((parse("!all").unwrap(), parse("!none").unwrap()), (0, u64::MAX));
        assert!(parse("SIGNO").unwrap_err().to_string().contains("`SIGNO`"));
        assert!(parse("").is_err());
    }
}
