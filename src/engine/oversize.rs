//! Events that are larger than a chunk may be: kept as a dead letter on disk, never dropped.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::buffer::Oversize;

/// Writes the refused events as MessagePack entries, with the reason beside them; both are synced when this returns.
///
/// Errors: what the disk says; then the whole batch is to be refused.
pub async fn keep(directory: PathBuf, over: &Oversize) -> io::Result<PathBuf> {
    let entries = over.refused.bytes().clone();
    let reason = format!(
        "tag {:?}: {} events of up to {} bytes are larger than the chunk limit of {} bytes\n",
        &*over.refused.tag,
        over.refused.len(),
        over.bytes,
        over.limit
    );
    tokio::task::spawn_blocking(move || write(&directory, &entries, &reason)).await.map_err(io::Error::other)?
}

fn write(directory: &Path, entries: &[u8], reason: &str) -> io::Result<PathBuf> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let name: String = id.iter().map(|b| format!("{b:02x}")).collect();
    let path = directory.join(format!("oversize.{name}.msgpack"));
    for (path, content) in [(path.with_extension("msgpack.reason"), reason.as_bytes()), (path.clone(), entries)] {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()?;
    }
    std::fs::File::open(directory)?.sync_all()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn entries_and_reason_are_kept_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(&dir.path().join("aside"), b"entries", "why").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"entries");
        assert_eq!(std::fs::read_to_string(path.with_extension("msgpack.reason")).unwrap(), "why");
    }
}
