//! Groups of the expressions that logs are parsed with, found by a short list of steps.
//!
//! The expressions of parsers are, for the most part, runs of some characters with delimiters between them:
//! `^(?<host>[^ ]*) \[(?<time>[^\]]*)\]`. Automata find their groups byte by byte; a step finds a whole run at once. The
//! steps try alternatives in the order in which the expression has them, as a backtracking engine does, and so find the
//! same groups as the automaton: the first alternative that leads to a match. What keeps them fast is that each step
//! knows which bytes may follow it. Where those do not occur in a run, the run has one end, and nothing is tried twice.
//!
//! No text makes the steps slow: past an amount of work in proportion to the text ([`WORK_PER_BYTE`]) they give up, and
//! the automaton is asked. It is asked too where an expression has what no step knows: word ends, sets that divide the
//! characters beyond ASCII, repeats of what may be empty.

use std::cell::Cell;

use memchr::{memchr, memchr2, memchr3, memrchr, memrchr2, memrchr3};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};
use smallvec::SmallVec;

/// Most steps of an expression.
const MAX_STEPS: usize = 1000;
/// Most copies of what is repeated so many times.
const MAX_COPIES: u32 = 16;
/// Most alternatives that are kept in mind at once.
const MAX_KEPT: usize = 200;
/// A run that is looked through for another end, in bytes.
const SHORT: usize = 16;
/// Steps and bytes that a search may look at for each byte of the text, and at least.
const WORK_PER_BYTE: usize = 16;
const LEAST_WORK: usize = 4096;
/// A slot that holds no place.
pub(super) const UNSET: usize = usize::MAX;

/// An expression as steps.
pub(super) struct Steps {
    steps: Vec<Step>,
    slots: usize,
    /// Text is UTF-8 and sets are of characters, not of bytes.
    characters: bool,
    /// Where a match may begin.
    start: Start,
    /// What a match may begin with.
    first: Follow,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Text,
    Line,
    Anywhere,
}

enum Step {
    /// One character of the set.
    One(Set),
    Byte(u8),
    Literal(Box<[u8]>),
    Run(Box<Run>),
    /// Notes the place in a slot.
    Note(usize),
    /// Goes on at the first place, or at the second; which is told apart by what follows.
    Split(Box<[(usize, Follow); 2]>),
    Jump(usize),
    Look(Look),
    Match,
}

/// Characters of a set, one after the other.
struct Run {
    /// The slot of its start, where the run is a group; that of its end is the next.
    slot: Option<usize>,
    set: Set,
    /// Finds the first byte that is not in the set.
    end: Finder,
    least: u32,
    most: Option<u32>,
    greedy: bool,
    follow: Follow,
    /// Nothing that may follow is in the set.
    has_one_end: bool,
}

/// Bytes; beyond ASCII all or none where the text is characters.
type Set = Box<[bool; 256]>;

/// The bytes that a way on may begin with.
#[derive(Clone)]
struct Follow {
    set: Set,
    finder: Finder,
    /// Whether it may go on at the text's end.
    at_end: bool,
}

/// How a byte of a set is looked for.
#[derive(Clone, Copy)]
enum Finder {
    One(u8),
    Two(u8, u8),
    Three(u8, u8, u8),
    ByTable,
}

/// What a search came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Found,
    NotFound,
    /// It took too long; nothing is said.
    GivenUp,
}

/// The places of groups, two for each; [`UNSET`] where one took no part.
pub(super) type Places = SmallVec<[usize; 32]>;

/// An alternative that is kept in mind.
#[derive(Clone, Copy)]
enum Kept {
    Way {
        step: usize,
        at: usize,
    },
    /// A shorter run: it ends before `end`.
    Shorter {
        step: usize,
        least: usize,
        end: usize,
    },
    /// A longer run: it ends at `from` or behind it.
    Longer {
        step: usize,
        from: usize,
        end: usize,
    },
    Slot {
        slot: usize,
        place: usize,
    },
}

// ---- from the expression to steps ----

impl Steps {
    /// Reads a translated pattern; gives nothing where it has what no step knows.
    pub(super) fn new(pattern: &str, characters: bool) -> Option<Steps> {
        let mut parser = ParserBuilder::new().multi_line(true).unicode(characters).utf8(false).build();
        let hir = parser.parse(pattern).ok()?;
        let groups = hir.properties().explicit_captures_len();
        let mut writer = Writer { steps: Vec::new(), characters };
        writer.write(&hir)?;
        writer.push(Step::Match)?;
        let mut steps = writer.steps;
        let start = match steps.iter().find(|step| !matches!(step, Step::Note(_))) {
            Some(Step::Look(Look::Start)) => Start::Text,
            Some(Step::Look(Look::StartLF)) => Start::Line,
            _ => Start::Anywhere,
        };
        // Within a character nothing begins but an empty match, which no step looks for there.
        if characters && start == Start::Anywhere && hir.properties().minimum_len().unwrap_or(0) == 0 {
            return None;
        }
        note_what_follows(&mut steps, characters);
        let first = follow(&steps, 0, characters);
        Some(Steps { steps, slots: (groups + 1) * 2, characters, start, first })
    }
}

struct Writer {
    steps: Vec<Step>,
    characters: bool,
}

impl Writer {
    fn push(&mut self, step: Step) -> Option<usize> {
        self.steps.push(step);
        (self.steps.len() <= MAX_STEPS).then(|| self.steps.len() - 1)
    }

    fn write(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Empty => {}
            HirKind::Literal(literal) => {
                self.push(match *literal.0 {
                    [byte] => Step::Byte(byte),
                    _ => Step::Literal(literal.0.clone()),
                })?;
            }
            HirKind::Class(class) => {
                let set = set(class, self.characters)?;
                self.push(Step::One(set))?;
            }
            HirKind::Look(look @ (Look::Start | Look::End | Look::StartLF | Look::EndLF)) => {
                self.push(Step::Look(*look))?;
            }
            HirKind::Look(_) => return None,
            HirKind::Repetition(repetition) => self.repetition(repetition, None)?,
            HirKind::Capture(capture) => {
                let slot = capture.index as usize * 2;
                match capture.sub.kind() {
                    HirKind::Repetition(run) if self.set_of(&run.sub).is_some() => self.repetition(run, Some(slot))?,
                    _ => {
                        self.push(Step::Note(slot))?;
                        self.write(&capture.sub)?;
                        self.push(Step::Note(slot + 1))?;
                    }
                }
            }
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.write(part))?,
            HirKind::Alternation(parts) => self.alternation(parts)?,
        }
        Some(())
    }

    fn alternation(&mut self, parts: &[Hir]) -> Option<()> {
        let (last, parts) = parts.split_last()?;
        let mut jumps = Vec::new();
        for part in parts {
            let split = self.push(Step::Jump(0))?;
            self.write(part)?;
            jumps.push(self.push(Step::Jump(0))?);
            self.steps[split] = self.split(split + 1, self.steps.len());
        }
        self.write(last)?;
        let end = self.steps.len();
        jumps.into_iter().for_each(|jump| self.steps[jump] = Step::Jump(end));
        Some(())
    }

    fn split(&self, first: usize, second: usize) -> Step {
        Step::Split(Box::new([(first, Follow::none()), (second, Follow::none())]))
    }

    /// The set of what is one character; none where it is more, or no step knows it.
    fn set_of(&self, hir: &Hir) -> Option<Set> {
        match hir.kind() {
            HirKind::Class(class) => set(class, self.characters),
            HirKind::Literal(literal) => match *literal.0 {
                // A lone byte beyond ASCII is part of a character.
                [byte] if byte.is_ascii() || !self.characters => {
                    let mut set = Box::new([false; 256]);
                    set[usize::from(byte)] = true;
                    Some(set)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// A repeat; of one character it is a run, which may be the group of a slot.
    fn repetition(&mut self, repetition: &Repetition, slot: Option<usize>) -> Option<()> {
        let Some(set) = self.set_of(&repetition.sub) else { return self.repetition_of_parts(repetition) };
        let end = Finder::of(|byte| !set[byte]);
        let (least, most, greedy) = (repetition.min, repetition.max, repetition.greedy);
        let follow = Follow::none();
        self.push(Step::Run(Box::new(Run { slot, set, end, least, most, greedy, follow, has_one_end: false })))?;
        Some(())
    }

    fn repetition_of_parts(&mut self, repetition: &Repetition) -> Option<()> {
        let Repetition { min, max, greedy, sub } = repetition;
        // A class that no step knows, or too many copies.
        if matches!(sub.kind(), HirKind::Class(_)) || *min > MAX_COPIES || max.is_some_and(|max| max > MAX_COPIES) {
            return None;
        }
        // What may be empty is not repeated without end, and its perhaps is not told from its nothing.
        if sub.properties().minimum_len().unwrap_or(0) == 0 && *max != Some(*min) && *max != Some(1) {
            return None;
        }
        (0..*min).try_for_each(|_| self.write(sub))?;
        let mut splits = Vec::new();
        match max {
            Some(max) => {
                for _ in *min..*max {
                    splits.push(self.push(Step::Jump(0))?);
                    self.write(sub)?;
                }
            }
            None => {
                let split = self.push(Step::Jump(0))?;
                splits.push(split);
                self.write(sub)?;
                self.push(Step::Jump(split))?;
            }
        }
        let end = self.steps.len();
        for split in splits {
            self.steps[split] = if *greedy { self.split(split + 1, end) } else { self.split(end, split + 1) };
        }
        Some(())
    }
}

/// The bytes of a class. Of characters only classes that hold all beyond ASCII, or none, have one.
fn set(class: &Class, characters: bool) -> Option<Set> {
    let mut set = Box::new([false; 256]);
    match class {
        Class::Bytes(bytes) => {
            let ranges = bytes.iter().flat_map(|range| range.start()..=range.end());
            ranges.for_each(|byte| set[usize::from(byte)] = true);
            if characters && set[128..].contains(&true) {
                return None;
            }
        }
        Class::Unicode(unicode) => {
            let mut beyond = 0;
            for range in unicode.iter() {
                let (start, end) = (u32::from(range.start()), u32::from(range.end()));
                (start..=end.min(127)).for_each(|code| set[code as usize] = true);
                beyond += (end + 1).saturating_sub(start.max(128));
            }
            // Surrogates are no characters, and in no class; a range that spans them counts them.
            let all = char::MAX as u32 + 1 - 128;
            match beyond {
                0 => {}
                n if (n == all || n == all - 0x800) && characters => set[128..].fill(true),
                _ => return None,
            }
        }
    }
    set.contains(&true).then_some(set)
}

/// Fills in what may follow runs and begin the ways of splits.
fn note_what_follows(steps: &mut [Step], characters: bool) {
    for at in 0..steps.len() {
        let follows = match &steps[at] {
            Step::Run(_) => [follow(steps, at + 1, characters), Follow::none()],
            Step::Split(ways) => [follow(steps, ways[0].0, characters), follow(steps, ways[1].0, characters)],
            _ => continue,
        };
        match (&mut steps[at], follows) {
            (Step::Run(run), [behind, _]) => {
                run.has_one_end = run.set.iter().zip(behind.set.iter()).all(|(a, b)| !(*a && *b));
                run.follow = behind;
            }
            (Step::Split(ways), [first, second]) => (ways[0].1, ways[1].1) = (first, second),
            _ => {}
        }
    }
}

/// The bytes that may follow where the steps go on at `from`; rather too many than too few.
fn follow(steps: &[Step], from: usize, characters: bool) -> Follow {
    let mut found = Follow::none();
    let (mut todo, mut seen) = (vec![from], vec![false; steps.len()]);
    while let Some(at) = todo.pop() {
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        match &steps[at] {
            Step::One(set) => found.add(set),
            Step::Byte(byte) => found.set[usize::from(*byte)] = true,
            Step::Literal(literal) => match literal.first() {
                Some(byte) => found.set[usize::from(*byte)] = true,
                None => todo.push(at + 1),
            },
            Step::Run(run) => {
                found.add(&run.set);
                if run.least == 0 {
                    todo.push(at + 1);
                }
            }
            Step::Note(_) | Step::Look(Look::Start | Look::StartLF) => todo.push(at + 1),
            Step::Split(ways) => todo.extend([ways[0].0, ways[1].0]),
            Step::Jump(to) => todo.push(*to),
            Step::Look(look) => {
                found.at_end = true;
                found.set[usize::from(b'\n')] |= *look == Look::EndLF;
            }
            Step::Match => {
                found.at_end = true;
                found.set.fill(true);
            }
        }
    }
    if characters {
        // Nothing goes on within a character.
        found.set[0x80..0xc0].fill(false);
    }
    found.finder = Finder::of(|byte| found.set[byte]);
    found
}

impl Follow {
    fn none() -> Follow {
        Follow { set: Box::new([false; 256]), finder: Finder::ByTable, at_end: false }
    }

    fn add(&mut self, set: &Set) {
        self.set.iter_mut().zip(set.iter()).for_each(|(to, from)| *to |= from);
    }

    #[inline(always)]
    fn may_go_on(&self, text: &[u8], at: usize) -> bool {
        match text.get(at) {
            Some(byte) => self.set[usize::from(*byte)],
            None => self.at_end,
        }
    }
}

impl Finder {
    fn of(is_in: impl Fn(usize) -> bool) -> Finder {
        let bytes: Vec<u8> = (0..=255u8).filter(|byte| is_in(usize::from(*byte))).take(4).collect();
        match bytes[..] {
            [a] => Finder::One(a),
            [a, b] => Finder::Two(a, b),
            [a, b, c] => Finder::Three(a, b, c),
            _ => Finder::ByTable,
        }
    }

    /// The first byte of the set; `is_in` is the set.
    #[inline(always)]
    fn first(self, text: &[u8], is_in: impl Fn(u8) -> bool) -> Option<usize> {
        match self {
            Finder::One(a) => memchr(a, text),
            Finder::Two(a, b) => memchr2(a, b, text),
            Finder::Three(a, b, c) => memchr3(a, b, c, text),
            Finder::ByTable => text.iter().position(|byte| is_in(*byte)),
        }
    }

    #[inline(always)]
    fn last(self, text: &[u8], is_in: impl Fn(u8) -> bool) -> Option<usize> {
        match self {
            Finder::One(a) => memrchr(a, text),
            Finder::Two(a, b) => memrchr2(a, b, text),
            Finder::Three(a, b, c) => memrchr3(a, b, c, text),
            Finder::ByTable => text.iter().rposition(|byte| is_in(*byte)),
        }
    }
}

// ---- the search ----

thread_local! {
    /// Memory for what is kept in mind.
    static KEPT: Cell<Vec<Kept>> = const { Cell::new(Vec::new()) };
}

impl Steps {
    /// The first match at or after `from`, with its groups.
    pub(super) fn search(&self, text: &[u8], from: usize, places: &mut Places) -> Outcome {
        let work = (WORK_PER_BYTE * text.len() + LEAST_WORK) as isize;
        places.clear();
        places.resize(self.slots, UNSET);
        let mut search = Search { text, places, kept: KEPT.take(), work };
        let mut next = Some(from);
        let mut outcome = Outcome::NotFound;
        while let Some(start) = next.and_then(|at| self.start(text, at)) {
            outcome = self.run(&mut search, start);
            if outcome != Outcome::NotFound {
                break;
            }
            search.places.fill(UNSET);
            next = (start < text.len()).then_some(start + 1);
        }
        KEPT.set(search.kept);
        outcome
    }

    /// Where a match may begin, at or after `at`.
    fn start(&self, text: &[u8], at: usize) -> Option<usize> {
        let rest = text.get(at..)?;
        match self.start {
            Start::Text => (at == 0).then_some(0),
            Start::Line if at == 0 || text[at - 1] == b'\n' => Some(at),
            Start::Line => Some(at + memchr(b'\n', rest)? + 1),
            Start::Anywhere => {
                let found = self.first.finder.first(rest, |byte| self.first.set[usize::from(byte)]);
                found.map(|n| at + n).or_else(|| self.first.at_end.then_some(text.len()))
            }
        }
    }

    /// Tries to match at `start`.
    fn run(&self, search: &mut Search<'_>, start: usize) -> Outcome {
        let text = search.text;
        search.kept.clear();
        search.work -= 1;
        let (mut step, mut at) = (0, start);
        loop {
            let went_on = match &self.steps[step] {
                Step::Run(run) => match self.take_run(search, run, step, at) {
                    Some(end) => {
                        at = end;
                        true
                    }
                    None => false,
                },
                Step::Byte(byte) => {
                    let fits = text.get(at) == Some(byte);
                    at += 1;
                    fits
                }
                Step::Literal(literal) => {
                    let fits = text[at..].starts_with(literal);
                    at += literal.len();
                    fits
                }
                Step::Note(slot) => {
                    search.note(*slot, at);
                    true
                }
                Step::Split(ways) => match [&ways[0], &ways[1]].map(|(_, follow)| follow.may_go_on(text, at)) {
                    [true, second] => {
                        if second {
                            search.keep(Kept::Way { step: ways[1].0, at });
                        }
                        step = ways[0].0;
                        continue;
                    }
                    [false, true] => {
                        step = ways[1].0;
                        continue;
                    }
                    [false, false] => false,
                },
                Step::One(set) => {
                    let fits = text.get(at).is_some_and(|byte| set[usize::from(*byte)]);
                    at += self.width(text, at);
                    fits
                }
                Step::Jump(to) if search.may_go_on() => {
                    step = *to;
                    continue;
                }
                Step::Jump(_) => return Outcome::GivenUp,
                Step::Look(look) => is_there(*look, text, at),
                Step::Match => {
                    (search.places[0], search.places[1]) = (start, at);
                    return Outcome::Found;
                }
            };
            step += 1;
            if !went_on {
                match search.go_back(&self.steps) {
                    Some(way) => (step, at) = way,
                    None if search.work < 0 => return Outcome::GivenUp,
                    None => return Outcome::NotFound,
                }
            }
        }
    }

    /// Takes a run at `at`, whose alternatives are kept in mind; gives its end.
    #[inline(always)]
    fn take_run(&self, search: &mut Search<'_>, run: &Run, step: usize, at: usize) -> Option<usize> {
        let text = search.text;
        let rest = text.get(at..)?;
        let len = run.end.first(rest, |byte| !run.set[usize::from(byte)]).unwrap_or(rest.len());
        search.work -= len as isize;
        if let Some(slot) = run.slot {
            search.note(slot, at);
        }
        if run.has_one_end && run.most.is_none() && run.least <= 1 {
            let end = (len >= run.least as usize).then_some(at + len)?;
            if let Some(slot) = run.slot {
                search.note(slot + 1, end);
            }
            return Some(end);
        }
        let mut end = at + len;
        if let Some(most) = run.most {
            end = self.forward(text, at, end, most).unwrap_or(end);
        }
        let least = self.forward(text, at, end, run.least)?;
        match (run.has_one_end, run.greedy) {
            (true, _) => search.ends(run, end),
            (false, true) => search.shorter(run, step, least, end + 1),
            (false, false) => search.longer(run, step, least, end),
        }
    }

    /// The place so many characters behind `at`; none where it is past `end`.
    fn forward(&self, text: &[u8], mut at: usize, end: usize, count: u32) -> Option<usize> {
        if !self.characters {
            return Some(at + count as usize).filter(|place| *place <= end);
        }
        for _ in 0..count {
            if at >= end {
                return None;
            }
            at += self.width(text, at);
        }
        Some(at)
    }

    /// The bytes of the character at `at`.
    #[inline(always)]
    fn width(&self, text: &[u8], at: usize) -> usize {
        match text.get(at) {
            Some(0xc0..0xe0) if self.characters => 2,
            Some(0xe0..0xf0) if self.characters => 3,
            Some(0xf0..) if self.characters => 4,
            _ => 1,
        }
    }
}

fn is_there(look: Look, text: &[u8], at: usize) -> bool {
    match look {
        Look::Start => at == 0,
        Look::StartLF => at == 0 || text[at - 1] == b'\n',
        Look::End => at == text.len(),
        _ => at == text.len() || text[at] == b'\n',
    }
}

struct Search<'s> {
    text: &'s [u8],
    places: &'s mut [usize],
    kept: Vec<Kept>,
    /// What may still be looked at; below zero the search is over. Steps that only go forward are not counted: there are
    /// few of them between two that are.
    work: isize,
}

impl Search<'_> {
    /// For loops: whether there is work left and room to keep alternatives.
    fn may_go_on(&mut self) -> bool {
        self.work -= 1;
        self.work >= 0 && self.kept.len() < MAX_KEPT
    }

    fn keep(&mut self, kept: Kept) {
        self.kept.push(kept);
    }

    #[inline(always)]
    fn note(&mut self, slot: usize, at: usize) {
        let Some(place) = self.places.get_mut(slot) else { return };
        let old = std::mem::replace(place, at);
        if !self.kept.is_empty() {
            self.kept.push(Kept::Slot { slot, place: old });
        }
    }

    /// Notes where a run ends.
    #[inline(always)]
    fn ends(&mut self, run: &Run, at: usize) -> Option<usize> {
        if let Some(slot) = run.slot {
            self.note(slot + 1, at);
        }
        Some(at)
    }

    /// The longest run that ends before `end` where what follows may go on.
    fn shorter(&mut self, run: &Run, step: usize, least: usize, end: usize) -> Option<usize> {
        let place = self.last_end(run, least, end)?;
        self.work -= (end - place) as isize;
        // In a short run it is soon seen that there is no other end, and nothing has to be kept.
        let may_be_another = place - least > SHORT || place > least && self.last_end(run, least, place).is_some();
        if may_be_another {
            self.keep(Kept::Shorter { step, least, end: place });
        }
        self.ends(run, place)
    }

    fn last_end(&self, run: &Run, least: usize, end: usize) -> Option<usize> {
        let text = self.text;
        if end > text.len() && run.follow.at_end {
            return Some(text.len());
        }
        let within = text.get(least..end.min(text.len()))?;
        let found = run.follow.finder.last(within, |byte| run.follow.set[usize::from(byte)])?;
        Some(least + found)
    }

    /// The shortest run that ends at `from` or behind it where what follows may go on.
    fn longer(&mut self, run: &Run, step: usize, from: usize, end: usize) -> Option<usize> {
        let text = self.text;
        let within = text.get(from..(end + 1).min(text.len()))?;
        let found = run.follow.finder.first(within, |byte| run.follow.set[usize::from(byte)]);
        let at_end = (end == text.len() && from <= end && run.follow.at_end).then_some(text.len());
        let place = found.map(|n| from + n).or(at_end)?;
        self.work -= (place - from) as isize;
        if place < end {
            self.keep(Kept::Longer { step, from: place + 1, end });
        }
        self.ends(run, place)
    }

    /// The last alternative that was kept in mind and is one.
    fn go_back(&mut self, steps: &[Step]) -> Option<(usize, usize)> {
        while self.work >= 0 {
            self.work -= 1;
            let way = match self.kept.pop()? {
                Kept::Way { step, at } => Some((step, at)),
                Kept::Slot { slot, place } => {
                    self.places[slot] = place;
                    None
                }
                Kept::Shorter { step, least, end } => {
                    let Step::Run(run) = &steps[step] else { return None };
                    self.shorter(run, step, least, end).map(|end| (step + 1, end))
                }
                Kept::Longer { step, from, end } => {
                    let Step::Run(run) = &steps[step] else { return None };
                    self.longer(run, step, from, end).map(|end| (step + 1, end))
                }
            };
            if way.is_some() {
                return way;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
