//! A command line without a verb, as strace takes it: which one was meant.

use std::ffi::OsString;

use clap::CommandFactory;

use super::args::Cli;

/// How like a verb a word must be, 0.0..=1.0, to be one that was mistyped.
const LIKE: f64 = 0.7;

/// What to type, when the first argument is no verb; `None` when it is one, nearly one, or a question
/// for help.
pub(super) fn missing(args: &[OsString]) -> Option<String> {
    let first = args.get(1)?.to_string_lossy();
    let own = ["help", "-h", "--help", "-V", "--version"];
    let command = Cli::command();
    let mut verbs = command.get_subcommands().map(clap::Command::get_name).chain(own);
    let is_nearly = |verb| verb == first || strsim::jaro(verb, &first) >= LIKE;
    if verbs.any(is_nearly) {
        return None;
    }
    let all: Vec<_> = args.iter().skip(1).map(|it| it.to_string_lossy()).collect();
    let line = format!("tracer trace {}", all.join(" "));
    let meant: String = line.chars().filter(|it| !it.is_control()).collect();
    Some(if first.starts_with('-') {
        format!("options follow a verb: {meant}")
    } else {
        format!("there is no verb `{}`; to trace a command: {meant}", first.escape_debug())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(args: &[&str]) -> Option<String> {
        missing(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_was_meant_is_shown() {
        let text = |args: &[&str]| hint(args).unwrap();
        assert_eq!(text(&["tracer", "-p", "1"]), "options follow a verb: tracer trace -p 1");
        assert_eq!(
            text(&["tracer", "ls", "-l"]),
            "there is no verb `ls`; to trace a command: tracer trace ls -l"
        );
        assert_eq!(
            text(&["tracer", "l\x1bs"]),
            "there is no verb `l\\u{1b}s`; to trace a command: tracer trace ls"
        );
    }

    #[test]
    fn verbs_help_and_slips_are_left_to_clap() {
        for args in
            [&["tracer"][..], &["tracer", "trace"], &["tracer", "--help"], &["tracer", "trcae"]]
        {
            assert_eq!(hint(args), None, "{args:?}");
        }
    }
}
