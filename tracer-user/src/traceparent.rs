//! W3C Trace Context: the place in a trace that a program is told by `TRACEPARENT` and
//! `TRACESTATE`. <https://www.w3.org/TR/trace-context/>, and for variables of the environment
//! <https://opentelemetry.io/docs/specs/otel/context/env-carriers/>.

/// A span in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span to which what is told belongs.
    pub span_id: [u8; 8],
}

/// Why text is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TraceParentError {
    /// Its parts have not the length and the hyphens of version 00.
    #[error("not of the form 00-<32 digits>-<16 digits>-<2 digits>")]
    Form,
    /// A digit that is not 0 to 9 or a to f.
    #[error("only lower-case hexadecimal digits may stand there")]
    Digit,
    /// `ff` is no version.
    #[error("version ff is forbidden")]
    Version,
    /// An id of zeroes says that there is none.
    #[error("an id of zeroes is none")]
    Zero,
}

/// Bytes of version 00; later versions begin in the same way.
const LEN: usize = 55;

impl TraceParent {
    /// Reads a value.
    pub fn parse(value: &[u8]) -> Result<Self, TraceParentError> {
        let (known, rest) = value.split_at_checked(LEN).ok_or(TraceParentError::Form)?;
        if [2, 35, 52].iter().any(|at| known.get(*at) != Some(&b'-')) {
            return Err(TraceParentError::Form);
        }
        let [version] = digits(known, 0)?;
        let trace_id = digits(known, 3)?;
        let span_id = digits(known, 36)?;
        let [_flags] = digits(known, 53)?;
        match version {
            0xff => return Err(TraceParentError::Version),
            0 if !rest.is_empty() => return Err(TraceParentError::Form),
            _ if rest.first().is_some_and(|next| *next != b'-') => {
                return Err(TraceParentError::Form);
            }
            _ => {}
        }
        if trace_id == [0; 16] || span_id == [0; 8] {
            return Err(TraceParentError::Zero);
        }
        Ok(Self { trace_id, span_id })
    }

    /// The value of version 00, sampled.
    pub fn header(&self) -> String {
        let trace_id = u128::from_be_bytes(self.trace_id);
        let span_id = u64::from_be_bytes(self.span_id);
        format!("00-{trace_id:032x}-{span_id:016x}-01")
    }
}

/// `N` bytes from two digits each.
fn digits<const N: usize>(text: &[u8], start: usize) -> Result<[u8; N], TraceParentError> {
    let digit = |at: usize| match text.get(at) {
        Some(c @ b'0'..=b'9') => Ok(c - b'0'),
        Some(c @ b'a'..=b'f') => Ok(c - b'a' + 10),
        _ => Err(TraceParentError::Digit),
    };
    let mut out = [0; N];
    for (index, byte) in out.iter_mut().enumerate() {
        let at = start + 2 * index;
        *byte = digit(at)? << 4 | digit(at + 1)?;
    }
    Ok(out)
}

/// The value of a variable in an environment as the kernel has it: `NAME=VALUE`, each with a zero
/// behind it. The last one counts, as programs that add one without looking expect.
pub(crate) fn variable<'a>(environment: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = |it: &'a [u8]| it.strip_prefix(name)?.strip_prefix(b"=");
    environment.split(|byte| *byte == 0).filter_map(value).next_back()
}

/// Whether this can be a `tracestate`: printable, and at most as long as everybody must pass on.
pub(crate) fn is_trace_state(value: &[u8]) -> bool {
    const LONGEST: usize = 512;
    value.len() <= LONGEST && value.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn values_of_the_specification_are_told_apart() {
        let parent = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!((parent.trace_id[0], parent.span_id[7]), (0x4b, 0xb7));
        assert_eq!(parent.header(), GOOD);
        let fails = |value: &str| TraceParent::parse(value.as_bytes()).unwrap_err();
        assert_eq!(fails(""), TraceParentError::Form);
        assert_eq!(fails(&GOOD[1..]), TraceParentError::Form);
        assert_eq!(fails(&format!("{GOOD}-00")), TraceParentError::Form);
        assert_eq!(fails(&GOOD.replace('-', "_")), TraceParentError::Form);
        assert_eq!(fails(&GOOD.to_uppercase()), TraceParentError::Digit);
        assert_eq!(fails(&GOOD.replacen("00-", "ff-", 1)), TraceParentError::Version);
        assert_eq!(
            fails(&GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32))),
            TraceParentError::Zero
        );
        assert_eq!(
            fails(&GOOD.replace("00f067aa0ba902b7", &"0".repeat(16))),
            TraceParentError::Zero
        );
        // A later version may go on.
        let later = GOOD.replacen("00-", "01-", 1);
        assert_eq!(TraceParent::parse(later.as_bytes()), Ok(parent));
        assert_eq!(TraceParent::parse(format!("{later}-more").as_bytes()), Ok(parent));
        assert_eq!(fails(&format!("{later}more")), TraceParentError::Form);
    }

    #[test]
    fn variables_are_found_by_their_whole_name() {
        let environment = b"XTRACEPARENT=1\0TRACEPARENT_=2\0TRACEPARENT=a=b\0LAST=";
        assert_eq!(variable(environment, b"TRACEPARENT"), Some(&b"a=b"[..]));
        assert_eq!(variable(environment, b"LAST"), Some(&b""[..]));
        assert_eq!(variable(environment, b"TRACE"), None);
        assert_eq!(variable(b"A=1\0A=2\0", b"A"), Some(&b"2"[..]));
        assert!(is_trace_state(b"vendor=x,other=y") && !is_trace_state(b"\x1b"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace_id: [u8; 16], span_id: [u8; 8], junk: Vec<u8>) {
            let parent = TraceParent { trace_id, span_id };
            let zero = trace_id == [0; 16] || span_id == [0; 8];
            prop_assert_eq!(TraceParent::parse(parent.header().as_bytes()).is_ok(), !zero);
            prop_assert!(TraceParent::parse(&junk).is_err() || junk.len() >= LEN);
        }
    }
}
