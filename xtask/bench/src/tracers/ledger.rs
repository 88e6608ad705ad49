//! What tracer lost, by its own books.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Reasons for which spans are left out because somebody asked for it.
const WANTED: [&str; 2] = ["not_sampled", "rate_limited"];

/// Reads the books, which must balance; what was lost, and how many calls were matched.
pub(super) fn read(path: &Path) -> Result<(u64, u64)> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    evaluate(&serde_json::from_str(&text).context("the ledger is no JSON")?)
}

fn evaluate(ledger: &Value) -> Result<(u64, u64)> {
    ensure!(ledger["balanced"] == true, "the books do not balance: {}", ledger["imbalances"]);
    let number = |value: &Value| value.as_u64().with_context(|| format!("{value} in the ledger"));
    let kernel = &ledger["kernel"];
    let mut lost = number(&ledger["spans"]["decode_error"])?;
    for name in ["reserve_failed", "store_failed", "recursion_misses"] {
        lost += number(&kernel[name])?;
    }
    let destinations = ledger["destinations"].as_object().context("no destinations")?;
    for (reason, count) in
        destinations.values().filter_map(|it| it["dropped"].as_object()).flatten()
    {
        if !WANTED.contains(&reason.as_str()) {
            lost += number(count)?;
        }
    }
    Ok((lost, number(&kernel["matched"])?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_loss_counts_and_no_wish() {
        let mut ledger = json!({
            "balanced": true,
            "imbalances": [],
            "kernel": {"reserve_failed": 1, "store_failed": 2, "recursion_misses": 4, "matched": 99},
            "spans": {"decode_error": 8},
            "destinations": {
                "null": {"dropped": {"queue_full": 16, "not_sampled": 1000}},
                "otlp": {"dropped": {"rejected": 32}},
            },
        });
        assert_eq!(evaluate(&ledger).unwrap(), (63, 99));
        ledger["balanced"] = false.into();
        assert!(evaluate(&ledger).is_err());
    }
}
