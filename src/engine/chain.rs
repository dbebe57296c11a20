//! Runs a route's filters over a batch: judge and add by the bytes where that is enough, else decode once, edit, encode once.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::event::{Added, Arena, Batch, BatchBuilder};
use crate::plugin::{Event, Failure, Filter, Verdict};

/// Events of a batch from which on it pays to ask filters what they set in all of them.
const MANY: u32 = 4;

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
/// where all of them stay, the batch goes on itself. Nor are those that only get the same fields as all others.
pub fn run(filters: &[Arc<FilterNode>], batch: &Batch) -> Filtered {
    let arena = Arena::new();
    let mut event = Event::new(&batch.tag, &arena);
    let mut encoded = Encoded::new(filters, batch);
    let mut kept = Kept { batch, run: 0..0, count: 0, out: None };
    let mut counts = vec![(0u64, 0u64); filters.len()];
    let mut entries = batch.entries();
    loop {
        let start = entries.position();
        let Some(Ok(entry)) = entries.next() else { break };
        match encoded.judge(entry.record, &mut counts) {
            Judged::Keep => kept.as_it_is(start..entries.position()),
            Judged::Changed => kept.changed().push_with(entry.time, |out| out.extend_from_slice(&encoded.record)),
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
    /// It stays, as the other record.
    Changed,
    /// It ends here.
    Drop,
    /// It has to be decoded for the filter at this place; those before it keep it.
    Undecided(usize),
}

/// Filters at work on encoded records.
struct Encoded<'f> {
    filters: &'f [Arc<FilterNode>],
    /// What those set that do nothing else; shorter where it is not known.
    sets: Vec<Option<Added>>,
    /// The record as it was changed.
    record: Vec<u8>,
    spare: Vec<u8>,
}

impl<'f> Encoded<'f> {
    fn new(filters: &'f [Arc<FilterNode>], batch: &Batch) -> Encoded<'f> {
        let many = batch.count().is_none_or(|count| count >= MANY);
        let asked = if many { filters } else { &[] };
        let sets = asked.iter().map(|node| node.span.in_scope(|| node.filter.sets(&batch.tag))).collect();
        Encoded { filters, sets, record: Vec::new(), spare: Vec::new() }
    }

    fn judge(&mut self, record: &[u8], counts: &mut [(u64, u64)]) -> Judged {
        let mut changed = None;
        for (at, node) in self.filters.iter().enumerate() {
            let now = if changed.is_some() { &self.record } else { record };
            let added = self.sets.get(at).and_then(Option::as_ref);
            let verdict = match added {
                Some(added) => {
                    self.spare.clear();
                    added.set_in(now, &mut self.spare).is_ok_and(|done| done).then_some(Verdict::Keep)
                }
                None => node.filter.judge(now),
            };
            let Some(verdict) = verdict else {
                // What was added is added anew, to the decoded record.
                let from = changed.unwrap_or(at);
                counts[from..at].iter_mut().for_each(|(seen, _)| *seen -= 1);
                return Judged::Undecided(from);
            };
            counts[at].0 += 1;
            if verdict == Verdict::Drop {
                counts[at].1 += 1;
                return Judged::Drop;
            }
            if added.is_some() {
                std::mem::swap(&mut self.record, &mut self.spare);
                changed.get_or_insert(at);
            }
        }
        if changed.is_some() { Judged::Changed } else { Judged::Keep }
    }
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
    use crate::event::{EventTime, Record, RecordPath, Tag, Value};

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

    /// Sets a field to the tag.
    struct Tagged;
    impl Filter for Tagged {
        fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
            event.record.set(b"tag", Value::Str(event.tag.as_bytes()));
            Verdict::Keep
        }

        fn sets(&self, tag: &Tag) -> Option<Added> {
            let mut added = Added::default();
            added.push(b"tag", Value::Str(tag.as_bytes()));
            Some(added)
        }
    }

    #[test]
    fn added_fields_are_there_for_the_filters_behind_and_each_event_is_counted_once() {
        let filters = [node(Small), node(Tagged), node(Small), node(Odd)];
        let batch = numbered(&[Some(1), None, Some(2), Some(1), None]);
        for filters in [&filters[..3], &filters] {
            let got = run(filters, &batch).batch;
            let arena = Arena::new();
            for entry in got.entries() {
                let record = Record::decode(entry.unwrap().record, &arena).unwrap();
                assert_eq!(record.get(b"tag"), Some(Value::Str(b"t")));
            }
        }
        let counts = filters.map(|node| (node.seen.load(Relaxed), node.dropped.load(Relaxed)));
        assert_eq!(counts, [(10, 2), (8, 0), (8, 0), (4, 2)]);
    }

    #[test]
    fn an_added_field_that_is_there_already_is_set_in_its_place() {
        let mut b = BatchBuilder::new();
        for names in [&[&b"tag"[..], b"n"][..], &[b"n"], &[b"n"], &[b"n", b"tag"]] {
            let mut r = Record::new();
            names.iter().for_each(|name| r.set(name, Value::Int(7)));
            b.push(EventTime::from_secs(1), &r);
        }
        let got = run(&[node(Tagged)], &b.finish(Tag::from("t"))).batch;
        let arena = Arena::new();
        let records: Vec<_> = got.entries().map(|e| Record::decode(e.unwrap().record, &arena).unwrap()).collect();
        let names = |r: &Record<'_>| r.iter().map(|(n, _)| String::from_utf8_lossy(n).into_owned()).collect::<Vec<_>>();
        assert_eq!(
            records.iter().map(names).collect::<Vec<_>>(),
            [["tag", "n"], ["n", "tag"], ["n", "tag"], ["n", "tag"]]
        );
        assert!(records.iter().all(|r| r.get(b"tag") == Some(Value::Str(b"t"))));
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
