//! A decoded value before it is text or JSON: both are written from the same tree.

use super::Context;
use crate::{escape, span_record::push_hex};

/// Bytes of a string that are kept; more are never captured.
const MAX_TEXT: usize = 4096;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A number, in decimal.
    Signed(i64),
    /// A number, in decimal.
    Unsigned(u64),
    /// A number in hexadecimal, 0 as `0`.
    Hex(u64),
    /// A number in hexadecimal, at least so wide with its `0x`; 0 is that many zeroes.
    Padded(u64, usize),
    /// A number in octal, 0 as `000`.
    Octal(u64),
    /// So many times 1024: `8*1024`.
    Times1024(u64),
    /// A file descriptor; text may have what it leads to behind it.
    Fd(i32),
    /// An address: `NULL` or hexadecimal.
    Pointer(u64),
    /// Names of constants; JSON has them as a string.
    Symbol(String),
    /// Bytes of a program, quoted.
    Text {
        /// What is shown.
        bytes: Vec<u8>,
        /// More follow.
        cut: bool,
        /// What stands before the quotation mark: the `@` of an abstract socket.
        before: &'static str,
    },
    /// A structure.
    Fields(Fields),
    /// `[a, b]`
    List(Vec<Node>),
    /// `[a b]`, `~[a b]`
    Members {
        /// Names or numbers.
        items: Vec<Node>,
        /// All others are meant.
        negated: bool,
    },
    /// `makedev(0x1, 0x3)`
    Call(&'static str, Vec<Node>),
    /// `1 /* note */`
    Note(Box<Node>, String),
    /// The first in text, the second in JSON.
    Either(Box<Node>, Box<Node>),
    /// `...`
    More,
}

/// The fields of a structure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    list: Vec<Field>,
    /// Bytes that were there, where there were too few.
    cut_after: Option<usize>,
}

/// A field; text leaves out those that are not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) node: Node,
    pub(super) shown: Shown,
}

/// Where a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// In text and JSON.
    Always,
    /// In JSON; text says that there is more.
    Abridged,
    /// In JSON; text does not tell.
    Silent,
    /// In text alone, without its name: `inet_pton(AF_INET6, "::1", &sin6_addr)`.
    Text,
}

impl Fields {
    /// Adds a field that is always shown.
    pub(super) fn push(&mut self, name: &'static str, node: Node) {
        self.push_as(name, node, Shown::Always);
    }

    /// Adds a field.
    pub(super) fn push_as(&mut self, name: &'static str, node: Node, shown: Shown) {
        self.list.push(Field { name, node, shown });
    }

    /// Says that the memory ended, or was captured, up to here.
    pub(super) fn cut_after(&mut self, bytes: usize) {
        self.cut_after = Some(bytes);
    }

    /// Changes how a field is shown; one that the memory did not hold is not there.
    pub(super) fn show(&mut self, name: &str, shown: Shown) {
        if let Some(field) = self.list.iter_mut().find(|field| field.name == name) {
            field.shown = shown;
        }
    }

    /// The number in a field.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.list.iter().find(|field| field.name == name)?.node.number()
    }

    /// The names in a field.
    pub(super) fn symbol(&self, name: &str) -> Option<&str> {
        match &self.list.iter().find(|field| field.name == name)?.node {
            Node::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// Gives a field another name.
    pub(super) fn rename(&mut self, name: &str, other: &'static str) {
        if let Some(field) = self.list.iter_mut().find(|field| field.name == name) {
            field.name = other;
        }
    }

    /// Takes a field away: what its bytes hold means nothing.
    pub(super) fn remove(&mut self, name: &str) {
        self.list.retain(|field| field.name != name);
    }

    /// Puts a field behind the others.
    pub(super) fn move_to_end(&mut self, name: &str) {
        if let Some(at) = self.list.iter().position(|field| field.name == name) {
            let field = self.list.remove(at);
            self.list.push(field);
        }
    }

    /// The value of a field, to be changed.
    pub(super) fn node(&mut self, name: &str) -> Option<&mut Node> {
        Some(&mut self.list.iter_mut().find(|field| field.name == name)?.node)
    }

    /// Puts another value into a field that is there.
    pub(super) fn replace(&mut self, name: &str, node: Node) {
        if let Some(field) = self.list.iter_mut().find(|field| field.name == name) {
            field.node = node;
        }
    }

    /// Leaves this field alone: the rest is memory at which nobody looks.
    pub(super) fn only(&mut self, name: &str) {
        self.list.retain(|field| field.name == name);
    }

    /// Says that nothing is missing where the memory ends behind this field.
    pub(super) fn ends_after(&mut self, name: &str) {
        if self.list.iter().any(|field| field.name == name) {
            self.cut_after = None;
        }
    }

    fn push_text(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        let mut separate = |out: &mut Vec<u8>| {
            if !std::mem::take(&mut first) {
                out.extend(b", ");
            }
        };
        for field in &self.list {
            match field.shown {
                Shown::Always => {
                    separate(out);
                    out.extend(field.name.bytes());
                    out.push(b'=');
                    field.node.push_text(out);
                }
                Shown::Text => {
                    separate(out);
                    field.node.push_text(out);
                }
                Shown::Abridged | Shown::Silent => {}
            }
        }
        if self.list.iter().any(|field| field.shown == Shown::Abridged) {
            separate(out);
            out.extend(b"...");
        }
        if let Some(bytes) = self.cut_after {
            separate(out);
            out.extend(format!("... /* cut after {bytes} bytes */").bytes());
        }
        out.push(b'}');
    }

    fn push_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let fields = self.list.iter().filter(|field| field.shown != Shown::Text);
        for (index, field) in fields.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            escape::push_json(out, field.name.as_bytes());
            out.push(b':');
            field.node.push_json(out);
        }
        if let Some(bytes) = self.cut_after {
            let comma = if self.list.is_empty() { "" } else { "," };
            out.extend(format!("{comma}\"cut_after_bytes\":{bytes}").bytes());
        }
        out.push(b'}');
    }
}

impl Node {
    /// A user or group id.
    pub(super) fn id(id: u32) -> Self {
        if id == u32::MAX { Self::Signed(-1) } else { Self::Unsigned(id.into()) }
    }

    /// A string that ends at its first zero, or else is cut.
    pub(super) fn text(bytes: &[u8]) -> Self {
        let end = bytes.iter().position(|byte| *byte == 0);
        let whole = bytes.get(..end.unwrap_or(bytes.len()).min(MAX_TEXT)).unwrap_or_default();
        Self::Text { bytes: whole.to_vec(), cut: end.is_none(), before: "" }
    }

    /// Bytes of which no zero is the end.
    pub(super) fn bytes(bytes: &[u8]) -> Self {
        let shown = bytes.get(..bytes.len().min(MAX_TEXT)).unwrap_or_default();
        Self::Text { bytes: shown.to_vec(), cut: shown.len() < bytes.len(), before: "" }
    }

    /// Whether it has no members.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::List(items) | Self::Members { items, .. } if items.is_empty())
    }

    /// A number, if it is one.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Signed(value) => Some(value.cast_unsigned()),
            Self::Fd(value) => Some(i64::from(*value).cast_unsigned()),
            Self::Unsigned(value)
            | Self::Hex(value)
            | Self::Padded(value, _)
            | Self::Octal(value)
            | Self::Pointer(value) => Some(*value),
            _ => None,
        }
    }

    /// The same, and says that it is cut after so many bytes, unless it says so already. A number is
    /// never cut, and what is another in text says it itself.
    pub(super) fn cut(mut self, bytes: usize) -> Self {
        match &mut self {
            Self::Fields(fields) => {
                fields.cut_after.get_or_insert(bytes);
            }
            Self::Text { cut, .. } => *cut = true,
            Self::List(items) | Self::Members { items, .. }
                if items.last() != Some(&Self::More) =>
            {
                items.push(Self::More);
            }
            _ => {}
        }
        self
    }

    /// The same for text, with what descriptors lead to.
    pub(super) fn with_names(mut self, context: &Context<'_>) -> Self {
        if !context.fds.is_empty() {
            self.name_descriptors(context);
        }
        self
    }

    fn name_descriptors(&mut self, context: &Context<'_>) {
        match self {
            Self::Fd(fd) => {
                let mut text = Vec::new();
                super::push_fd(&mut text, context, *fd);
                *self = Self::Symbol(String::from_utf8_lossy(&text).into_owned());
            }
            Self::Fields(fields) => {
                for field in &mut fields.list {
                    field.node.name_descriptors(context);
                }
            }
            Self::List(items) | Self::Members { items, .. } | Self::Call(_, items) => {
                for item in items {
                    item.name_descriptors(context);
                }
            }
            Self::Note(node, _) | Self::Either(node, _) => node.name_descriptors(context),
            _ => {}
        }
    }

    /// Appends it as a person reads it.
    pub(super) fn push_text(&self, out: &mut Vec<u8>) {
        let mut number = itoa::Buffer::new();
        match self {
            Self::Signed(value) => out.extend(number.format(*value).bytes()),
            Self::Fd(value) => out.extend(number.format(*value).bytes()),
            Self::Unsigned(value) => out.extend(number.format(*value).bytes()),
            Self::Hex(value) => super::push_number(out, *value),
            Self::Padded(0, width) => out.extend("0".repeat(*width).bytes()),
            Self::Padded(value, width) => out.extend(format!("{value:#0width$x}").bytes()),
            Self::Octal(value) => {
                out.extend(super::number::octal(*value).bytes());
            }
            Self::Times1024(value) => {
                out.extend(number.format(*value).bytes());
                out.extend(b"*1024");
            }
            Self::Pointer(value) => super::push_pointer(out, *value),
            Self::Symbol(text) => out.extend(text.bytes()),
            Self::Text { bytes, cut, before } => {
                out.extend(before.bytes());
                escape::push_quoted(out, bytes);
                if *cut {
                    out.extend(b"...");
                }
            }
            Self::Fields(fields) => fields.push_text(out),
            Self::List(items) => push_all(out, b"[", items, b", ", b"]"),
            Self::Members { items, negated } => {
                if *negated {
                    out.push(b'~');
                }
                push_all(out, b"[", items, b" ", b"]");
            }
            Self::Call(name, items) => {
                out.extend(name.bytes());
                push_all(out, b"(", items, b", ", b")");
            }
            Self::Note(value, comment) => {
                value.push_text(out);
                out.extend(b" /* ");
                escape::push_visible(out, comment.as_bytes());
                out.extend(b" */");
            }
            Self::Either(text, _) => text.push_text(out),
            Self::More => out.extend(b"..."),
        }
    }

    /// Appends it as a JSON value: numbers as numbers, names as strings.
    pub(super) fn push_json(&self, out: &mut Vec<u8>) {
        let mut number = itoa::Buffer::new();
        match self {
            Self::Signed(value) => out.extend(number.format(*value).bytes()),
            Self::Fd(value) => out.extend(number.format(*value).bytes()),
            Self::Unsigned(value)
            | Self::Hex(value)
            | Self::Padded(value, _)
            | Self::Octal(value)
            | Self::Pointer(value) => out.extend(number.format(*value).bytes()),
            Self::Times1024(value) => {
                out.extend(number.format(value.saturating_mul(1024)).bytes());
            }
            Self::Symbol(text) => {
                escape::push_json(out, text.as_bytes());
            }
            Self::Text { bytes, .. } => {
                escape::push_json(out, bytes);
            }
            Self::Fields(fields) => fields.push_json(out),
            Self::List(items) | Self::Members { items, negated: false } => {
                push_json_list(out, items);
            }
            Self::Members { items, .. } => {
                out.extend(b"{\"not\":");
                push_json_list(out, items);
                out.push(b'}');
            }
            Self::Call(_, items) => match items.as_slice() {
                [item] => item.push_json(out),
                items => push_json_list(out, items),
            },
            Self::Note(node, _) | Self::Either(_, node) => node.push_json(out),
            Self::More => out.extend(b"\"...\""),
        }
    }
}

impl From<Fields> for Node {
    fn from(fields: Fields) -> Self {
        Self::Fields(fields)
    }
}

fn push_all(out: &mut Vec<u8>, start: &[u8], items: &[Node], separator: &[u8], end: &[u8]) {
    out.extend(start);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.extend(separator);
        }
        item.push_text(out);
    }
    out.extend(end);
}

fn push_json_list(out: &mut Vec<u8>, items: &[Node]) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item.push_json(out);
    }
    out.push(b']');
}

/// Bytes as hexadecimal digits in quotation marks, as strace writes what is no text.
pub(super) fn hex_text(bytes: &[u8]) -> Node {
    let mut text = b"\"".to_vec();
    for byte in bytes {
        text.extend(b"\\x");
        push_hex(&mut text, &[*byte]);
    }
    text.push(b'"');
    Node::Symbol(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(node: &Node) -> (String, String) {
        let (mut text, mut json) = (Vec::new(), Vec::new());
        node.push_text(&mut text);
        node.push_json(&mut json);
        (String::from_utf8(text).unwrap(), String::from_utf8(json).unwrap())
    }

    #[test]
    fn a_structure_is_text_and_json() {
        let mut fields = Fields::default();
        fields.push("a", Node::Signed(-1));
        fields.push_as("b", Node::Hex(16), Shown::Abridged);
        fields.push("c", Node::text(b"x\x1b\0y"));
        fields.push("d", Node::List(vec![Node::Unsigned(1), Node::Symbol("TWO".to_owned())]));
        let (text, json) = both(&fields.into());
        assert_eq!(text, r#"{a=-1, c="x\x1b", d=[1, TWO], ...}"#);
        assert_eq!(json, r#"{"a":-1,"b":16,"c":"x\u001b","d":[1,"TWO"]}"#);
    }

    #[test]
    fn what_is_cut_is_said() {
        let mut fields = Fields::default();
        fields.cut_after(3);
        let (text, json) = both(&fields.into());
        assert_eq!(text, "{... /* cut after 3 bytes */}");
        assert_eq!(json, r#"{"cut_after_bytes":3}"#);
        assert_eq!(both(&Node::text(b"abc")).0, r#""abc"..."#);
    }
}
