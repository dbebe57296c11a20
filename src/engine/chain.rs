//! Runs a route's filters over a batch: judge by the bytes where that is enough, else decode once, edit, encode once.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::event::{Arena, Batch, BatchBuilder, Record};
use crate::plugin::{Event, Failure, Filter, Verdict};

/// A filter of the graph, with what it has seen.
pub struct FilterNode {
    /// `@id`, or one made up.
    pub id: String,
    /// `@type`
    pub kind: String,
    /// The plugin.
    pub filter: Arc<dyn Filter>,
    /// The span that it works in, for its `@log_level`.
    pub span: tracing::Span,
    /// Events that came in.
    pub seen: AtomicU64,
    /// Events that it dropped.
    pub dropped: AtomicU64,
}

/// What a chain gives: the events that went through, and copies of those that failed.
pub struct Filtered {
    /// What goes on to the match.
    pub batch: Batch,
    /// Copies for `@ERROR`.
    pub failures: Vec<Failure>,
    /// Events that a filter took out.
    pub dropped: u64,
}

/// Runs `filters` in order over a plain batch. Entries that can't be read are left out; inputs check what they take.
///
/// Events that filters judge by their bytes are not decoded. Those that stay are copied as they are, a run of them at once;
/// where all of them stay, the batch goes on itself.
pub fn run(filters: &[Arc<FilterNode>], batch: &Batch) -> Filtered {
    let arena = Arena::new();
    let mut event = Event {
        tag: &batch.tag,
        time: Default::default(),
        record: Record::new(),
        arena: &arena,
        failures: Vec::new(),
        more: Vec::new(),
    };
    let mut kept = Kept { batch, run: 0..0, count: 0, out: None };
    let mut counts = vec![(0u64, 0u64); filters.len()];
    let mut entries = batch.entries();
    loop {
        let start = entries.position();
        let Some(Ok(entry)) = entries.next() else { break };
        match judge(filters, entry.record, &mut counts) {
            Judged::Keep => kept.as_it_is(start..entries.position()),
            Judged::Drop => {}
            Judged::Undecided(at) => {
                event.time = entry.time;
                if event.record.decode_into(entry.record, &arena).is_ok() {
                    pass(&filters[at..], &mut event, &mut counts[at..], kept.changed());
                }
            }
        }
    }
    let all = counts.iter().map(|(_, dropped)| dropped).sum();
    for (node, (seen, dropped)) in filters.iter().zip(counts) {
        node.seen.fetch_add(seen, Relaxed);
        node.dropped.fetch_add(dropped, Relaxed);
    }
    Filtered { failures: event.failures, batch: kept.finish(), dropped: all }
}

/// What filters say of an encoded record.
enum Judged {
    /// It stays as it is.
    Keep,
    /// It ends here.
    Drop,
    /// It has to be decoded for the filter at this place; those before it keep it.
    Undecided(usize),
}

fn judge(filters: &[Arc<FilterNode>], record: &[u8], counts: &mut [(u64, u64)]) -> Judged {
    for (at, (node, (seen, dropped))) in filters.iter().zip(counts).enumerate() {
        match node.filter.judge(record) {
            Some(Verdict::Keep) => *seen += 1,
            Some(Verdict::Drop) => {
                *seen += 1;
                *dropped += 1;
                return Judged::Drop;
            }
            None => return Judged::Undecided(at),
        }
    }
    Judged::Keep
}

/// The events of a batch that stay.
struct Kept<'b> {
    batch: &'b Batch,
    /// Entries that stay as they are and were not copied yet.
    run: Range<usize>,
    count: u32,
    /// Made when something has to be copied.
    out: Option<BatchBuilder>,
}

impl Kept<'_> {
    fn as_it_is(&mut self, entry: Range<usize>) {
        if self.run.end != entry.start {
            self.copy();
            self.run.start = entry.start;
        }
        self.run.end = entry.end;
        self.count += 1;
    }

    /// Where a changed event goes.
    fn changed(&mut self) -> &mut BatchBuilder {
        self.copy();
        self.run = 0..0;
        self.out()
    }

    fn out(&mut self) -> &mut BatchBuilder {
        self.out.get_or_insert_with(|| BatchBuilder::with_capacity(self.batch.bytes().len()))
    }

    fn copy(&mut self) {
        let Some(entries) = self.batch.bytes().get(self.run.clone()).filter(|entries| !entries.is_empty()) else {
            return;
        };
        let count = std::mem::take(&mut self.count);
        self.out().push_run(entries, count);
    }

    fn finish(mut self) -> Batch {
        let tag = self.batch.tag.clone();
        if self.run == (0..self.batch.bytes().len()) {
            return Batch::new(tag, self.batch.bytes().clone(), self.count);
        }
        self.copy();
        self.out.unwrap_or_default().finish(tag)
    }
}

/// Takes an event through the filters into `out`, then those that came out of it through the rest of them.
fn pass<'a>(filters: &'a [Arc<FilterNode>], event: &mut Event<'a>, counts: &mut [(u64, u64)], out: &mut BatchBuilder) {
    let mut kept = true;
    let mut more = Vec::new();
    for (at, (node, (seen, dropped))) in filters.iter().zip(counts.iter_mut()).enumerate() {
        *seen += 1;
        kept = node.span.in_scope(|| node.filter.filter(event)) == Verdict::Keep;
        more.extend(event.more.drain(..).map(|found| (at + 1, found)));
        if !kept {
            *dropped += 1;
            break;
        }
    }
    if kept {
        out.push(event.time, &event.record);
    }
    for (next, (time, record)) in more {
        (event.time, event.record) = (time, record);
        pass(&filters[next..], event, &mut counts[next..], out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::{EventTime, RecordPath, Tag, Value};

    struct Odd;
    impl Filter for Odd {
        fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
            let Some(Value::Int(n)) = event.record.get(b"n") else { return Verdict::Drop };
            if n == 3 {
                event.fail("three");
            }
            event.record.set(b"seen", Value::Bool(true));
            if n % 2 == 1 { Verdict::Keep } else { Verdict::Drop }
        }
    }

    struct Twice;
    impl Filter for Twice {
        fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
            event.more.push((event.time, event.record.clone()));
            Verdict::Keep
        }
    }

    fn node(filter: impl Filter) -> Arc<FilterNode> {
        Arc::new(FilterNode {
            id: "f".into(),
            kind: "f".into(),
            filter: Arc::new(filter),
            span: tracing::Span::none(),
            seen: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    #[test]
    fn events_that_come_out_of_another_pass_the_filters_behind() {
        let mut b = BatchBuilder::new();
        let mut r = Record::new();
        r.set(b"n", Value::Int(1));
        b.push(EventTime::from_secs(1), &r);
        let got = run(&[node(Twice), node(Odd), node(Twice)], &b.finish(Tag::from("t")));
        assert_eq!(got.batch.len(), 4);
        let arena = Arena::new();
        for entry in got.batch.entries() {
            assert!(Record::decode(entry.unwrap().record, &arena).unwrap().get(b"seen").is_some());
        }
    }

    /// Keeps what its bytes say; what has no `n` it does not tell from its bytes.
    struct Small;
    impl Filter for Small {
        fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
            event.record.set(b"asked", Value::Bool(true));
            Verdict::Keep
        }

        fn judge(&self, record: &[u8]) -> Option<Verdict> {
            let n = RecordPath::parse("n").unwrap().find(record).unwrap()?;
            Some(if n == Value::Int(1) { Verdict::Keep } else { Verdict::Drop })
        }
    }

    fn numbered(numbers: &[Option<i64>]) -> Batch {
        let mut b = BatchBuilder::new();
        for n in numbers {
            let mut r = Record::new();
            n.iter().for_each(|n| r.set(b"n", Value::Int(*n)));
            b.push(EventTime::from_secs(b.count().into()), &r);
        }
        b.finish(Tag::from("t"))
    }

    /// Times and field counts.
    fn shown(batch: &Batch) -> Vec<(i64, usize)> {
        let arena = Arena::new();
        let entries: Vec<_> = batch.entries().map(Result::unwrap).collect();
        entries.iter().map(|e| (e.time.secs(), Record::decode(e.record, &arena).unwrap().len())).collect()
    }

    #[test]
    fn a_batch_of_which_all_stay_is_not_copied() {
        let batch = numbered(&[Some(1), Some(1)]);
        let got = run(&[node(Small), node(Small)], &batch).batch;
        assert_eq!((got.bytes().as_ptr(), got.len()), (batch.bytes().as_ptr(), 2));
    }

    #[test]
    fn judged_and_decoded_events_keep_their_order() {
        let batch = numbered(&[Some(2), Some(1), Some(1), None, Some(1), Some(3), Some(1), None]);
        let node = node(Small);
        let got = run(std::slice::from_ref(&node), &batch).batch;
        assert_eq!(shown(&got), [(1, 1), (2, 1), (3, 1), (4, 1), (6, 1), (7, 1)]);
        assert_eq!(got.len(), 6);
        assert_eq!((node.seen.load(Relaxed), node.dropped.load(Relaxed)), (8, 2));
        assert!(run(std::slice::from_ref(&node), &numbered(&[Some(2), Some(2)])).batch.is_empty());
        assert_eq!(shown(&run(std::slice::from_ref(&node), &numbered(&[Some(1), Some(2)])).batch), [(0, 1)]);
    }

    #[test]
    fn events_are_edited_dropped_and_failed_one_by_one() {
        let mut b = BatchBuilder::new();
        for n in 1..=4 {
            let mut r = Record::new();
            r.set(b"n", Value::Int(n));
            b.push(EventTime::from_secs(n), &r);
        }
        let node = node(Odd);
        let got = run(std::slice::from_ref(&node), &b.finish(Tag::from("t")));
        assert_eq!(got.batch.len(), 2);
        assert_eq!(got.failures.len(), 1);
        assert_eq!((node.seen.load(Relaxed), node.dropped.load(Relaxed)), (4, 2));
        let arena = Arena::new();
        let last = got.batch.entries().last().unwrap().unwrap();
        assert_eq!(Record::decode(last.record, &arena).unwrap().get(b"seen"), Some(Value::Bool(true)));
    }
}
