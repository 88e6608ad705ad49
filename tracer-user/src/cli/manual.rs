//! `tracer completions` and `tracer man`: both are made of the command line's definition, so that they
//! cannot differ from it.

use std::io::{self, ErrorKind, Write};

use clap::CommandFactory;
use clap_mangen::Man;

use super::{
    Failure, USAGE,
    args::{Cli, CompletionsArgs, ManArgs},
};

pub(super) fn completions(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tracer", &mut script);
    print(&script)
}

pub(super) fn man(args: &ManArgs) -> Result<u8, Failure> {
    let page = page(args.verb.as_deref())?;
    print(&page)
}

/// A page in roff.
fn page(verb: Option<&str>) -> Result<Vec<u8>, Failure> {
    let mut all = Cli::command();
    // Gives verbs their full names and the options of all.
    all.build();
    let command = match verb {
        None => all,
        Some(verb) => {
            let names: Vec<_> = all.get_subcommands().map(|it| it.get_name().to_owned()).collect();
            let message = format!("man: no verb `{verb}`; there are {}", names.join(", "));
            let found = all.find_subcommand(verb).cloned();
            found.ok_or(Failure { message, code: USAGE })?
        }
    };
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(Failure::run_time)?;
    Ok(page)
}

/// A reader that closes its pipe has seen enough.
pub(super) fn print(bytes: &[u8]) -> Result<u8, Failure> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::run_time(error)),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_a_page_with_all_its_options() {
        let text = |verb| String::from_utf8(page(verb).unwrap()).unwrap();
        assert!(text(None).contains("tracer\\-trace(1)"));
        let trace = text(Some("trace"));
        let command = Cli::command();
        let options = command.find_subcommand("trace").unwrap().get_arguments();
        for name in options.filter_map(clap::Arg::get_long) {
            assert!(trace.contains(&name.replace('-', "\\-")), "{name}");
        }
        assert!(trace.contains("Examples:"));
        let error = page(Some("dance")).unwrap_err();
        assert_eq!(error.code, USAGE);
        assert!(error.message.contains("no verb `dance`; there are trace"), "{}", error.message);
    }
}
