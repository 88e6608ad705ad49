//! Trace and span ids: deterministic, so that a call has the same ids wherever it is written, and
//! different on two hosts or after a reboot.

/// Makes ids for the processes and calls of one boot of one host.
#[derive(Clone, Debug)]
pub struct IdSource {
    seeds: [u64; 5],
}

/// The ids that all calls of a process share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessIds {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span of the process itself.
    pub span_id: [u8; 8],
}

impl IdSource {
    /// Ids of this boot; `/proc/sys/kernel/random/boot_id` is a random UUID.
    pub fn this_boot() -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::new(&id)
    }

    fn new(boot_id: &str) -> Self {
        let mut state = 0x7472_6163_6572_u64;
        for byte in boot_id.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        Self { seeds: [1, 2, 3, 4, 5].map(|n| mix(state ^ n)) }
    }

    /// Ids of the process with this id that started at this reading of the boot clock.
    #[inline]
    pub fn process(&self, tgid: u32, start_ns: u64) -> ProcessIds {
        let [high, low, own] = [self.seeds[0], self.seeds[1], self.seeds[2]]
            .map(|seed| mix(mix(seed ^ u64::from(tgid)) ^ start_ns));
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&non_zero(high));
        trace_id[8..].copy_from_slice(&non_zero(low));
        ProcessIds { trace_id, span_id: non_zero(own) }
    }

    /// The id of the span of a process from when this exec has taken it to another trace.
    #[inline]
    pub fn program(&self, tgid: u32, exec_ns: u64) -> [u8; 8] {
        non_zero(mix(mix(self.seeds[4] ^ u64::from(tgid)) ^ exec_ns))
    }

    /// The id of the call that this thread made at this reading of the boot clock: a thread makes
    /// one call at a time.
    #[inline]
    pub fn call(&self, tid: u32, start_ns: u64) -> [u8; 8] {
        non_zero(mix(mix(self.seeds[3] ^ u64::from(tid)) ^ start_ns))
    }
}

/// W3C Trace Context forbids ids of all zeroes.
fn non_zero(value: u64) -> [u8; 8] {
    value.max(1).to_be_bytes()
}

/// The finalizer of `SplitMix64`: a bijection, so different inputs give different outputs.
#[inline]
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_each_time_and_differ_in_each_input() {
        let source = IdSource::new("5d9f…");
        let ids = source.process(7, 100);
        assert_eq!(ids, IdSource::new("5d9f…").process(7, 100));
        assert_ne!(ids, source.process(8, 100));
        assert_ne!(ids, source.process(7, 101));
        assert_ne!(ids, IdSource::new("other").process(7, 100));
        assert_ne!(source.call(7, 100), source.call(8, 100));
    }
}
