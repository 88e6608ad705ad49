//! What the record of a loss knows: it stands in the stream where spans are missing.

use std::collections::HashMap;

/// Where records were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossPlace {
    /// The kernel ring had no room.
    KernelRing,
    /// The kernel had no memory to keep a call, or a signal.
    KernelMemory,
    /// The destination was slower than its spans came.
    DestinationQueue,
}

impl LossPlace {
    /// The name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KernelRing => "kernel_ring",
            Self::KernelMemory => "kernel_memory",
            Self::DestinationQueue => "destination_queue",
        }
    }

    /// The same in words, with what helps.
    pub const fn words(self) -> &'static str {
        match self {
            Self::KernelRing => "the kernel ring was full (--ring-size)",
            Self::KernelMemory => "the kernel had no memory",
            Self::DestinationQueue => "this destination was too slow",
        }
    }
}

/// Spans that are missing in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where.
    pub place: LossPlace,
    /// Calls; of a destination, spans of all kinds.
    pub calls: u64,
    /// Records of processes, signals and calls that were running at attach.
    pub others: u64,
}

impl Loss {
    /// All of it.
    pub const fn total(&self) -> u64 {
        self.calls.saturating_add(self.others)
    }

    /// `lost 3,105,519 calls and 12 records of processes and signals`
    pub fn words(&self) -> String {
        let calls = match self.place {
            LossPlace::DestinationQueue => "spans",
            LossPlace::KernelRing | LossPlace::KernelMemory => "calls",
        };
        let part = |count: u64, what: &str| format!("{} {what}", grouped(count));
        let others = "records of processes and signals";
        match (self.calls, self.others) {
            (count, 0) => format!("lost {}", part(count, calls)),
            (0, count) => format!("lost {}", part(count, others)),
            (count, more) => format!("lost {} and {}", part(count, calls), part(more, others)),
        }
    }

    /// As attributes of a span.
    pub(super) fn attributes(&self) -> HashMap<String, String> {
        [
            ("tracer.lost.calls", self.calls.to_string()),
            ("tracer.lost.others", self.others.to_string()),
            ("tracer.lost.place", self.place.name().to_owned()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }
}

/// `3,105,519`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_grouped() {
        let shown = [0, 999, 1000, 100_000, 12_345_678].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "100,000", "12,345,678"]);
    }

    #[test]
    fn a_loss_is_said_in_words() {
        let loss = |calls, others| Loss { place: LossPlace::KernelRing, calls, others }.words();
        assert_eq!(loss(3_105_519, 0), "lost 3,105,519 calls");
        assert_eq!(loss(0, 7), "lost 7 records of processes and signals");
        assert_eq!(loss(100, 1000), "lost 100 calls and 1,000 records of processes and signals");
        let loss = Loss { place: LossPlace::DestinationQueue, calls: 12_345, others: 0 };
        assert_eq!(loss.words(), "lost 12,345 spans");
    }
}
