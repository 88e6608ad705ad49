//! Object stores to which finished files are moved.

#[cfg(not(feature = "object-store"))]
mod absent;
#[cfg(feature = "object-store")]
mod store;

use std::path::{Path, PathBuf};

use super::place::file_name;

#[cfg(not(feature = "object-store"))]
use absent as store;
pub use store::{Sent, UploadError, upload_all};
pub(super) use store::{Store, Uploader};

/// Whether the text names an object store, and no folder.
pub fn is_url(text: &[u8]) -> bool {
    [&b"s3://"[..], b"gs://", b"az://"].iter().any(|scheme| text.starts_with(scheme))
}

/// The folder in the spool for what goes to this address.
pub fn spool_folder(spool: &Path, url: &str) -> PathBuf {
    spool.join(file_name(url.trim_end_matches('/').as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_folders() {
        let folder = spool_folder(Path::new("/spool"), "s3://bucket/a b/");
        assert_eq!(folder, Path::new("/spool/s3%3A%2F%2Fbucket%2Fa%20b"));
        assert!(is_url(b"s3://bucket") && !is_url(b"s3:/folder"));
    }
}
