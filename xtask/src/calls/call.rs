//! A call as strace and tracer print it.

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
    /// What stands behind the equals sign, without a duration.
    pub(crate) result: String,
}

/// What both print of a call that has not ended.
pub(super) const UNFINISHED: &str = " <unfinished ...>";

impl Call {
    /// Name, arguments and result of `name(args) = result`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('(')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        let mut args = Vec::new();
        let mut current = String::new();
        let (mut depth, mut quote, mut escaped, mut ends) = (0_usize, None, false, None);
        let mut previous = ' ';
        let mut comment = false;
        for (at, c) in rest.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quote.is_some() => escaped = true,
                _ if quote.is_some() => {
                    quote = quote.filter(|it| *it != c);
                }
                '"' if !comment => quote = Some(c),
                // A character, not an apostrophe.
                '\'' if previous == '=' && !comment => quote = Some(c),
                '*' if previous == '/' => comment = true,
                '/' if previous == '*' => comment = false,
                _ if comment => {}
                '(' | '[' | '{' => depth += 1,
                ')' if depth == 0 => {
                    ends = Some(at + 1);
                    break;
                }
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    args.push(std::mem::take(&mut current).trim().to_owned());
                    previous = c;
                    continue;
                }
                _ => {}
            }
            previous = c;
            current.push(c);
        }
        let result = rest.get(ends?..)?.trim_start().strip_prefix('=')?.trim().to_owned();
        if !current.trim().is_empty() {
            args.push(current.trim().to_owned());
        }
        Some(Self { name: name.to_owned(), args, result })
    }

    /// A call of which there is only the beginning.
    pub(super) fn unfinished(start: &str) -> Option<Self> {
        Self::parse(&format!("{start}) = ?"))
    }

    /// The thread that the call has made.
    pub(super) fn child(&self) -> Option<u32> {
        let makes = ["clone", "clone3", "fork", "vfork"].contains(&self.name.as_str());
        let result = self.result.split(' ').next()?;
        result.parse().ok().filter(|id| makes && *id > 0)
    }

    /// As both print it.
    pub(crate) fn show(&self) -> String {
        format!("{}({}) = {}", self.name, self.args.join(", "), self.result)
    }
}
