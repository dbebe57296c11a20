//! Where a partition is gone on with, and under which name buffers know what they have of it.
//!
//! The name holds cluster, group, topic and partition. A topic that was deleted and made again has the same name and other
//! messages under the same offsets; then the name gets a number more, so that buffers do not take new messages for old ones.
//! It is told by what can't be of one topic: buffers have more of it than there is, or the group, which commits before it
//! reads, has nothing committed.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::{Offset, TopicPartitionList};

use super::params::TopicParams;
use crate::plugin::Emitter;

/// Longest question to a broker.
const ASKING: Duration = Duration::from_secs(10);

/// Where partitions begin.
#[derive(Clone, Debug)]
pub enum Start {
    /// Where the group stands.
    Group {
        /// The group.
        name: String,
        /// A group that stands nowhere begins with what is there.
        from_beginning: bool,
    },
    /// Where buffers stand, or at the offset that is written.
    Partitions(Vec<TopicParams>),
}

/// A partition that begins.
#[derive(Debug, PartialEq)]
pub struct Begun {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first message to read.
    pub offset: Offset,
    /// What buffers know it as.
    pub stream: String,
    /// Where buffers stand, in order.
    pub cuts: Vec<i64>,
}

/// What is known of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    /// What the group has committed; `None` where it is not known, `Some(None)` where there is nothing.
    committed: Option<Option<i64>>,
    /// The first offset there is, and the one behind the last.
    bounds: Option<(i64, i64)>,
}

impl Start {
    /// Whether positions are committed.
    pub fn commits(&self) -> bool {
        matches!(self, Start::Group { .. })
    }

    fn name(&self) -> &str {
        match self {
            Start::Group { name, .. } => name,
            Start::Partitions(_) => "",
        }
    }

    /// The name of a stream, and where buffers stand in it.
    fn stream(
        &self,
        cluster: &str,
        place: (&str, i32),
        known: Known,
        held: impl Fn(&str) -> Vec<u64>,
    ) -> (String, Vec<i64>) {
        let base = format!("kafka:{cluster}/{}/{}/{}", self.name(), place.0, place.1);
        let (mut name, mut number, mut found) = (base.clone(), 0, held(&base));
        loop {
            let next = format!("{base}#{}", number + 1);
            let more = held(&next);
            if more.is_empty() {
                break;
            }
            (name, number, found) = (next, number + 1, more);
        }
        let Some(newest) = found.last().copied() else { return (name, Vec::new()) };
        let beyond = known.bounds.is_some_and(|(_, high)| newest > u64::try_from(high).unwrap_or(0));
        let forgotten = self.commits() && known.committed == Some(None);
        if beyond || forgotten {
            tracing::warn!(
                "{}/{}: buffers have messages up to {newest}, which are not of this topic any more: it was made anew, or what \
                 the group had committed is gone; it is read as a new one",
                place.0,
                place.1
            );
            return (format!("{base}#{}", number + 1), Vec::new());
        }
        (name, found.into_iter().filter_map(|held| i64::try_from(held).ok()).collect())
    }

    /// The first message to read.
    fn offset(&self, place: (&str, i32), known: Known, cuts: &[i64]) -> Offset {
        match self {
            Start::Group { from_beginning, .. } => match (known.committed, known.bounds) {
                (None, _) => Offset::Stored,
                (Some(Some(at)), Some((low, high))) => {
                    if at < low {
                        tracing::error!(
                            "{}/{}: {} messages before offset {low} were deleted by the brokers before they were read. What \
                             helps: a longer retention of the topic (retention.ms, retention.bytes), or more readers",
                            place.0,
                            place.1,
                            low - at
                        );
                    } else if at > high {
                        tracing::warn!(
                            "{}/{}: offset {at} was committed, and {high} is the last there is",
                            place.0,
                            place.1
                        );
                    }
                    Offset::Offset(at.clamp(low, high.max(low)))
                }
                (Some(Some(at)), None) => Offset::Offset(at),
                (Some(None), Some((low, high))) => Offset::Offset(if *from_beginning { low } else { high }),
                (Some(None), None) if *from_beginning => Offset::Beginning,
                (Some(None), None) => Offset::End,
            },
            Start::Partitions(all) => {
                let written = all.iter().find(|one| one.topic == place.0 && one.partition == place.1);
                match (cuts.first(), written.map_or(-1, |one| one.offset)) {
                    (Some(first), _) => Offset::Offset(*first),
                    (None, -1) => Offset::End,
                    (None, -2) => Offset::Beginning,
                    (None, at) => Offset::Offset(at),
                }
            }
        }
    }
}

/// Which cluster it is: the name that it has given itself.
fn cluster<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> String {
    consumer.client().fetch_cluster_id(ASKING).unwrap_or_default()
}

fn committed<C: ConsumerContext>(consumer: &BaseConsumer<C>, list: &TopicPartitionList) -> Option<TopicPartitionList> {
    consumer
        .committed_offsets(list.clone(), ASKING)
        .inspect_err(|e| tracing::warn!("committed offsets can't be looked up: {e}; librdkafka begins where they are"))
        .ok()
}

/// Where each partition of a list begins. Asks brokers, and blocks.
pub fn starts<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    start: &Start,
    list: &TopicPartitionList,
    emit: &Emitter,
) -> Vec<Begun> {
    let cluster = cluster(consumer);
    let found = if start.commits() { committed(consumer, list) } else { None };
    let (mut begun, mut first) = (Vec::new(), TopicPartitionList::new());
    // Brokers that have not answered once are not waited for with each partition.
    let mut is_answered = true;
    for element in list.elements() {
        let place = (element.topic(), element.partition());
        let element = found.as_ref().and_then(|found| found.find_partition(place.0, place.1));
        let known = Known {
            committed: element.filter(|e| e.error().is_ok()).map(|e| match e.offset() {
                Offset::Offset(at) => Some(at),
                _ => None,
            }),
            bounds: if is_answered { consumer.fetch_watermarks(place.0, place.1, ASKING).ok() } else { None },
        };
        is_answered &= known.bounds.is_some();
        let (stream, cuts) = start.stream(&cluster, place, known, |name| emit.held(name));
        let offset = start.offset(place, known, &cuts);
        if known.committed == Some(None)
            && let Err(e) = first.add_partition_offset(place.0, place.1, offset)
        {
            tracing::debug!("{e}");
        }
        begun.push(Begun { topic: place.0.to_owned(), partition: place.1, offset, stream, cuts });
    }
    // What is read has something committed from now on.
    if first.count() > 0
        && let Err(e) = consumer.commit(&first, CommitMode::Sync)
    {
        tracing::warn!("where reading begins can't be committed: {e}");
    }
    begun
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Start {
        Start::Group { name: "g".into(), from_beginning: true }
    }

    fn known(committed: Option<i64>, bounds: (i64, i64)) -> Known {
        Known { committed: Some(committed), bounds: Some(bounds) }
    }

    fn named(start: &Start, known: Known, held: &[(&str, &[u64])]) -> (String, Vec<i64>) {
        start.stream("c", ("t", 0), known, |name| {
            held.iter().find(|(n, _)| *n == name).map(|(_, at)| at.to_vec()).unwrap_or_default()
        })
    }

    #[test]
    fn buffers_know_a_partition_by_cluster_group_and_topic() {
        assert_eq!(named(&group(), known(None, (0, 10)), &[]), ("kafka:c/g/t/0".to_owned(), vec![]));
        let held: &[(&str, &[u64])] = &[("kafka:c/g/t/0", &[5, 7])];
        assert_eq!(named(&group(), known(Some(3), (0, 10)), held), ("kafka:c/g/t/0".to_owned(), vec![5, 7]));
    }

    #[test]
    fn a_topic_that_was_made_anew_is_another_stream() {
        let held: &[(&str, &[u64])] = &[("kafka:c/g/t/0", &[50])];
        let new = ("kafka:c/g/t/0#1".to_owned(), vec![]);
        // Less is there than buffers have; or nothing is committed, though it is before the first message is read.
        assert_eq!(named(&group(), known(Some(3), (0, 10)), held), new);
        assert_eq!(named(&group(), known(None, (0, 100)), held), new);
        let both: &[(&str, &[u64])] = &[("kafka:c/g/t/0", &[50]), ("kafka:c/g/t/0#1", &[4])];
        assert_eq!(named(&group(), known(Some(3), (0, 10)), both), ("kafka:c/g/t/0#1".to_owned(), vec![4]));
    }

    #[test]
    fn what_is_committed_counts_within_what_is_there() {
        let at = |committed, bounds| group().offset(("t", 0), known(committed, bounds), &[]);
        assert_eq!(at(Some(5), (0, 10)), Offset::Offset(5));
        assert_eq!(at(Some(5), (7, 10)), Offset::Offset(7));
        assert_eq!(at(Some(50), (7, 10)), Offset::Offset(10));
        assert_eq!(at(None, (7, 10)), Offset::Offset(7));
        let late = Start::Group { name: "g".into(), from_beginning: false };
        assert_eq!(late.offset(("t", 0), known(None, (7, 10)), &[]), Offset::Offset(10));
        assert_eq!(group().offset(("t", 0), Known::default(), &[]), Offset::Stored);
    }

    #[test]
    fn partitions_without_a_group_go_on_where_the_first_buffer_stands() {
        let one = TopicParams { topic: "t".into(), partition: 0, offset: -2 };
        let start = Start::Partitions(vec![one]);
        assert_eq!(start.offset(("t", 0), Known::default(), &[4, 9]), Offset::Offset(4));
        assert_eq!(start.offset(("t", 0), Known::default(), &[]), Offset::Beginning);
        assert_eq!(start.offset(("u", 0), Known::default(), &[]), Offset::End);
    }
}
