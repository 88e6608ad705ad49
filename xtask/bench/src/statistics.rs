//! What many rounds say together.

/// The middle of some measurements, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// The middle one, or between the two in the middle.
    pub(crate) median: f64,
    /// The lowest.
    pub(crate) low: f64,
    /// The highest.
    pub(crate) high: f64,
}

impl Summary {
    /// Of at least one number; `None` for none. What is no number is left out.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = if sorted.len().is_multiple_of(2) { *sorted.get(middle - 1)? } else { upper };
        Some(Self { median: f64::midpoint(lower, upper), low, high })
    }

    /// `1.23 (1.20 to 1.31)`, with so many digits behind the point; the middle alone when all
    /// measurements look the same.
    pub(crate) fn show(&self, digits: usize) -> String {
        let number = |value: f64| format!("{value:.digits$}");
        let (median, low, high) = (number(self.median), number(self.low), number(self.high));
        if low == high { median } else { format!("{median} ({low} to {high})") }
    }
}

/// `part` of `whole`; no number when there is no whole.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { f64::NAN } else { part / whole }
}

/// The quotient of two counts.
#[expect(clippy::cast_precision_loss, reason = "counts of calls, and of nanoseconds of an hour")]
pub(crate) fn per(part: u64, whole: u64) -> f64 {
    ratio(part as f64, whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let summary = Summary::of([5.0, 1.0, 3.0]).unwrap();
        assert_eq!(summary, Summary { median: 3.0, low: 1.0, high: 5.0 });
        assert_eq!(Summary::of([4.0, 1.0, 3.0, 2.0]).unwrap().median.to_bits(), 2.5_f64.to_bits());
        assert_eq!(Summary::of([f64::NAN, 7.0, f64::INFINITY]).unwrap().show(0), "7");
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of([f64::NAN]), None);
    }

    #[test]
    fn a_spread_is_shown_where_there_is_one() {
        assert_eq!(Summary::of([1.0, 2.0, 3.0]).unwrap().show(1), "2.0 (1.0 to 3.0)");
        assert_eq!(Summary::of([2.01, 2.02]).unwrap().show(1), "2.0");
    }

    #[test]
    fn ratios_of_counts_and_others() {
        assert_eq!(ratio(3.0, 2.0).to_bits(), 1.5_f64.to_bits());
        assert!(ratio(1.0, 0.0).is_nan());
        assert_eq!(per(10, 4).to_bits(), 2.5_f64.to_bits());
    }
}
