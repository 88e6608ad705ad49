//! `--sample` and `--max-rate`: for all destinations, or for the one that is named.

use super::ExportConfig;
use crate::export::Limits;

/// A limit that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum LimitError {
    #[error("--sample: `{0}` is not a share; write it like 0.1 or 10%")]
    Share(String),
    #[error("--max-rate: `{0}` is not a number of spans above 0")]
    Rate(String),
    #[error("--{option}: there is no destination `{name}`; there is {known}")]
    Name { option: &'static str, name: String, known: String },
}

/// A destination's name in the ledger, and how much it gets.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Share {
    pub(in crate::cli) name: String,
    pub(in crate::cli) limits: Limits,
}

/// One for each export: the kind is the name, with a number from the second of a kind on.
pub(in crate::cli) fn shares(
    exports: &[ExportConfig],
    sample: &[String],
    max_rate: &[String],
) -> Result<Vec<Share>, LimitError> {
    let mut all: Vec<Share> = Vec::new();
    for (index, export) in exports.iter().enumerate() {
        let kind = export.name();
        let before = exports.iter().take(index).filter(|it| it.name() == kind).count();
        let name = if before == 0 { kind.to_owned() } else { format!("{kind}-{}", before + 1) };
        all.push(Share { name, limits: Limits::default() });
    }
    for text in sample {
        let (shares, value) = addressed("sample", &mut all, text)?;
        let share = parse_share(value).ok_or_else(|| LimitError::Share(value.to_owned()))?;
        shares.for_each(|it| it.limits.sample = share);
    }
    for text in max_rate {
        let (shares, value) = addressed("max-rate", &mut all, text)?;
        let rate = value.parse().ok().filter(|rate| *rate > 0);
        let rate = rate.ok_or_else(|| LimitError::Rate(value.to_owned()))?;
        shares.for_each(|it| it.limits.max_rate = Some(rate));
    }
    Ok(all)
}

/// Those that `NAME=VALUE` is for, or all of them, and the value.
fn addressed<'a, 'b>(
    option: &'static str,
    all: &'a mut [Share],
    text: &'b str,
) -> Result<(impl Iterator<Item = &'a mut Share>, &'b str), LimitError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (Some(name.to_owned()), value),
        None => (None, text),
    };
    if let Some(name) = &name
        && !all.iter().any(|it| it.name == *name)
    {
        let known: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
        return Err(LimitError::Name { option, name: name.clone(), known: known.join(", ") });
    }
    let chosen = all.iter_mut().filter(move |it| name.as_ref().is_none_or(|name| it.name == *name));
    Ok((chosen, value))
}

fn parse_share(text: &str) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exports::Target;

    fn parse(sample: &[&str], max_rate: &[&str]) -> Result<Vec<Share>, LimitError> {
        let json = || ExportConfig::Json(Target::Stdout);
        let exports = [json(), ExportConfig::Null, json()];
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        shares(&exports, &owned(sample), &owned(max_rate))
    }

    #[test]
    fn limits_are_for_all_or_for_one() {
        let all = parse(&["0.5", "json-2=10%"], &["null=7"]).unwrap();
        let found: Vec<_> =
            all.iter().map(|it| (it.name.as_str(), it.limits.sample, it.limits.max_rate)).collect();
        assert_eq!(found, [("json", 0.5, None), ("null", 0.5, Some(7)), ("json-2", 0.1, None)]);
    }

    #[test]
    fn wrong_limits_are_named() {
        for (sample, rate, part) in [
            ("2", "1", "`2` is not a share"),
            ("-1%", "1", "`-1%`"),
            ("NaN", "1", "`NaN`"),
            ("1", "0", "`0` is not a number of spans"),
            ("otlp=1", "1", "no destination `otlp`; there is json, null, json-2"),
        ] {
            let error = parse(&[sample], &[rate]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
