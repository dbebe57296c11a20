//! Where a ledger is read from: the buffers of a configuration, or a report that was saved.

use std::io::Read;
use std::path::Path;

use super::Failure;
use crate::buffer::BufferKind;
use crate::buffer::inspect;
use crate::buffer::maintain::is_buffer;
use crate::cli::Flags;
use crate::cli::buffer::place::outputs_of;
use crate::engine::{self, OutputPlace};
use crate::plugin::{LedgerRow, Registry, merge_ledger, read_ledger};

/// Largest report that is read.
const MAX_REPORT: u64 = 256 << 20;

/// The rows of a source.
pub fn read(source: &Path, flags: &Flags, registry: &'static Registry) -> Result<Vec<LedgerRow>, Failure> {
    if source == Path::new("-") {
        return parse(source, &text(std::io::stdin().lock(), source)?);
    }
    let failed = |e| format!("can't read {}: {e}", source.display());
    let mut file = std::fs::File::open(source).map_err(failed)?;
    let mut first = [0; 1];
    // A saved report is one JSON object, and no configuration begins so.
    let saved = file.read(&mut first).map_err(failed)? == 1 && first == *b"{";
    if saved {
        let file = std::fs::File::open(source).map_err(failed)?;
        return parse(source, &text(file, source)?);
    }
    of_configuration(source, flags, registry)
}

fn text(from: impl Read, source: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = from.take(MAX_REPORT).read_to_string(&mut text);
    read.map_err(|e| format!("can't read {}: {e}", source.display()))?;
    Ok(text)
}

fn parse(source: &Path, text: &str) -> Result<Vec<LedgerRow>, Failure> {
    read_ledger(text).map_err(|e| format!("{}: {e}", source.display()))
}

/// What the directories of a configuration's buffers say, and the file below `root_dir`.
fn of_configuration(path: &Path, flags: &Flags, registry: &'static Registry) -> Result<Vec<LedgerRow>, Failure> {
    let (outputs, root_dir) = outputs_of(path, flags, registry)?;
    let mut rows = Vec::new();
    for output in &outputs {
        rows.extend(of_output(output)?);
    }
    if let Some(root) = root_dir {
        rows.extend(
            engine::kept_ledger(&root).map_err(|e| format!("can't read the ledger in {}: {e}", root.display()))?,
        );
    }
    Ok(merge_ledger(rows))
}

fn of_output(output: &OutputPlace) -> Result<Vec<LedgerRow>, Failure> {
    let Some(BufferKind::File { dir }) = output.buffer.as_ref().map(|buffer| &buffer.kind) else {
        return Ok(Vec::new());
    };
    if !is_buffer(dir) {
        return Ok(Vec::new());
    }
    let accounts = inspect::accounts(dir).map_err(|e| format!("can't read {}: {e}", dir.display()))?;
    let name = output.id.as_str().into();
    Ok(accounts.iter().map(|(key, account)| LedgerRow::new(&name, key, *account)).collect())
}
