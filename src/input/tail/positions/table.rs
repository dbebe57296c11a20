//! All positions of one position file, and which of them a file that was found goes on from.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use smallvec::SmallVec;

use super::super::identity::{Meta, Print, TAIL_BYTES, has_head, has_tail, head_print, nanos, read_at, same_birth};
use super::posfile::{self, Line, UNWATCHED};
use super::row::{Mark, Row};
use super::sidecar::{self, Head, Hint};

/// Files that are no longer followed and whose positions are kept, should they come back (renamed, changed again after
/// `limit_recently_modified`). Past it the oldest are forgotten, but none that came since files were looked for last: it
/// would be taken for one that nobody saw.
const MAX_PARKED: usize = 10_000;
/// Lines of files that are gone, which the position file keeps until the next compaction, as in Fluentd.
const MAX_GONE: usize = 1000;

/// How a file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Arrival {
    /// It was there at the start: one that was never seen is read from here on.
    AtStart { from: u64 },
    /// It came later, or took another's place: it is read from its head.
    Later,
}

/// A file that was found and is open.
pub(in super::super) struct Arrived<'a> {
    pub(in super::super) path: &'a Path,
    pub(in super::super) file: &'a File,
    pub(in super::super) meta: Meta,
    pub(in super::super) how: Arrival,
    /// The highest position of a stream that a buffer holds.
    pub(in super::super) newest: &'a dyn Fn(&str) -> Option<u64>,
}

impl Arrived<'_> {
    fn new_row(&self, mark: Mark, order: u64) -> Row {
        Row::new(self.path.to_owned(), self.meta.id, self.meta.born, mark, order)
    }
}

/// Positions by file.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Files that are followed.
    followed: BTreeMap<u64, Arc<Row>>,
    /// Files that are not, by order of parking.
    parked: BTreeMap<u64, Arc<Row>>,
    /// Where the parked rows of an inode are.
    by_inode: HashMap<u64, SmallVec<[u64; 1]>>,
    /// Whether positions belong to inodes alone (`follow_inodes`).
    follow_inodes: bool,
    /// Lines of a position file without hints: Fluentd wrote it.
    foreign: Vec<Line>,
    /// Inodes that paths had at the start.
    at_start: HashMap<PathBuf, u64>,
    gone: VecDeque<(PathBuf, u64)>,
    orders: u64,
    /// When files were looked for last; saved with the rows, and never without those of the files that were seen.
    pub(super) looked: Option<SystemTime>,
}

impl Table {
    /// Of both files' texts.
    ///
    /// Where the position file is the one that was saved with the hints, or right before them, these know it all. Another
    /// one was written by Fluentd or an operator: it is the truth about what it has lines of, and hints add to it.
    pub(super) fn load(position_file: &[u8], (head, hints): (Head, Vec<Hint>), follow_inodes: bool) -> Table {
        let mut table = Table { follow_inodes, looked: head.looked, ..Table::default() };
        let (lines, torn) = posfile::parse(position_file, follow_inodes);
        let lines: Vec<Line> = lines.into_iter().filter(|line| line.position != UNWATCHED).collect();
        table.at_start = lines.iter().map(|line| (line.path.clone(), line.inode)).collect();
        let known: HashSet<(&Path, u64)> = hints.iter().map(|hint| (&*hint.path, hint.id.inode)).collect();
        table.foreign = lines.iter().filter(|l| !known.contains(&(&*l.path, l.inode))).cloned().collect();
        let ours = head.lines.contains(&sidecar::hash(position_file));
        let by_file: HashMap<(&Path, u64), u64> = lines.iter().map(|l| ((&*l.path, l.inode), l.position)).collect();
        for hint in hints {
            let line = by_file.get(&(&*hint.path, hint.id.inode)).copied();
            if !ours && hint.listed {
                table.load_listed(hint, line, torn);
            } else {
                if hint.listed {
                    table.at_start.insert(hint.path.clone(), hint.id.inode);
                }
                table.load_row(hint);
            }
        }
        table
    }

    /// A hint for a file that had a line, beside a position file of somebody else.
    fn load_listed(&mut self, mut hint: Hint, line: Option<u64>, torn: bool) {
        let rotated = self.at_start.get(&hint.path).is_some_and(|inode| *inode != hint.id.inode);
        match line {
            // It was set back, to read again: under a new name, or buffers would take it for a repetition.
            Some(position) if position < hint.mark.position => {
                let mark = Mark { position, tail: Print::default(), ..hint.mark };
                let order = self.order();
                self.park(Arc::new(Row::new(hint.path, hint.id, hint.born, mark, order)));
            }
            Some(position) => {
                if position > hint.mark.position {
                    hint.mark = Mark { position, tail: Print::default(), ..hint.mark };
                }
                self.load_row(hint);
            }
            None if rotated || torn => {
                hint.listed &= !rotated;
                self.load_row(hint);
            }
            // The line was taken out on purpose.
            None => {}
        }
    }

    fn load_row(&mut self, hint: Hint) {
        let order = self.order();
        self.park(Arc::new(Row::from_hint(hint, order)));
    }

    fn order(&mut self) -> u64 {
        self.orders += 1;
        self.orders
    }

    fn park(&mut self, row: Arc<Row>) {
        let order = self.order();
        self.by_inode.entry(row.id.inode).or_default().push(order);
        self.parked.insert(order, row);
    }

    fn unpark(&mut self, order: u64) -> Option<Arc<Row>> {
        let row = self.parked.remove(&order)?;
        if let Some(orders) = self.by_inode.get_mut(&row.id.inode) {
            orders.retain(|o| *o != order);
            if orders.is_empty() {
                self.by_inode.remove(&row.id.inode);
            }
        }
        Some(row)
    }

    fn forget_oldest(&mut self) {
        let looked = self.looked.map_or(u64::MAX, nanos);
        while self.parked.len() > MAX_PARKED
            && let Some((oldest, row)) = self.parked.first_key_value()
            && row.born <= looked
        {
            let oldest = *oldest;
            self.unpark(oldest);
        }
    }

    /// The row that a file goes on with, and from where: its own mark. That may lag behind what buffers hold, and not all of
    /// them hold the same; what is read again is passed over by those that have it.
    pub(super) fn adopt(&mut self, arrived: &Arrived<'_>) -> io::Result<(Arc<Row>, Mark)> {
        let (row, start) = match self.resume(arrived)? {
            Some(resumed) => resumed,
            None => {
                let mark = mark_at(arrived.file, self.first_position(arrived))?;
                (Arc::new(arrived.new_row(mark, self.order())), mark)
            }
        };
        self.gone.retain(|(path, _)| path != arrived.path);
        self.followed.insert(row.order, row.clone());
        Ok((row, start))
    }

    fn first_position(&mut self, arrived: &Arrived<'_>) -> u64 {
        let meta = arrived.meta;
        let lines = self.foreign.iter().enumerate().filter(|(_, l)| l.inode == meta.id.inode);
        let best = lines.filter(|(_, l)| self.may_be(arrived, &l.path)).max_by_key(|(_, l)| l.path == arrived.path);
        if let Some(at) = best.map(|(at, _)| at) {
            let line = self.foreign.swap_remove(at);
            return if line.position <= meta.size { line.position } else { 0 };
        }
        let known = self.at_start.remove(arrived.path).is_some_and(|inode| inode != 0);
        match arrived.how {
            // A path that had another file in it when the position file was written: that one was rotated.
            Arrival::AtStart { from } if !known => from.min(meta.size),
            _ => 0,
        }
    }

    /// Whether a file that was known as `path` may be known as the arrived one's path now. Where it still is at its old
    /// path as well, these are two names of one file, and each has a position of its own.
    fn may_be(&self, arrived: &Arrived<'_>, path: &Path) -> bool {
        self.follow_inodes
            || path == arrived.path
            || !Meta::of_path(path).is_ok_and(|there| there.id == arrived.meta.id)
    }

    /// The parked row of the very file, if the bytes it has read are still there; else a new generation of it.
    fn resume(&mut self, arrived: &Arrived<'_>) -> io::Result<Option<(Arc<Row>, Mark)>> {
        let Some(row) = self.take_parked(arrived) else { return Ok(None) };
        let resumed = self.go_on(&row, arrived);
        if resumed.is_err() {
            // The next look may have more luck.
            self.park(row);
        }
        resumed.map(Some)
    }

    fn go_on(&mut self, row: &Arc<Row>, arrived: &Arrived<'_>) -> io::Result<(Arc<Row>, Mark)> {
        self.at_start.remove(arrived.path);
        let (meta, mark) = (arrived.meta, row.mark());
        let fresh = |mark| Ok((Arc::new(arrived.new_row(mark, row.order)), mark));
        if !still_has(arrived.file, meta.size, mark)? {
            return fresh(Mark::default());
        }
        if (arrived.newest)(&row.stream).is_some_and(|newest| newest > meta.size) {
            // Less is there than was taken: what a power cut took from the file, or worse. The mark is sure, and what
            // follows it must not be taken for a repetition.
            return fresh(mark);
        }
        if row.id != meta.id || row.born != meta.born {
            return Ok((Arc::new(row.renewed(arrived.path.to_owned(), meta.id, meta.born, mark)), mark));
        }
        row.set_path(arrived.path.to_owned());
        row.set_listed(true);
        Ok((row.clone(), mark))
    }

    fn take_parked(&mut self, arrived: &Arrived<'_>) -> Option<Arc<Row>> {
        let orders = self.by_inode.get(&arrived.meta.id.inode)?;
        let rows = orders.iter().filter_map(|order| Some((*order, self.parked.get(order)?)));
        let of_it =
            rows.filter(|(_, row)| same_birth(row.born, arrived.meta.born) && self.may_be(arrived, &row.path()));
        let best = of_it.max_by_key(|(order, row)| (row.path() == arrived.path, *order))?.0;
        self.unpark(best)
    }

    /// A parked row is followed again as it is, without a line in the position file: its file was found elsewhere.
    pub(super) fn take_over(&mut self, row: &Arc<Row>) {
        let orders = self.by_inode.get(&row.id.inode).cloned().unwrap_or_default();
        let same = |order: &u64| self.parked.get(order).is_some_and(|parked| Arc::ptr_eq(parked, row));
        if let Some(order) = orders.into_iter().find(same) {
            self.unpark(order);
        }
        row.set_listed(false);
        self.followed.insert(row.order, row.clone());
    }

    /// Number of files that are saved.
    pub(super) fn len(&self) -> usize {
        self.followed.len() + self.parked.len()
    }

    /// Rows of files with this inode that are not followed now.
    pub(super) fn parked_of(&self, inode: u64) -> Vec<Arc<Row>> {
        let orders = self.by_inode.get(&inode).into_iter().flatten();
        orders.filter_map(|order| self.parked.get(order).cloned()).collect()
    }

    /// Rows of files that are not followed now.
    pub(super) fn parked_rows(&self) -> Vec<Arc<Row>> {
        self.parked.values().cloned().collect()
    }

    /// Lines of files that are to be looked for.
    pub(super) fn foreign_lines(&self) -> &[Line] {
        &self.foreign
    }

    /// The start is over: what the position file named and was not found has no line any more, as in Fluentd.
    pub(super) fn settle(&mut self) {
        self.foreign.clear();
        self.at_start.clear();
        self.parked.values().for_each(|row| row.set_listed(false));
        self.forget_oldest();
    }

    /// A file is followed no longer. With `gone` its line stays, marked as unwatched, until the next compaction.
    pub(super) fn retire(&mut self, row: &Arc<Row>, gone: bool) {
        self.followed.remove(&row.order);
        if gone && row.is_listed() {
            self.gone.push_back((row.path(), row.id.inode));
            if self.gone.len() > MAX_GONE {
                self.gone.pop_front();
            }
        }
        row.set_listed(false);
        self.park(row.clone());
        self.forget_oldest();
    }

    /// Another file is at the path now: the row has no line in the position file any more.
    pub(super) fn unlist(&mut self, row: &Row) {
        if !self.follow_inodes {
            row.set_listed(false);
        }
    }

    /// A file that is still followed goes by another path from now on.
    pub(super) fn rename(&mut self, row: &Arc<Row>, path: &Path) {
        self.gone.retain(|(gone, _)| gone != path);
        row.set_path(path.to_owned());
        row.set_listed(true);
    }

    /// Gives back all rows: the input that followed them has ended.
    pub(super) fn release(&mut self) {
        let rows = std::mem::take(&mut self.followed);
        for row in rows.into_values() {
            if row.is_listed() {
                self.at_start.insert(row.path(), row.id.inode);
            }
            self.park(row);
        }
    }

    /// Forgets lines of files that are gone.
    pub(super) fn compact(&mut self) {
        self.gone.clear();
    }

    /// The lines of the position file, and all hints.
    pub(super) fn save(&self) -> (Vec<u8>, Vec<Hint>) {
        let mut lines = Vec::new();
        let mut rows: Vec<&Arc<Row>> = self.followed.values().chain(self.parked.values()).collect();
        rows.sort_by_key(|row| row.order);
        let hints: Vec<Hint> = rows.into_iter().map(|row| row.hint()).collect();
        let listed = hints.iter().filter(|hint| hint.listed).map(|h| (&h.path, h.mark.position, h.id.inode));
        let foreign = self.foreign.iter().map(|l| (&l.path, l.position, l.inode));
        let gone = self.gone.iter().map(|(path, inode)| (path, UNWATCHED, *inode));
        for (path, position, inode) in listed.chain(foreign).chain(gone).filter(|(path, ..)| posfile::can_hold(path)) {
            posfile::write_line(&mut lines, path, position, inode);
        }
        (lines, hints)
    }
}

/// A mark at a position of a file: its prints are of what is there now.
fn mark_at(file: &File, position: u64) -> io::Result<Mark> {
    let mut buf = [0; TAIL_BYTES];
    let want = usize::try_from(position).unwrap_or(TAIL_BYTES).min(TAIL_BYTES);
    let got = read_at(file, &mut buf[..want], position - want as u64)?;
    Ok(Mark { position, head: head_print(file, position)?, tail: Print::of(&buf[..got]) })
}

/// Whether the bytes that a mark stands for are still there.
pub(in super::super) fn still_has(file: &File, size: u64, mark: Mark) -> io::Result<bool> {
    Ok(size >= mark.position && has_head(file, mark.head)? && has_tail(file, mark.position, mark.tail)?)
}
