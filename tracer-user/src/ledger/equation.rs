//! The equations of the books, as text over the names in the ledger's JSON. What documents and the
//! ledger file print is what is evaluated, from the JSON that users get.

use serde_json::Value;

/// Each equation with the account whose counters it names; those of another account have its name in
/// front. Of `destinations` each one must hold for each destination. `dropped` is the sum over all
/// reasons.
const EQUATIONS: [(&str, &str); 13] = [
    ("kernel", "enter_seen = filtered + stored + noreturn + store_failed"),
    ("kernel", "stored = matched + superseded + task_died + in_flight"),
    (
        "kernel",
        "matched + noreturn + exit_only + superseded + task_died + in_flight - filtered_result = \
         submitted + reserve_failed",
    ),
    (
        "kernel",
        "alive + command_lines + forked + executed + exited = lifecycle_submitted + \
         lifecycle_reserve_failed",
    ),
    ("kernel", "running_at_attach = running_submitted + running_reserve_failed"),
    ("kernel", "signals = signal_submitted + signal_reserve_failed"),
    (
        "ring",
        "kernel.submitted + kernel.lifecycle_submitted + kernel.running_submitted + \
         kernel.signal_submitted = read",
    ),
    ("ring", "residual = 0"),
    (
        "spans",
        "read = spans - processes - losses + lifecycle + decode_error + filtered_user + reader_failed",
    ),
    (
        "spans",
        "kernel.reserve_failed + kernel.lifecycle_reserve_failed + \
         kernel.running_reserve_failed + kernel.signal_reserve_failed + kernel.store_failed + \
         kernel.signal_not_kept = lost_told",
    ),
    ("spans", "queued = 0"),
    ("identity", "kernel.cgroup_made = cgroups_told + kernel.cgroup_lost"),
    ("destinations", "spans.spans + announced = delivered + dropped + queued"),
];

/// The equations that do not hold, each in one line.
pub(super) fn imbalances(ledger: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (account, equation) in EQUATIONS {
        let account = &ledger[account];
        // The accounts of destinations stand one level lower.
        let each: Vec<_> = match account.as_object() {
            Some(all) if all.values().all(Value::is_object) => all.values().collect(),
            _ => vec![account],
        };
        lines.extend(each.into_iter().filter_map(|it| imbalance(ledger, it, equation)));
    }
    lines
}

/// A line about the equation, when it does not hold.
fn imbalance(ledger: &Value, account: &Value, equation: &str) -> Option<String> {
    let (left, right) = equation.split_once(" = ")?;
    match (sum(ledger, account, left), sum(ledger, account, right)) {
        (Ok(left), Ok(right)) if left == right => None,
        (Ok(left), Ok(right)) => Some(format!("{equation}: {left} is not {right}")),
        (Err(name), _) | (_, Err(name)) => Some(format!("{equation}: there is no `{name}`")),
    }
}

/// The value of one side: counters and numbers, with `+` or `-` between them.
fn sum<'a>(ledger: &Value, account: &Value, side: &'a str) -> Result<i128, &'a str> {
    let (mut total, mut sign) = (0, 1);
    for word in side.split_whitespace() {
        match word {
            "+" => sign = 1,
            "-" => sign = -1,
            name => total += sign * counter(ledger, account, name).ok_or(name)?,
        }
    }
    Ok(total)
}

fn counter(ledger: &Value, account: &Value, name: &str) -> Option<i128> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let value = match name.split_once('.') {
        Some((account, name)) => &ledger[account][name],
        None => &account[name],
    };
    match value {
        Value::Object(parts) => parts.values().map(|it| it.as_u64().map(i128::from)).sum(),
        value => value.as_u64().map(i128::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::losses;

    #[test]
    fn both_sides_are_summed_from_the_json() {
        let ledger = json!({"a": {"x": 7, "y": 2}, "b": {"z": 5, "parts": {"p": 1, "q": 1}}});
        let holds = |equation| imbalance(&ledger, &ledger["a"], equation);
        assert_eq!(holds("x = y + b.z"), None);
        assert_eq!(holds("x - y - b.z = 0"), None);
        assert_eq!(holds("y = b.parts"), None);
        assert_eq!(holds("x = y").as_deref(), Some("x = y: 7 is not 2"));
        assert_eq!(holds("x = w").as_deref(), Some("x = w: there is no `w`"));
    }

    #[test]
    fn the_document_has_the_same_equations() {
        let document = include_str!("../../../docs/ARCHITECTURE.md");
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (document, mut missing) = (words(document), Vec::new());
        for (account, equation) in EQUATIONS {
            if !document.contains(&words(equation)) {
                missing.push((account, equation));
            }
        }
        assert_eq!(missing, []);
    }

    #[test]
    fn every_loss_of_the_kernel_is_in_the_sum_of_those_that_are_reported() {
        let (_, equation) = EQUATIONS.iter().find(|(_, it)| it.ends_with("= lost_told")).unwrap();
        let named: Vec<_> =
            equation.split_whitespace().filter_map(|word| word.strip_prefix("kernel.")).collect();
        for counter in tracer_common::counter::Counter::ALL {
            assert_eq!(named.contains(&counter.name()), losses::is_told(counter.name()));
        }
    }
}
