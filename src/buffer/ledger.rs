//! The ledger: what a buffer took in and what became of it, by input, tag and day.
//!
//! For each account: taken in = delivered + given to the secondary + dropped (by reason) + held. The sides are counted apart.
//! Each frame in a file says how many events its account had taken in with it; a chunk's end goes to the journal before its
//! file is removed; what is held is what the files hold. So a chunk file that vanishes, or a frame that is never sent, shows
//! as events that are missing, over kills and restarts too.
//!
//! A frame of the last group before a crash may be lost while others of that group are kept. Nobody was answered then, so
//! only those that are there count as taken in.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::civil::{Date, date};

use super::config::{MAX_ACCOUNTS, MAX_ORIGIN_BYTES};
use super::format::{put_short, take_short};
use super::id::ChunkId;
use super::letter::Cause;
use super::origin::digest_text;
use crate::event::Tag;

/// The tag of accounts that stand for several: where there are too many tags.
pub const OTHER_TAGS: &str = "(other tags)";
/// The day that days are counted from.
const EPOCH: Date = date(1970, 1, 1);
/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// What an account is kept for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountKey {
    /// Day on which the events were taken in, in days since the epoch, UTC; 0 stands for all days that are no longer told
    /// apart.
    pub day: u32,
    /// `@id` of the input.
    pub input: Arc<str>,
    /// The events' tag; a digest where it is too long.
    pub tag: Tag,
}

/// What became of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// The target took them.
    Delivered,
    /// The output of the `<secondary>` took them.
    Secondary,
    /// Set aside for this cause.
    SetAside(Cause),
    /// Dropped to make room (`overflow_action drop_oldest_chunk`).
    Overflow,
    /// Given up, where the configuration says that such chunks are not kept (`disable_chunk_backup`).
    Discarded,
    /// They were only in memory when the process ended, or in a file whose sync failed.
    Lost,
    /// Taken out by a filter, or by a match that nobody has.
    Filtered,
    /// No `<match>` has their tag.
    Unmatched,
    /// They could not be changed or read, and went to the log as there is no `@ERROR` label.
    Failed,
    /// Not known: the journal that told was damaged or removed.
    Unrecorded,
}

/// Every fate; the place of one here is its number in files.
const FATES: [Fate; 17] = [
    Fate::Delivered,
    Fate::Secondary,
    Fate::Overflow,
    Fate::Discarded,
    Fate::Lost,
    Fate::Filtered,
    Fate::Unmatched,
    Fate::Failed,
    Fate::SetAside(Cause::Rejected),
    Fate::SetAside(Cause::RetryLimit),
    Fate::SetAside(Cause::Shutdown),
    Fate::SetAside(Cause::Oversize),
    Fate::SetAside(Cause::Damaged),
    Fate::SetAside(Cause::Torn),
    Fate::SetAside(Cause::Unreadable),
    Fate::SetAside(Cause::Dropped),
    Fate::Unrecorded,
];

impl Fate {
    /// Its word in reports and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Delivered => "delivered",
            Fate::Secondary => "secondary",
            Fate::SetAside(cause) => cause.word(),
            Fate::Overflow => "overflow",
            Fate::Discarded => "discarded",
            Fate::Lost => "lost",
            Fate::Filtered => "filtered",
            Fate::Unmatched => "unmatched",
            Fate::Failed => "failed",
            Fate::Unrecorded => "unrecorded",
        }
    }

    /// The fate of a word.
    pub fn of(word: &str) -> Option<Fate> {
        FATES.into_iter().find(|fate| fate.word() == word)
    }

    fn number(self) -> usize {
        FATES.iter().position(|fate| *fate == self).unwrap_or(0)
    }
}

/// The two sides of an account, in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Taken in.
    pub taken_in: u64,
    /// Still in the buffer.
    pub held: u64,
    fates: [u64; FATES.len()],
}

impl Account {
    /// An account with events taken in and still held.
    pub fn new(taken_in: u64, held: u64) -> Account {
        Account { taken_in, held, ..Account::default() }
    }

    /// Events that had this fate.
    pub fn count(&self, fate: Fate) -> u64 {
        self.fates[fate.number()]
    }

    /// Adds events that had this fate.
    pub fn add(&mut self, fate: Fate, events: u64) {
        self.fates[fate.number()] += events;
    }

    /// Fates that some events had.
    pub fn fates(&self) -> impl Iterator<Item = (Fate, u64)> + '_ {
        FATES.into_iter().zip(self.fates).filter(|(_, events)| *events > 0)
    }

    /// Events that went out: delivered, or given to the secondary.
    pub fn out(&self) -> u64 {
        self.count(Fate::Delivered) + self.count(Fate::Secondary)
    }

    /// Events that were dropped or set aside, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (Fate, u64)> + '_ {
        self.fates().filter(|(fate, _)| !matches!(fate, Fate::Delivered | Fate::Secondary))
    }

    /// Events that are accounted for nowhere; below 0: more came out than went in. 0 where the account balances.
    pub fn missing(&self) -> i64 {
        let known = self.fates.iter().sum::<u64>() + self.held;
        self.taken_in.wrapping_sub(known) as i64
    }

    /// Adds another account to this one.
    pub fn merge(&mut self, other: &Account) {
        self.taken_in += other.taken_in;
        self.held += other.held;
        self.fates.iter_mut().zip(other.fates).for_each(|(sum, more)| *sum += more);
    }
}

impl AccountKey {
    /// The account of events that are taken in at `micros` since the epoch.
    pub fn new(input: &Arc<str>, tag: &Tag, micros: i64) -> AccountKey {
        let day = u32::try_from(micros.max(0) / DAY).unwrap_or(u32::MAX);
        let input = if input.len() > MAX_ORIGIN_BYTES { digest_text(input.as_bytes()).into() } else { input.clone() };
        AccountKey { day, input, tag: bounded(tag) }
    }

    /// The account that stands for several of its day.
    fn of_others(&self) -> AccountKey {
        AccountKey { tag: Tag::from(OTHER_TAGS), ..self.clone() }
    }

    fn is_of_others(&self) -> bool {
        &*self.tag == OTHER_TAGS
    }

    /// The day as a date, `2026-11-29`; nothing for the account of days that are no longer told apart.
    pub fn date(&self) -> Option<String> {
        let span = jiff::Span::new().try_days(self.day).ok()?;
        (self.day > 0).then(|| EPOCH.checked_add(span).ok()).flatten().map(|date| date.to_string())
    }

    /// The number of a day from its date.
    pub fn day_of(date: &str) -> Option<u32> {
        let date: Date = date.parse().ok()?;
        u32::try_from(EPOCH.until(date).ok()?.get_days()).ok()
    }

    /// Writes the key; [`decode`](Self::decode) reads it back.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.day.to_le_bytes());
        put_short(out, self.input.as_bytes());
        put_short(out, self.tag.as_bytes());
    }

    /// Reads what [`encode`](Self::encode) wrote and moves behind it.
    pub(super) fn decode(buf: &[u8], at: &mut usize) -> Option<AccountKey> {
        let day = u32::from_le_bytes(*buf.get(*at..)?.first_chunk()?);
        *at += 4;
        let input = std::str::from_utf8(take_short(buf, at)?).ok()?.into();
        let tag = Tag::from(std::str::from_utf8(take_short(buf, at)?).ok()?);
        Some(AccountKey { day, input, tag })
    }
}

fn bounded(tag: &Tag) -> Tag {
    if tag.len() > MAX_ORIGIN_BYTES { Tag::from(digest_text(tag.as_bytes()).as_str()) } else { tag.clone() }
}

/// What a frame says of its account.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entered {
    pub(super) input: Arc<str>,
    pub(super) day: u32,
    /// It is the account of several tags.
    pub(super) others: bool,
    /// Events that the account had taken in, with those of this frame.
    pub(super) upto: u64,
}

impl Entered {
    pub(super) fn new(key: &AccountKey, upto: u64) -> Entered {
        Entered { input: key.input.clone(), day: key.day, others: key.is_of_others(), upto }
    }

    /// The account of a frame whose events have this tag.
    fn key(&self, tag: &Tag) -> AccountKey {
        let key = AccountKey { day: self.day, input: self.input.clone(), tag: bounded(tag) };
        if self.others { key.of_others() } else { key }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.upto.to_le_bytes());
        out.extend_from_slice(&self.day.to_le_bytes());
        out.push(u8::from(self.others));
        put_short(out, self.input.as_bytes());
    }

    pub(super) fn decode(buf: &[u8], at: &mut usize) -> Option<Entered> {
        let upto = u64::from_le_bytes(*buf.get(*at..)?.first_chunk()?);
        let day = u32::from_le_bytes(*buf.get(*at + 8..)?.first_chunk()?);
        let others = *buf.get(*at + 12)? != 0;
        *at += 13;
        let input = std::str::from_utf8(take_short(buf, at)?).ok()?.into();
        Some(Entered { input, day, others, upto })
    }
}

/// Longest [`Entered`] in a head, in bytes.
pub(super) const MAX_ENTERED: usize = 13 + 2 + MAX_ORIGIN_BYTES;

/// The accounts of the events of one chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally(HashMap<Arc<AccountKey>, Share>);

/// A chunk's share of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Share {
    count: u64,
    /// Highest that a frame said of events taken in.
    upto: u64,
    /// The newest group with frames of the account, and the events in these.
    last: u64,
    last_count: u64,
    /// Highest that a frame of an older group said.
    older: u64,
}

impl Tally {
    /// Takes note of a frame.
    pub(super) fn add(&mut self, entered: &Entered, tag: &Tag, count: u64, group: u64) {
        let key = entered.key(tag);
        match self.0.get_mut(&key) {
            Some(share) => share.add(count, entered.upto, group),
            None => {
                let share = Share { count, upto: entered.upto, last: group, last_count: count, older: 0 };
                self.0.insert(Arc::new(key), share);
            }
        }
    }

    /// Events by account.
    pub(super) fn shares(&self) -> Shares {
        self.0.iter().map(|(key, share)| (key.clone(), share.count)).collect()
    }

    /// Writes each account: its key, its events and the highest that was said of it.
    pub(super) fn encode(&self, mut entry: impl FnMut(&AccountKey, u64, u64)) {
        self.0.iter().for_each(|(key, share)| entry(key, share.count, share.upto));
    }

    /// Takes note of what [`encode`](Self::encode) gave of a chunk whose newest group is `group`.
    pub(super) fn add_share(&mut self, key: AccountKey, count: u64, upto: u64, group: u64) {
        let share = Share { count, upto, last: group, last_count: count, older: upto };
        self.0.insert(Arc::new(key), share);
    }
}

impl Share {
    fn add(&mut self, count: u64, upto: u64, group: u64) {
        if group != self.last {
            (self.older, self.last, self.last_count) = (self.upto, group, 0);
        }
        self.count += count;
        self.last_count += count;
        self.upto = self.upto.max(upto);
    }
}

/// Events by account.
pub(super) type Shares = Box<[(Arc<AccountKey>, u64)]>;

/// Events of a chunk that end otherwise than the rest of it, by tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Apart {
    /// How they end.
    pub fate: Fate,
    /// How many of each tag.
    pub events: Vec<(Tag, u64)>,
}

impl Apart {
    /// How many belong to an account's share of `count` events; they are counted once.
    fn take(&mut self, key: &AccountKey, count: u64) -> u64 {
        let mut taken = 0;
        for (tag, events) in &mut self.events {
            if key.is_of_others() || key.tag == bounded(tag) {
                let some = (*events).min(count - taken);
                *events -= some;
                taken += some;
            }
        }
        taken
    }
}

/// What became of a chunk's events of one account.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settled {
    pub(super) chunk: ChunkId,
    pub(super) key: Arc<AccountKey>,
    pub(super) fate: Fate,
    /// All of them.
    pub(super) count: u64,
    /// Those of them that could not be read and were set aside for that.
    pub(super) damaged: u64,
    /// Those of them that had another fate.
    pub(super) apart: Option<(Fate, u64)>,
    /// Events that the account had taken in until now.
    pub(super) upto: u64,
    /// The newest group with events of the account.
    pub(super) group: u64,
}

impl Settled {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.chunk.0);
        out.push(self.fate.number() as u8);
        for number in [self.count, self.damaged, self.upto, self.group] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.key.encode(out);
        if let Some((fate, events)) = self.apart {
            out.push(fate.number() as u8);
            out.extend_from_slice(&events.to_le_bytes());
        }
    }

    pub(super) fn decode(body: &[u8]) -> Option<Settled> {
        let (chunk, rest) = body.split_first_chunk()?;
        let (fate, rest) = rest.split_first()?;
        let (numbers, rest) = rest.split_first_chunk::<32>()?;
        let number = |n: usize| numbers[8 * n..].first_chunk().map(|b| u64::from_le_bytes(*b));
        let mut at = 0;
        let key = Arc::new(AccountKey::decode(rest, &mut at)?);
        let apart = match rest[at..].split_first() {
            Some((fate, events)) => Some((*FATES.get(usize::from(*fate))?, u64::from_le_bytes(*events.first_chunk()?))),
            None => None,
        };
        Some(Settled {
            chunk: ChunkId(*chunk),
            key,
            apart,
            fate: *FATES.get(usize::from(*fate))?,
            count: number(0)?,
            damaged: number(1)?,
            upto: number(2)?,
            group: number(3)?,
        })
    }
}

/// An account as a journal that is written anew has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Balance {
    pub(super) key: Arc<AccountKey>,
    pub(super) account: Account,
    pub(super) group: u64,
}

impl Balance {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.group.to_le_bytes());
        out.extend_from_slice(&self.account.taken_in.to_le_bytes());
        self.key.encode(out);
        for (fate, events) in self.account.fates() {
            out.push(fate.number() as u8);
            out.extend_from_slice(&events.to_le_bytes());
        }
    }

    pub(super) fn decode(body: &[u8]) -> Option<Balance> {
        let (group, rest) = body.split_first_chunk()?;
        let (taken_in, rest) = rest.split_first_chunk()?;
        let mut account = Account { taken_in: u64::from_le_bytes(*taken_in), ..Account::default() };
        let mut at = 0;
        let key = Arc::new(AccountKey::decode(rest, &mut at)?);
        let mut fates = &rest[at..];
        while let Some((fate, more)) = fates.split_first() {
            let (events, more) = more.split_first_chunk()?;
            account.add(*FATES.get(usize::from(*fate))?, u64::from_le_bytes(*events));
            fates = more;
        }
        Some(Balance { key, account, group: u64::from_le_bytes(*group) })
    }
}

/// Longest body of a [`Settled`] or a [`Balance`], in bytes.
pub(super) const MAX_ENTRY_BYTES: usize = 64 + 8 + 2 * (2 + MAX_ORIGIN_BYTES) + FATES.len() * 9;

#[derive(Clone, Debug, Default)]
struct Row {
    account: Account,
    /// Events of the present group.
    fresh: u64,
    /// The newest group with events of it.
    group: u64,
}

/// All accounts of a buffer.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    rows: HashMap<Arc<AccountKey>, Row>,
    /// Accounts with events of the present group.
    touched: Vec<Arc<AccountKey>>,
    /// The day on which accounts were put together last.
    folded: u32,
}

impl Ledger {
    /// Events of the present group enter the account of `input`, `tag` and the time; gives what a frame says of it.
    pub(super) fn enter(&mut self, input: &Arc<str>, tag: &Tag, micros: i64, count: u64) -> Entered {
        let key = self.known(AccountKey::new(input, tag, micros));
        let row = self.rows.entry(key.clone()).or_default();
        if row.fresh == 0 {
            self.touched.push(key.clone());
        }
        row.fresh += count;
        Entered::new(&key, row.account.taken_in + row.fresh)
    }

    fn known(&mut self, key: AccountKey) -> Arc<AccountKey> {
        if let Some((known, _)) = self.rows.get_key_value(&key) {
            return known.clone();
        }
        if self.rows.len() >= MAX_ACCOUNTS && self.folded != key.day {
            self.fold(key.day);
            self.folded = key.day;
        }
        // A few more than that are kept: one for each input and day.
        let key = if self.rows.len() >= MAX_ACCOUNTS { key.of_others() } else { key };
        match self.rows.get_key_value(&key) {
            Some((known, _)) => known.clone(),
            None => Arc::new(key),
        }
    }

    /// Puts settled accounts of days before `today` together.
    fn fold(&mut self, today: u32) {
        let settled = |key: &AccountKey, row: &Row| key.day < today && row.account.held == 0 && row.fresh == 0;
        let old: Vec<_> = self.rows.extract_if(|key, row| key.day > 0 && settled(key, row)).collect();
        for (key, row) in old {
            let all = Arc::new(AccountKey { day: 0, ..key.of_others() });
            self.rows.entry(all).or_default().account.merge(&row.account);
        }
    }

    /// The present group counts.
    pub(super) fn keep(&mut self, group: u64) {
        for key in self.touched.drain(..) {
            let Some(row) = self.rows.get_mut(&key) else { continue };
            let fresh = std::mem::take(&mut row.fresh);
            row.account.taken_in += fresh;
            row.account.held += fresh;
            row.group = group;
        }
    }

    /// The present group does not count.
    pub(super) fn take_back(&mut self) {
        for key in self.touched.drain(..) {
            if let Some(row) = self.rows.get_mut(&key) {
                row.fresh = 0;
            }
        }
    }

    /// What is to be recorded of a chunk that ends so; `damaged` of its events could not be read.
    pub(super) fn settled(
        &self,
        chunk: ChunkId,
        shares: &Shares,
        fate: Fate,
        apart: Option<&Apart>,
        mut damaged: u64,
    ) -> Vec<Settled> {
        let mut apart = apart.cloned();
        let settled = shares.iter().map(|(key, count)| {
            let lost = damaged.min(*count);
            damaged -= lost;
            let (upto, group) = self.rows.get(key).map_or((0, 0), |row| (row.account.taken_in, row.group));
            let apart = apart.as_mut().map(|apart| (apart.fate, apart.take(key, *count - lost)));
            Settled { chunk, key: key.clone(), fate, count: *count, damaged: lost, apart, upto, group }
        });
        settled.collect()
    }

    /// Books it.
    pub(super) fn settle(&mut self, settled: &[Settled]) {
        for one in settled {
            let Some(row) = self.rows.get_mut(&one.key) else { continue };
            row.account.held = row.account.held.saturating_sub(one.count);
            row.account.settle(one);
        }
    }

    /// Everything that is held was in memory, and the process ends.
    pub(super) fn lose(&mut self) {
        for row in self.rows.values_mut() {
            let held = std::mem::take(&mut row.account.held);
            row.account.add(Fate::Lost, held);
        }
    }

    /// The accounts for a journal that is written anew.
    pub(super) fn balances(&self) -> Vec<Balance> {
        let rows = self.rows.iter().filter(|(_, row)| row.account != Account::default());
        rows.map(|(key, row)| Balance { key: key.clone(), account: row.account, group: row.group }).collect()
    }

    /// The accounts, in order.
    pub(super) fn accounts(&self) -> BTreeMap<AccountKey, Account> {
        let rows = self.rows.iter().filter(|(_, row)| row.account != Account::default());
        rows.map(|(key, row)| ((**key).clone(), row.account)).collect()
    }
}

impl Account {
    fn settle(&mut self, end: &Settled) {
        let (fate, events) = end.apart.unwrap_or((end.fate, 0));
        self.add(end.fate, end.count.saturating_sub(end.damaged + events));
        self.add(fate, events);
        self.add(Fate::SetAside(Cause::Damaged), end.damaged);
    }
}

/// What a journal says of the accounts.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorded {
    ledger: Ledger,
    /// Ends of chunks that count only if the chunk's file is not there.
    pending: HashMap<ChunkId, Vec<Settled>>,
    /// Highest group that is known to be whole.
    whole: u64,
}

impl Recorded {
    pub(super) fn balance(&mut self, balance: Balance) {
        self.whole = self.whole.max(balance.group);
        let row = Row { account: balance.account, fresh: 0, group: balance.group };
        self.ledger.rows.insert(balance.key, row);
    }

    pub(super) fn settled(&mut self, settled: Settled) {
        self.whole = self.whole.max(settled.group);
        let row = self.ledger.rows.entry(settled.key.clone()).or_default();
        row.account.taken_in = row.account.taken_in.max(settled.upto);
        row.group = row.group.max(settled.group);
        let ends = self.pending.entry(settled.chunk).or_default();
        // An end that did not come about, and was recorded again.
        ends.retain(|end| end.fate == settled.fate && end.key != settled.key);
        ends.push(settled);
    }

    pub(super) fn watermark(&mut self, group: u64) {
        self.whole = self.whole.max(group);
    }

    pub(super) fn gone(&mut self, id: ChunkId) {
        for end in self.pending.remove(&id).unwrap_or_default() {
            self.book(&end);
        }
    }

    fn book(&mut self, end: &Settled) {
        let row = self.ledger.rows.entry(end.key.clone()).or_default();
        row.account.settle(end);
    }
}

/// What the files of a buffer hold, by account.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings {
    rows: HashMap<Arc<AccountKey>, Holding>,
    chunks: HashSet<ChunkId>,
    newest: u64,
    whole: u64,
}

/// The shares of all files in an account, put together.
#[derive(Clone, Debug, Default)]
struct Holding {
    held: u64,
    upto: u64,
    last: u64,
    last_count: u64,
    older: u64,
}

impl Holdings {
    /// Takes note of a chunk's file. `sealed`: it has a footer, so its newest group is whole.
    pub(super) fn add(&mut self, id: ChunkId, tally: &Tally, group: u64, sealed: bool) {
        self.chunks.insert(id);
        self.newest = self.newest.max(group);
        if sealed {
            self.whole = self.whole.max(group);
        }
        for (key, share) in &tally.0 {
            self.rows.entry(key.clone()).or_default().add(share);
        }
    }

    /// The accounts: what the journal recorded and what the files hold. `missing` is the fate of events that are in neither,
    /// where the state of the directory explains them.
    pub(super) fn settle(&self, mut recorded: Recorded, missing: Option<Fate>) -> Ledger {
        let pending = std::mem::take(&mut recorded.pending);
        for (id, ends) in pending {
            if !self.chunks.contains(&id) {
                ends.iter().for_each(|end| recorded.book(end));
            }
        }
        let whole = recorded.whole.max(self.whole);
        let mut ledger = recorded.ledger;
        for (key, holding) in &self.rows {
            let row = ledger.rows.entry(key.clone()).or_default();
            let half = self.newest > whole && holding.last == self.newest;
            row.account.held += holding.held;
            row.account.taken_in = holding.taken_in(row.account.taken_in, half);
            row.group = row.group.max(holding.last);
        }
        if let Some(fate) = missing {
            ledger.rows.values_mut().for_each(|row| row.book_missing(fate));
        }
        ledger
    }
}

impl Holding {
    fn add(&mut self, share: &Share) {
        self.held += share.count;
        match share.last.cmp(&self.last) {
            Ordering::Greater => {
                self.older = self.upto.max(share.older);
                (self.last, self.last_count) = (share.last, share.last_count);
            }
            Ordering::Equal => {
                self.older = self.older.max(share.older);
                self.last_count += share.last_count;
            }
            Ordering::Less => self.older = self.older.max(share.upto),
        }
        self.upto = self.upto.max(share.upto);
    }

    /// Events taken in, where the journal tells of `recorded`. `half`: some frames of the newest group may be lost, of which
    /// nobody was told.
    fn taken_in(&self, recorded: u64, half: bool) -> u64 {
        if half { self.older.max(recorded) + self.last_count } else { self.upto.max(recorded) }
    }
}

impl Row {
    fn book_missing(&mut self, fate: Fate) {
        let missing = self.account.missing();
        if missing > 0 {
            self.account.add(fate, missing as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(day: u32, tag: &str) -> AccountKey {
        AccountKey { day, input: "in".into(), tag: Tag::from(tag) }
    }

    #[test]
    fn events_that_end_otherwise_are_booked_on_the_accounts_of_their_tags() {
        let (a, b) = (Arc::new(key(1, "a")), Arc::new(key(1, "b")));
        let mut ledger = Ledger::default();
        for (key, count) in [(&a, 3), (&b, 4)] {
            let row = Row { account: Account::new(count, count), fresh: 0, group: 1 };
            ledger.rows.insert(key.clone(), row);
        }
        let shares: Shares = [(a.clone(), 3), (b.clone(), 4)].into();
        let refused = Apart { fate: Fate::SetAside(Cause::Rejected), events: vec![(Tag::from("b"), 3)] };
        let settled = ledger.settled(ChunkId([1; 16]), &shares, Fate::Delivered, Some(&refused), 0);
        ledger.settle(&settled);
        let accounts = ledger.accounts();
        let counts = |key: &AccountKey| {
            let account = accounts[key];
            (account.count(Fate::Delivered), account.count(Fate::SetAside(Cause::Rejected)), account.missing())
        };
        assert_eq!((counts(&a), counts(&b)), ((3, 0, 0), (1, 3, 0)));
    }

    #[test]
    fn entries_of_the_journal_come_back_from_their_bytes() {
        let key = Arc::new(key(20_786, "a.b"));
        let settled = Settled {
            chunk: ChunkId([7; 16]),
            key: key.clone(),
            fate: Fate::SetAside(Cause::Rejected),
            count: 1,
            damaged: 2,
            apart: Some((Fate::Delivered, 5)),
            upto: 3,
            group: 4,
        };
        let mut out = Vec::new();
        settled.encode(&mut out);
        assert!(out.len() <= MAX_ENTRY_BYTES);
        assert_eq!(Settled::decode(&out), Some(settled.clone()));
        let whole = Settled { apart: None, ..settled };
        out.clear();
        whole.encode(&mut out);
        assert_eq!(Settled::decode(&out), Some(whole));
        let mut account = Account::new(9, 0);
        FATES.into_iter().for_each(|fate| account.add(fate, 1));
        let balance = Balance { key, account, group: 5 };
        let mut out = Vec::new();
        balance.encode(&mut out);
        assert!(out.len() <= MAX_ENTRY_BYTES);
        assert_eq!(Balance::decode(&out), Some(balance));
        assert!((0..out.len() - 1).all(|cut| Balance::decode(&out[..cut]).is_none_or(|b| b.account.taken_in == 9)));
    }

    #[test]
    fn long_names_fit_an_entry() {
        let input: Arc<str> = "i".repeat(5_000).into();
        let key = AccountKey::new(&input, &Tag::from("t".repeat(5_000).as_str()), 20_786 * DAY);
        let mut out = Vec::new();
        Balance { key: Arc::new(key.clone()), account: Account::default(), group: 0 }.encode(&mut out);
        assert!(out.len() <= MAX_ENTRY_BYTES);
        assert_eq!(key.date().as_deref(), Some("2026-11-29"));
        assert_eq!(AccountKey::day_of("2026-11-29"), Some(20_786));
    }

    #[test]
    fn accounts_are_bounded_and_old_ones_are_put_together() {
        let mut ledger = Ledger::default();
        let input: Arc<str> = "in".into();
        for day in [10, 11] {
            for n in 0..MAX_ACCOUNTS {
                ledger.enter(&input, &Tag::from(n.to_string().as_str()), day * DAY, 1);
                ledger.keep(1);
            }
            if day == 10 {
                ledger.rows.values_mut().for_each(|row| (row.account.held, row.fresh) = (0, 0));
                ledger.rows.values_mut().for_each(|row| row.account.add(Fate::Delivered, 1));
            }
        }
        ledger.enter(&input, &Tag::from("one more"), 11 * DAY, 1);
        ledger.keep(1);
        assert!(ledger.rows.len() <= MAX_ACCOUNTS + 2, "{}", ledger.rows.len());
        let mut all = Account::default();
        ledger.accounts().values().for_each(|account| all.merge(account));
        assert_eq!((all.taken_in, all.missing()), (2 * MAX_ACCOUNTS as u64 + 1, 0));
        // The account of what was put together takes one place.
        assert_eq!(ledger.accounts()[&key(11, OTHER_TAGS)].taken_in, 2);
        assert_eq!(ledger.accounts()[&key(0, OTHER_TAGS)].out(), MAX_ACCOUNTS as u64);
    }

    #[test]
    fn a_half_written_group_counts_as_far_as_it_is_there() {
        let entered = |upto| Entered { input: "in".into(), day: 1, others: false, upto };
        let (mut first, mut second) = (Tally::default(), Tally::default());
        first.add(&entered(10), &Tag::from("t"), 10, 1);
        // Of group 2 the frame up to 15 is lost.
        second.add(&entered(18), &Tag::from("t"), 3, 2);
        let mut holdings = Holdings::default();
        holdings.add(ChunkId([1; 16]), &first, 1, false);
        holdings.add(ChunkId([2; 16]), &second, 2, false);
        let ledger = holdings.settle(Recorded::default(), None);
        assert_eq!(ledger.accounts()[&key(1, "t")], Account::new(13, 13));
        // Where group 2 was acknowledged, the five are missing.
        let mut recorded = Recorded::default();
        recorded.watermark(2);
        assert_eq!(holdings.settle(recorded, None).accounts()[&key(1, "t")].missing(), 5);
    }
}
