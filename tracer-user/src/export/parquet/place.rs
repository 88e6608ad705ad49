//! Names: of finished files, and of what stands aside until then. A name aside holds the final
//! one, so that what a killed tracer has left says where it belongs.

use std::{io, time::SystemTime};

use jiff::{Timestamp, tz::TimeZone};

use super::folder::Folder;

/// Folders of runs begin with this; readers leave out what begins with a dot.
pub(super) const RUN_PREFIX: &str = ".tracer-";
/// Held locked by the process that writes in the folder.
pub(super) const LOCK: &str = "lock";

const DATA: &str = ".data";
const FOOTER: &str = ".footer";
const JOURNAL: &str = ".journal-";
const MAGIC: &[u8; 8] = b"TRFOOT01";

/// Where a file belongs: the folders below the root, and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    date: String,
    hour: String,
    host: String,
    stem: String,
}

/// What a name aside stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Aside {
    Data(Place),
    Footer(Place),
    Journal(Place, usize),
}

/// A footer aside: where row groups end, how many they are, and the bytes to put there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredFooter<'a> {
    pub(super) end: u64,
    pub(super) groups: usize,
    pub(super) bytes: &'a [u8],
}

/// Whole hours since the Unix epoch.
pub(super) const fn hour_of(nanos: u64) -> u64 {
    nanos / 3_600_000_000_000
}

impl Place {
    /// The place of the file number `nth` of a run that writes in this hour.
    pub(super) fn new(hour: u64, host: &str, run: &str, nth: u64) -> Self {
        let seconds = i64::try_from(hour.saturating_mul(3600)).unwrap_or(i64::MAX);
        let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let time = time.to_zoned(TimeZone::UTC);
        Self {
            date: time.strftime("%Y-%m-%d").to_string(),
            hour: time.strftime("%H").to_string(),
            host: host.to_owned(),
            stem: format!("part-{run}-{nth:05}"),
        }
    }

    fn aside(&self) -> String {
        let Self { date, hour, host, stem } = self;
        format!("{date},{hour},{host},{stem}")
    }

    /// The name aside of the file itself.
    pub(super) fn data(&self) -> String {
        self.aside() + DATA
    }
    /// The name aside of the footer for its row groups so far.
    pub(super) fn footer(&self) -> String {
        self.aside() + FOOTER
    }
    /// The name aside of the rows that will be in this row group.
    pub(super) fn journal(&self, group: usize) -> String {
        format!("{}{JOURNAL}{group}", self.aside())
    }

    /// What a name aside stands for; `None` for one that is none of ours.
    pub(super) fn parse(name: &str) -> Option<Aside> {
        let (before, make): (&str, fn(Self) -> Aside) = if let Some(it) = name.strip_suffix(DATA) {
            (it, Aside::Data)
        } else if let Some(it) = name.strip_suffix(FOOTER) {
            (it, Aside::Footer)
        } else {
            let (before, group) = name.rsplit_once(JOURNAL)?;
            return Some(Aside::Journal(Self::parse_aside(before)?, group.parse().ok()?));
        };
        Self::parse_aside(before).map(make)
    }

    fn parse_aside(text: &str) -> Option<Self> {
        let mut parts = text.split(',').map(str::to_owned);
        let mut next = || parts.next().filter(|part| !part.is_empty() && !part.contains('/'));
        let place = Self { date: next()?, hour: next()?, host: next()?, stem: next()? };
        parts.next().is_none().then_some(place)
    }

    /// A place beside this one, for the rows of its journal.
    pub(super) fn of_journal(&self) -> Self {
        Self { stem: format!("{}-journal", self.stem), ..self.clone() }
    }

    /// The path below the root.
    pub(super) fn path(&self) -> String {
        let Self { date, hour, host, stem } = self;
        format!("date={date}/hour={hour}/host={host}/{stem}.parquet")
    }

    /// Moves the complete file `name` to its place.
    pub(super) fn publish(&self, root: &Folder, aside: &Folder, name: &str) -> io::Result<()> {
        let date = root.subfolder(&format!("date={}", self.date))?;
        let hour = date.subfolder(&format!("hour={}", self.hour))?;
        let host = hour.subfolder(&format!("host={}", self.host))?;
        aside.move_file(name, &host, &format!("{}.parquet", self.stem))
    }

    /// The host, as it stands in the path.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The run that made it.
    pub(super) fn run(&self) -> &str {
        let run = self.stem.strip_prefix("part-").and_then(|it| it.rsplit_once('-'));
        run.map_or(&self.stem, |(run, _)| run)
    }

    /// Whether the file is at its place.
    pub(super) fn is_published(&self, root: &Folder) -> bool {
        let host = root
            .open_subfolder(&format!("date={}", self.date))
            .and_then(|date| date.open_subfolder(&format!("hour={}", self.hour)))
            .and_then(|hour| hour.open_subfolder(&format!("host={}", self.host)));
        host.and_then(|host| host.open_file(&format!("{}.parquet", self.stem))).is_ok()
    }

    /// What wrote the file, for its footer.
    pub(super) fn created_by() -> String {
        format!("tracer version {}", env!("CARGO_PKG_VERSION"))
    }
}

/// A footer as it stands aside.
pub(super) fn encode_footer(end: u64, groups: usize, footer: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(footer.len() + 24);
    content.extend(MAGIC);
    content.extend(end.to_le_bytes());
    content.extend((groups as u64).to_le_bytes());
    content.extend(footer);
    content
}

/// Takes apart what [`encode_footer`] made.
pub(super) fn decode_footer(content: &[u8]) -> Option<StoredFooter<'_>> {
    let (end, rest) = content.strip_prefix(MAGIC)?.split_first_chunk()?;
    let (groups, bytes) = rest.split_first_chunk()?;
    let groups = usize::try_from(u64::from_le_bytes(*groups)).ok()?;
    Some(StoredFooter { end: u64::from_le_bytes(*end), groups, bytes })
}

/// A name for this run that no other has, and that sorts by time.
pub(super) fn run_name() -> String {
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let random: String = random.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    format!("{}-{random}", now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S"))
}

/// The name of this host as it stands in a folder's name.
pub(super) fn host_name() -> String {
    use std::os::unix::ffi::OsStrExt;
    /// A file's name has 255 bytes, and more stands in it.
    const LONGEST: usize = 64;
    let name = nix::unistd::gethostname().unwrap_or_default();
    let text = file_name(name.as_bytes().iter().take(LONGEST));
    if text.is_empty() { "unknown".to_owned() } else { text }
}

/// A text as it can stand in a file's name: other bytes than those of host names become `%` and two
/// hexadecimal digits, as Hive writes them.
pub(super) fn file_name<'a>(text: impl IntoIterator<Item = &'a u8>) -> String {
    let mut name = String::new();
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                name.push(char::from(*byte));
            }
            _ => {
                let digits = [byte >> 4, byte & 0xf].map(|it| char::from_digit(it.into(), 16));
                name.push('%');
                name.extend(digits.into_iter().flatten().map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_says_when_and_where() {
        let hour = hour_of(1_700_000_000_000_000_000);
        let place = Place::new(hour, "web-1", "run", 7);
        let path = "date=2023-11-14/hour=22/host=web-1/part-run-00007.parquet";
        assert_eq!(place.path(), path);
    }

    #[test]
    fn names_aside_lead_back_to_the_place() {
        let place = Place::new(0, "web.example.org", "run", 0);
        assert_eq!(Place::parse(&place.data()), Some(Aside::Data(place.clone())));
        assert_eq!(Place::parse(&place.footer()), Some(Aside::Footer(place.clone())));
        assert_eq!(Place::parse(&place.journal(12)), Some(Aside::Journal(place, 12)));
        for name in ["lock", "a.data", "a,b,c.data", "a,b,c,d,e.data", "a,b,c,d.journal-x"] {
            assert_eq!(Place::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn footers_come_back(end: u64, groups: usize, footer: Vec<u8>) {
            let content = encode_footer(end, groups, &footer);
            let expected = StoredFooter { end, groups, bytes: &footer };
            prop_assert_eq!(decode_footer(&content), Some(expected));
        }

        #[test]
        fn any_bytes_are_a_footer_or_none(content: Vec<u8>) {
            let footer = decode_footer(&content);
            prop_assert!(footer.is_none_or(|footer| footer.bytes.len() + 24 == content.len()));
        }
    }
}
