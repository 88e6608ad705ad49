//! Times and sizes as they are typed.

use std::time::Duration;

use parse_size::Config as SizeParser;

use super::usage::UsageError;

pub(super) fn parse_time(
    option: &'static str,
    text: Option<&str>,
) -> Result<Option<Duration>, UsageError> {
    let Some(text) = text else { return Ok(None) };
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    time.map(Some).ok_or_else(|| UsageError::Time { option, value: text.into() })
}

pub(super) fn parse_size(option: &'static str, text: &str) -> Result<u64, UsageError> {
    let parser = SizeParser::new().with_binary();
    parser.parse_size(text).map_err(|_| UsageError::Size { option, value: text.into() })
}
