//! Which syscalls are traced: strace's expressions, turned into one plan per ABI and number.

mod shape;

use regex::Regex;
use tracer_common::{
    event::Abi,
    memory::{self, DataLimit, OpWords},
    plan::{OTHER, PER_ABI, PLANS, Plan},
    syscalls::{self, Class, Syscall},
};

/// The tables that calls on this machine use: 64-bit, then 32-bit where there is one.
#[cfg(target_arch = "x86_64")]
const ABIS: [Option<Abi>; 2] = [Some(Abi::X86_64), Some(Abi::I386)];
#[cfg(target_arch = "aarch64")]
const ABIS: [Option<Abi>; 2] = [Some(Abi::Aarch64), None];

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No syscall of that name.
    #[error("unknown syscall `{name}`{}", similar(.nearest.as_deref()))]
    UnknownSyscall {
        /// The name as given.
        name: String,
        /// The name that looks most like it.
        nearest: Option<String>,
    },
    /// No class of that name.
    #[error("unknown syscall class `%{name}`{}", similar(.nearest.as_deref()))]
    UnknownClass {
        /// The name as given, without the percent sign.
        name: String,
        /// The name that looks most like it.
        nearest: Option<String>,
    },
    /// A number past the table.
    #[error("syscall number {number} is too large: the limit is {}", OTHER - 1)]
    NumberTooLarge {
        /// The number as given.
        number: u64,
    },
    /// A regular expression that does not compile.
    #[error("bad regular expression `/{pattern}/`: {message}")]
    BadRegex {
        /// The pattern as given.
        pattern: String,
        /// What is wrong, in one line.
        message: String,
    },
    /// A regular expression without its second slash.
    #[error("regular expression `{0}` has no closing `/`")]
    OpenRegex(String),
    /// Nothing that could be a name.
    #[error("empty syscall expression; give names, %classes or /regular expressions/")]
    Empty,
    /// An expression that matches no syscall at all.
    #[error("`{0}` matches no syscall")]
    NoMatch(String),
}

fn similar(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// A set of syscalls: all, less or only those named.
#[derive(Debug, Clone, Default)]
pub struct SyscallFilter {
    terms: Vec<Term>,
}

#[derive(Debug, Clone)]
struct Term {
    negated: bool,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    All,
    None,
    Name(String),
    Number(u32),
    Class(Class),
    Pattern(Regex),
}

impl SyscallFilter {
    /// All syscalls.
    pub fn all() -> Self {
        Self::default()
    }

    /// Adds an expression: names, numbers, `%classes` and `/regular expressions/` joined by
    /// commas, each with `!` in front to take it out. Without one that is not negated, all the
    /// others are meant. `trace=` may stand in front; `?name` is no error when there is no `name`.
    pub fn add(&mut self, expression: &str) -> Result<(), FilterError> {
        let expression = expression.strip_prefix("trace=").unwrap_or(expression);
        let terms = split(expression)?;
        if terms.is_empty() {
            return Err(FilterError::Empty);
        }
        for text in terms {
            let negated = text.starts_with('!');
            let what = What::parse(text.trim_start_matches('!'))?;
            self.terms.push(Term { negated, what });
        }
        Ok(())
    }

    /// Whether a call is in the set. `info` is `None` for numbers the table does not know.
    fn contains(&self, number: u32, info: Option<&Syscall>) -> bool {
        let any = |negated: bool| {
            self.terms.iter().any(|term| term.negated == negated && term.what.matches(number, info))
        };
        let all_meant = self.terms.iter().all(|term| term.negated);
        (all_meant || any(false)) && !any(true)
    }

    /// The plans for the kernel side, and the operations of each traced call that has any, by the
    /// index of its plan.
    pub fn plans(&self, limit: DataLimit) -> (Vec<Plan>, Vec<(u32, OpWords)>) {
        let mut plans = vec![Plan::default(); PLANS as usize];
        let mut operations = Vec::new();
        for (base, abi) in (0..).step_by(PER_ABI as usize).zip(ABIS) {
            for number in 0..PER_ABI {
                let info =
                    abi.filter(|_| number != OTHER).and_then(|abi| syscalls::lookup(abi, number));
                let mut plan = info.map_or_else(Plan::default, shape::shape);
                plan = plan.traced(self.contains(number, info));
                if let (Some(abi), Some(info), true) = (abi, info, plan.is_traced()) {
                    let words = memory::operations(info, abi, limit);
                    if words != OpWords::default() {
                        plan = plan.memory();
                        operations.push((base + number, words));
                    }
                }
                plans[(base + number) as usize] = plan;
            }
        }
        (plans, operations)
    }
}

impl What {
    fn parse(text: &str) -> Result<Self, FilterError> {
        if let Some(pattern) = text.strip_prefix('/') {
            let pattern = pattern.strip_suffix('/').unwrap_or(pattern);
            return Self::pattern(pattern);
        }
        if let Some(name) = text.strip_prefix('%') {
            return class(name).map(Self::Class);
        }
        if let Ok(number) = text.parse::<u64>() {
            return match u32::try_from(number) {
                Ok(number) if number < OTHER => Ok(Self::Number(number)),
                _ => Err(FilterError::NumberTooLarge { number }),
            };
        }
        let (optional, name) = match text.strip_prefix('?') {
            Some(name) => (true, name),
            None => (false, text),
        };
        match name {
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            "" => Err(FilterError::Empty),
            _ if is_known(name) => Ok(Self::Name(name.to_owned())),
            _ if optional => Ok(Self::None),
            _ => Err(FilterError::UnknownSyscall {
                name: name.to_owned(),
                nearest: nearest(name, names()),
            }),
        }
    }

    fn pattern(pattern: &str) -> Result<Self, FilterError> {
        let regex = Regex::new(pattern).map_err(|error| FilterError::BadRegex {
            pattern: pattern.to_owned(),
            message: error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
        })?;
        if !names().any(|name| regex.is_match(name)) {
            return Err(FilterError::NoMatch(format!("/{pattern}/")));
        }
        Ok(Self::Pattern(regex))
    }

    fn matches(&self, number: u32, info: Option<&Syscall>) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Number(wanted) => *wanted == number,
            Self::Name(name) => info.is_some_and(|info| info.name == name),
            Self::Class(class) => info.is_some_and(|info| info.class.intersects(*class)),
            Self::Pattern(regex) => info.is_some_and(|info| regex.is_match(info.name)),
        }
    }
}

/// Splits at commas outside of regular expressions.
fn split(expression: &str) -> Result<Vec<&str>, FilterError> {
    let mut terms = Vec::new();
    let mut rest = expression;
    while !rest.is_empty() {
        let slash = rest.trim_start_matches('!');
        let len = if slash.starts_with('/') {
            let open = rest.len() - slash.len();
            let close = closing_slash(slash).ok_or_else(|| FilterError::OpenRegex(rest.into()))?;
            open + close + 1
        } else {
            rest.find(',').unwrap_or(rest.len())
        };
        let (term, tail) = rest.split_at(len);
        let term = term.trim();
        if !term.is_empty() {
            terms.push(term);
        }
        rest = tail.trim_start_matches([',', ' ']);
    }
    Ok(terms)
}

/// The slash that ends the expression at the start of `text`: one before a comma or the end.
fn closing_slash(text: &str) -> Option<usize> {
    let is_end = |at: usize| text[at + 1..].is_empty() || text[at + 1..].starts_with(',');
    text.match_indices('/').map(|(at, _)| at).skip(1).find(|at| is_end(*at))
}

fn class(name: &str) -> Result<Class, FilterError> {
    let classes = Class::NAMES;
    let found = classes.iter().find(|(known, _)| *known == name);
    found.map(|(_, class)| *class).ok_or_else(|| FilterError::UnknownClass {
        name: name.to_owned(),
        nearest: nearest(name, classes.iter().map(|(known, _)| *known))
            .map(|name| format!("%{name}")),
    })
}

fn names() -> impl Iterator<Item = &'static str> {
    ABIS.into_iter().flatten().flat_map(|abi| syscalls::all(abi).map(|(_, info)| info.name))
}

fn is_known(name: &str) -> bool {
    ABIS.into_iter().flatten().any(|abi| syscalls::number(abi, name).is_some())
}

/// The name most like `name`, when it is not too far away.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    const CLOSE_ENOUGH: f64 = 0.75;
    names
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness >= CLOSE_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(expressions: &[&str]) -> impl Fn(&str) -> bool {
        let mut filter = SyscallFilter::all();
        for it in expressions {
            filter.add(it).unwrap();
        }
        let plans = filter.plans(DataLimit::default()).0;
        move |name| {
            let number = ABIS[0].and_then(|abi| syscalls::number(abi, name));
            plans[number.map_or(OTHER as usize, |number| number as usize)].is_traced()
        }
    }

    #[test]
    fn expressions_select_what_strace_users_expect() {
        let all = traced(&[]);
        assert!(all("openat") && all("unknown"));
        let some = traced(&["openat,read"]);
        assert!(some("openat") && some("read") && !some("write") && !some("unknown"));
        let less = traced(&["trace=!close,!read"]);
        assert!(less("openat") && !less("close") && !less("read") && less("unknown"));
        let both = traced(&["%file", "!openat"]);
        assert!(both("stat") && !both("openat") && !both("read"));
        let pattern = traced(&["/^epoll/,getpid"]);
        assert!(pattern("epoll_wait") && pattern("getpid") && !pattern("read"));
        assert!(!traced(&["none"])("read") && traced(&["all"])("unknown"));
        assert!(traced(&["?no_such_call,read"])("read"));
        assert!(!traced(&["?no_such_call"])("read"));
        assert!(traced(&["0"])("read") && !traced(&["0"])("write"));
    }

    #[test]
    fn a_comma_inside_a_regular_expression_is_its_own() {
        assert!(traced(&["/^rea{1,2}d$/,write"])("read"));
        assert_eq!(split("!/a,b/,c").unwrap(), ["!/a,b/", "c"]);
    }

    #[test]
    fn mistakes_name_what_is_near() {
        let error = |text: &str| SyscallFilter::all().add(text).unwrap_err().to_string();
        assert_eq!(error("opneat"), "unknown syscall `opneat`; did you mean `openat`?");
        assert_eq!(error("%fiel"), "unknown syscall class `%fiel`; did you mean `%file`?");
        assert!(error("/(/").starts_with("bad regular expression `/(/`"));
        assert!(error("/abc").contains("no closing"));
        assert_eq!(error("/zzz/"), "`/zzz/` matches no syscall");
        assert!(error("").starts_with("empty") && error("!").starts_with("empty"));
        assert!(error("99999").contains("too large"));
    }

    #[test]
    fn plans_say_what_to_capture() {
        let plans = SyscallFilter::all().plans(DataLimit::default()).0;
        let plan = |name| plans[syscalls::number(ABIS[0].unwrap(), name).unwrap() as usize];
        assert_eq!(plan("openat").string_arg(0), Some(1));
        assert_eq!(
            (plan("renameat").string_arg(0), plan("renameat").string_arg(1)),
            (Some(1), Some(3))
        );
        assert!(plan("exit_group").is_no_return() && plan("exit").is_no_return());
        assert!(!plan("rt_sigreturn").is_no_return());
        assert!(plan("clone").is_fork() && plan("execve").is_exec() && !plan("read").has_strings());
    }
}
