//! Writes the generated Rust, before formatting.

use super::Set;
use crate::{codegen::emit::HEADER, text::push};

/// The tables of values.
pub(super) fn tables(sets: &[Set]) -> String {
    let mut statics = String::new();
    let mut rows = String::new();
    // The order of the enum.
    let mut sets: Vec<&Set> = sets.iter().collect();
    sets.sort_by(|a, b| a.source.name.cmp(&b.source.name));
    for set in &sets {
        let constant = set.source.name.to_ascii_uppercase();
        let mut places = Vec::new();
        for (at, values) in set.values.iter().enumerate() {
            // An ABI with the values of an earlier one shares its list.
            let same = set.values.iter().position(|other| other == values).unwrap_or(at);
            let name = match same {
                0 => constant.clone(),
                _ => format!("{constant}_{}", super::ABIS[same].0.to_ascii_uppercase()),
            };
            if same == at {
                entries(&mut statics, &name, set, values);
            }
            places.push(format!("&{name}"));
        }
        push(&mut rows, format_args!("[{}],\n", places.join(", ")));
    }
    format!(
        "{HEADER}use tracer_common::syscalls::Set;

        use super::table::Table;

        /// The set's tables for x86-64, i386 and aarch64.
        pub(super) fn tables(set: Set) -> [&'static Table; 3] {{ TABLES[set as usize] }}

        static TABLES: [[&Table; 3]; {}] = [{rows}];
        {statics}",
        sets.len()
    )
}

fn entries(out: &mut String, name: &str, set: &Set, values: &[(String, u64)]) {
    let mut entries = String::new();
    for (shown, value) in values {
        push(&mut entries, format_args!("({shown:?}, {}),\n", hexadecimal(*value)));
    }
    push(
        out,
        format_args!(
            "\nstatic {name}: Table = Table {{
                unknown: {:?},
                entries: &[{entries}],
            }};\n",
            set.source.unknown
        ),
    );
}

/// `0x1_0000`: groups of four digits from five digits on.
fn hexadecimal(value: u64) -> String {
    let digits = format!("{value:x}");
    let mut out = String::from("0x");
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(4) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}
