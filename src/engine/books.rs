//! The accounts of events that no file buffer keeps account of: those that filters drop, that nothing matches, that go
//! straight to an output, and those of memory buffers that are closed. Where `root_dir` is set they are kept in
//! `ledger.json` there: written every few seconds and at the end, so after a kill the last seconds are not in it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::warn;

use crate::buffer::{Account, AccountKey, Fate, OTHER_TAGS};
use crate::event::Tag;
use crate::plugin::{LedgerRow, read_ledger, write_ledger};

/// Name of the file below `root_dir`.
pub const LEDGER: &str = "ledger.json";
/// What stands for no output.
const NOWHERE: &str = "";
/// Accounts; past it tags are put together.
const MAX_ACCOUNTS: usize = 10_000;
/// Time between two writings.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// Largest file that is read.
const MAX_FILE: u64 = 64 << 20;

/// See the module's description.
#[derive(Default)]
pub struct Books {
    rows: Mutex<Rows>,
}

type Rows = BTreeMap<(Arc<str>, AccountKey), Account>;

impl Books {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Every change under the lock is whole by itself.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Books events that came through `input` and had this fate at an output, or at none.
    pub fn book(&self, output: Option<&Arc<str>>, input: &Arc<str>, tag: &Tag, fate: Fate, events: u64) {
        if events == 0 {
            return;
        }
        let mut account = Account::new(events, 0);
        account.add(fate, events);
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let key = AccountKey::new(input, tag, i64::try_from(micros).unwrap_or(i64::MAX));
        self.add(output.cloned().unwrap_or_else(|| NOWHERE.into()), key, &account);
    }

    /// Adds what a buffer says that is closed.
    pub fn absorb(&self, output: &Arc<str>, accounts: BTreeMap<AccountKey, Account>) {
        accounts.into_iter().for_each(|(key, account)| self.add(output.clone(), key, &account));
    }

    fn add(&self, output: Arc<str>, mut key: AccountKey, account: &Account) {
        let mut rows = self.rows();
        if rows.len() >= MAX_ACCOUNTS && !rows.contains_key(&(output.clone(), key.clone())) {
            key.tag = Tag::from(OTHER_TAGS);
        }
        rows.entry((output, key)).or_default().merge(account);
    }

    /// The accounts.
    pub fn report(&self) -> Vec<LedgerRow> {
        let rows = self.rows();
        rows.iter().map(|((output, key), account)| LedgerRow::new(output, key, *account)).collect()
    }

    /// Takes up what an earlier run wrote. What was in memory then is lost.
    pub fn open(root: &Path) -> Books {
        let books = Books::default();
        let path = root.join(LEDGER);
        match read(&path) {
            Ok(rows) => rows.into_iter().for_each(|row| books.take_up(row)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => warn!("{} can't be read, and the accounts in it begin anew: {e}", path.display()),
        }
        books
    }

    fn take_up(&self, row: LedgerRow) {
        let LedgerRow { output, key, mut account } = row;
        let held = std::mem::take(&mut account.held);
        account.add(Fate::Lost, held);
        self.add(output, key, &account);
    }
}

/// The accounts in the file below `root`; none where there is no file.
///
/// Errors: the file can't be read, or is no ledger.
pub fn kept(root: &Path) -> io::Result<Vec<LedgerRow>> {
    match read(&root.join(LEDGER)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        rows => rows,
    }
}

fn read(path: &Path) -> io::Result<Vec<LedgerRow>> {
    if std::fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::Error::other("it is too large"));
    }
    read_ledger(&std::fs::read_to_string(path)?).map_err(io::Error::other)
}

/// Writes accounts to the file below `root`: whole or not at all.
pub fn save(root: &Path, rows: &[LedgerRow]) -> io::Result<()> {
    let (path, half) = (root.join(LEDGER), root.join(format!("{LEDGER}.tmp")));
    std::fs::create_dir_all(root)?;
    let file = private(&half)?;
    io::Write::write_all(&mut &file, write_ledger(rows).as_bytes())?;
    file.sync_data()?;
    std::fs::rename(&half, &path)
}

fn private(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Writes accounts now and then, where they have changed.
pub async fn keep(root: PathBuf, rows: impl Fn() -> Vec<LedgerRow>) {
    let mut written = Vec::new();
    loop {
        tokio::time::sleep(KEEP_EVERY).await;
        let now = rows();
        if now == written {
            continue;
        }
        let (place, copy) = (root.clone(), now.clone());
        let saved = tokio::task::spawn_blocking(move || save(&place, &copy)).await;
        match saved.map_err(io::Error::other).and_then(|saved| saved) {
            Ok(()) => written = now,
            Err(e) => warn!("{} can't be written: {e}", root.join(LEDGER).display()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_in_memory_at_a_kill_is_lost_and_the_rest_goes_on() {
        let root = tempfile::tempdir().unwrap();
        let books = Books::default();
        let (input, output): (Arc<str>, Arc<str>) = ("in".into(), "out".into());
        books.book(None, &input, &Tag::from("t"), Fate::Filtered, 3);
        books.book(Some(&output), &input, &Tag::from("t"), Fate::Delivered, 4);
        let key = books.report()[1].key.clone();
        books.absorb(&output, [(key, Account::new(5, 5))].into());
        save(root.path(), &books.report()).unwrap();
        let rows = Books::open(root.path()).report();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].account.count(Fate::Filtered), 3);
        let out = rows[1].account;
        assert_eq!((out.taken_in, out.out(), out.count(Fate::Lost), out.missing()), (9, 4, 5, 0));
    }

    #[test]
    fn a_file_that_is_no_ledger_begins_anew() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(LEDGER), "no").unwrap();
        assert_eq!(Books::open(root.path()).report(), []);
    }
}
