//! Methods that take sets of characters: `tr`, `delete`, `squeeze`, `count`.

use super::chars;
use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::methods::{ANY, Args, Def, TextFn, def};
use crate::plugin::ruby::value::Val;
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<TextFn>] = &[
    def("count", 1, ANY, |_, text, args| {
        let sets = Sets::of(args)?;
        Ok(Val::Int(chars::iter(text).filter(|c| sets.has(chars::code(c))).count() as i128))
    }),
    def("delete", 1, ANY, |vm, text, args| {
        let sets = Sets::of(args)?;
        let kept: Vec<&[u8]> = chars::iter(text).filter(|c| !sets.has(chars::code(c))).collect();
        vm.string(kept.concat())
    }),
    def("squeeze", 0, ANY, squeeze),
    def("tr", 2, 2, |vm, text, args| translate(vm, text, args, false)),
    def("tr_s", 2, 2, |vm, text, args| translate(vm, text, args, true)),
];

/// Ranges of character codes, in the order they were written.
struct Set {
    ranges: Vec<(u32, u32)>,
    negated: bool,
}

impl Set {
    fn parse(text: &[u8]) -> Checked<Set> {
        let negated = text.len() > 1 && text[0] == b'^';
        let codes: Vec<u32> = chars::iter(&text[usize::from(negated)..]).map(chars::code).collect();
        let mut ranges = Vec::new();
        let mut at = 0;
        while let Some((first, after)) = unit(&codes, at) {
            let last = match codes.get(after) {
                Some(dash) if *dash == u32::from(b'-') => unit(&codes, after + 1),
                _ => None,
            };
            let (last, end) = last.unwrap_or((first, after));
            if last < first {
                let name = |c| char::from_u32(c).unwrap_or('?');
                return Err(Fault::argument(format!(
                    "invalid range \"{}-{}\" in string transliteration",
                    name(first),
                    name(last)
                )));
            }
            ranges.push((first, last));
            at = end;
        }
        Ok(Set { ranges, negated })
    }

    fn has(&self, code: u32) -> bool {
        self.ranges.iter().any(|(a, b)| (*a..=*b).contains(&code)) != self.negated
    }

    /// Where a code stands among those of the set.
    fn position(&self, code: u32) -> Option<u64> {
        let mut before = 0;
        // A later range wins over an earlier one, as in Ruby's table.
        let mut found = None;
        for (a, b) in &self.ranges {
            if (*a..=*b).contains(&code) {
                found = Some(before + u64::from(code - a));
            }
            before += u64::from(b - a) + 1;
        }
        found
    }

    /// The code at a position; the last one beyond the end.
    fn at(&self, position: u64) -> Option<u32> {
        let mut before = 0;
        for (a, b) in &self.ranges {
            let size = u64::from(b - a) + 1;
            if position < before + size {
                return Some(a + (position - before) as u32);
            }
            before += size;
        }
        self.ranges.last().map(|(_, b)| *b)
    }
}

/// One character of a set, a backslash taking away the meaning of the next.
fn unit(codes: &[u32], at: usize) -> Option<(u32, usize)> {
    let code = *codes.get(at)?;
    match codes.get(at + 1) {
        Some(next) if code == u32::from(b'\\') => Some((*next, at + 2)),
        _ => Some((code, at + 1)),
    }
}

/// The characters that several sets have in common.
struct Sets(Vec<Set>);

impl Sets {
    fn of(args: Args<'_, '_>) -> Checked<Sets> {
        let sets = (0..args.list.len()).map(|n| Set::parse(args.text(n)?));
        Ok(Sets(sets.collect::<Checked<_>>()?))
    }

    fn has(&self, code: u32) -> bool {
        self.0.iter().all(|set| set.has(code))
    }
}

fn squeeze<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    let sets = Sets::of(args)?;
    let mut out = Vec::with_capacity(text.len());
    let mut last: &[u8] = b"";
    for c in chars::iter(text) {
        if c != last || !sets.has(chars::code(c)) {
            out.extend_from_slice(c);
        }
        last = c;
    }
    vm.string(out)
}

fn translate<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>, squeeze: bool) -> Outcome<'s> {
    let (from, to) = (Set::parse(args.text(0)?)?, Set::parse(args.text(1)?)?);
    let mut out = Vec::with_capacity(text.len());
    let mut last = None;
    for c in chars::iter(text) {
        let code = chars::code(c);
        let place = if from.negated { from.has(code).then_some(u64::MAX) } else { from.position(code) };
        let Some(place) = place else {
            out.extend_from_slice(c);
            last = None;
            continue;
        };
        let made = to.at(place);
        if let Some(made) = made.filter(|m| !squeeze || last != Some(*m)) {
            chars::encode(made, &mut out);
        }
        last = made;
    }
    vm.string(out)
}
