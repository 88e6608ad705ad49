//! What to say where silence would be taken for an answer.

use nix::unistd::{Uid, User};
use tracer_common::counter::Counter;

use super::{config::TraceConfig, say};
use crate::{launch::Invoker, ledger::Ledger};

/// Before tracing begins.
pub(super) fn before(config: &TraceConfig, invoker: Option<Invoker>) {
    for name in &config.awaited {
        say(&format!(
            "waiting for container `{name}`, by the beginning of its id or by its name (LXC, Incus, \
             systemd-nspawn); a host name is known only of one that runs"
        ));
    }
    let runs_as = invoker.map_or_else(|| Uid::current().as_raw(), |invoker| invoker.uid);
    if let Some(hint) = other_user(config, runs_as) {
        say(&hint);
    }
}

/// `-u` chooses whose calls are shown; in strace it says who runs the command.
fn other_user(config: &TraceConfig, runs_as: u32) -> Option<String> {
    let uids = &config.options.uids;
    if config.command.is_empty() || uids.is_empty() || uids.contains(&runs_as) {
        return None;
    }
    let name = |uid: u32| {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        user.map_or_else(|| uid.to_string(), |user| user.name)
    };
    let shown: Vec<String> = uids.iter().map(|uid| name(*uid)).collect();
    let (shown, first) = (shown.join(", "), name(*uids.first()?));
    Some(format!(
        "-u shows calls of {shown} alone, and the command runs as {}; to run it as another user: \
         tracer trace -- setpriv --reuid {first} --init-groups COMMAND",
        name(runs_as)
    ))
}

/// After it has ended.
pub(super) fn after(ledger: &Ledger, config: &TraceConfig) {
    let kernel = &ledger.kernel;
    let seen = [Counter::Stored, Counter::NoReturn, Counter::ExitOnly, Counter::RunningAtAttach];
    let is_silent = seen.iter().all(|counter| kernel.get(*counter) == 0);
    if is_silent && !config.expressions.is_empty() {
        say(&format!("no call that -e names was made in scope{}", newer(&config.expressions)));
    }
}

/// What programs call in place of what their source names.
fn newer(expressions: &[String]) -> &'static str {
    const OLD: [&str; 7] = ["open", "creat", "stat", "lstat", "fork", "vfork", "time"];
    let words = expressions.iter().flat_map(|text| text.split(['=', ',', '!']));
    if words.map(str::trim).any(|word| OLD.contains(&word)) {
        "; C libraries make newer calls than their functions are named after: openat, newfstatat, \
         clone; a class such as %file takes all of a kind"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Verb};
    use clap::Parser;

    fn config(words: &[&str]) -> TraceConfig {
        let words = ["tracer", "trace"].iter().chain(words);
        let Verb::Trace(args) = Cli::try_parse_from(words).unwrap().verb else { panic!() };
        TraceConfig::new(*args).unwrap()
    }

    #[test]
    fn calls_that_nobody_makes_are_told() {
        let hint = |words: &[&str]| newer(&config(words).expressions);
        assert!(hint(&["-e", "trace=open,close"]).contains("openat"));
        assert_eq!((hint(&["-e", "openat"]), hint(&["-e", "signal=none"])), ("", ""));
    }

    #[test]
    fn who_runs_the_command_is_told_where_its_calls_are_left_out() {
        let hint = |words: &[&str], uid| other_user(&config(words), uid);
        let said = hint(&["-u", "1", "--", "id"], 0).unwrap();
        assert!(said.contains("-u shows calls of ") && said.contains("setpriv"), "{said}");
        assert_eq!(hint(&["-u", "1", "--", "id"], 1), None);
        assert_eq!(hint(&["-u", "0,1", "--", "id"], 1), None);
        assert_eq!(hint(&["-u", "1"], 0), None);
        assert_eq!(hint(&["--", "id"], 0), None);
    }
}
