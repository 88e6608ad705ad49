//! Files that destinations write to, before any is opened.

use std::path::{Path, PathBuf};

use super::{super::usage::UsageError, ExportConfig, Target};

/// The number in `/dev/fd/63`, which a shell writes for `>(command)`, and its like: links that the
/// kernel follows by magic, and tracer by the number.
pub(super) fn descriptor(path: &[u8]) -> Option<i32> {
    let names = [&b"/dev/fd/"[..], b"/proc/self/fd/"];
    let number = names.iter().find_map(|name| path.strip_prefix(*name))?;
    std::str::from_utf8(number).ok()?.parse().ok().filter(|fd| *fd >= 0)
}

/// Refuses two destinations that would write over each other.
pub(super) fn check(exports: &[ExportConfig], ledger: Option<&Path>) -> Result<(), UsageError> {
    let files = exports.iter().filter_map(|export| match export {
        ExportConfig::Text(Target::File(path)) | ExportConfig::Json(Target::File(path)) => {
            Some(path.as_path())
        }
        _ => None,
    });
    let mut seen = Vec::new();
    for path in files.chain(ledger.filter(|path| *path != Path::new("-"))) {
        let whole = in_whole(path);
        if seen.contains(&whole) {
            return Err(UsageError::SameFile(path.to_owned()));
        }
        seen.push(whole);
    }
    Ok(())
}

/// The file's name in the folder that its path leads to; the file need not be there.
fn in_whole(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_by_one_destination() {
        let file = |path: &str| ExportConfig::Json(Target::File(path.into()));
        let same = |a: &str, b: &str| check(&[file(a), file(b)], None).is_err();
        assert!(same("f", "f") && same("f", "./f") && same("/tmp/../tmp/f", "/tmp/f"));
        assert!(!same("f", "g") && !same("/tmp/f", "f"));
        assert!(check(&[file("f")], Some(Path::new("f"))).is_err());
        let stdout = [ExportConfig::Json(Target::Stdout), ExportConfig::Text(Target::Stdout)];
        assert!(check(&stdout, Some(Path::new("-"))).is_ok());
    }
}
