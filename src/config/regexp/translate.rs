//! From Ruby's (Onigmo's) pattern language to that of the Rust engines, one pass from left to right.
//!
//! What differs, from Onigmo's `doc/RE` and Ruby's defaults for UTF-8 text:
//! - `^` and `$` stand at every line; `m` means that `.` matches a line feed; `\Z` may stand before a last line feed;
//! - `\d \w \s \h` are ASCII, `\b` and `[[:alpha:]]` are Unicode;
//! - with named groups, plain groups capture nothing; a name may stand twice;
//! - `a(?i)b|c` is `a(?i:b|c)`; `{,n}` is `{0,n}`; `{n}?` is "perhaps n times"; a brace that is no repeat is itself;
//! - `\<` and `\>` are themselves, not the ends of a word.
//!
//! `x` and `m` are resolved here, so the engines never see them; named groups become numbered ones, so any name will do.

use super::class::{self, bump, eat};
use super::{Flags, Name, RegexpError};

/// How deep groups may nest.
const MAX_GROUP_DEPTH: usize = 200;

/// Over which letters the engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// Bytes; only used on text that is all ASCII, or no text at all.
    Ascii,
    /// Characters.
    Unicode,
}

#[derive(Debug)]
pub(super) struct Translated {
    pub text: String,
    pub names: Vec<Name>,
    pub groups: usize,
    pub needs_backtracking: bool,
}

pub(super) fn translate(pattern: &str, flags: Flags, flavour: Flavour) -> Result<Translated, RegexpError> {
    let mut translator = Translator {
        rest: pattern,
        flavour,
        has_names: has_names(pattern),
        out: Translated { text: String::new(), names: Vec::new(), groups: 0, needs_backtracking: false },
        frames: vec![Frame { flags, closes: 0 }],
    };
    if flags.ignore_case {
        translator.out.text.push_str("(?i)");
    }
    translator.whole()?;
    Ok(translator.out)
}

/// An open group.
struct Frame {
    flags: Flags,
    /// Brackets opened inside by options that hold to the group's end.
    closes: usize,
}

struct Translator<'a> {
    rest: &'a str,
    flavour: Flavour,
    has_names: bool,
    out: Translated,
    frames: Vec<Frame>,
}

impl Translator<'_> {
    fn whole(&mut self) -> Result<(), RegexpError> {
        while let Some(c) = bump(&mut self.rest) {
            self.piece(c)?;
        }
        if self.frames.len() > 1 {
            return Err(RegexpError::new("a group is never closed; a ')' is missing"));
        }
        self.close_options();
        Ok(())
    }

    fn piece(&mut self, c: char) -> Result<(), RegexpError> {
        let flags = self.flags();
        match c {
            c if flags.extended && (c.is_ascii_whitespace() || c == '\u{b}') => {}
            '#' if flags.extended => {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            }
            '(' => self.open()?,
            ')' => self.close()?,
            '[' => {
                let (text, rest) = class::translate(self.rest, self.flavour)?;
                self.out.text.push_str(&text);
                self.rest = rest;
            }
            '\\' => self.escape()?,
            '.' => self.out.text.push_str(if flags.dot_all { "(?s:.)" } else { "." }),
            '*' | '+' | '?' => self.repeat(c),
            '{' => self.brace(),
            '^' | '$' | '|' => self.out.text.push(c),
            c => self.literal(c),
        }
        Ok(())
    }

    fn flags(&self) -> Flags {
        self.frames.last().map_or(Flags::default(), |frame| frame.flags)
    }

    /// The text up to `end`, which is eaten too.
    fn until(&mut self, end: char) -> Result<&str, RegexpError> {
        let (text, rest) =
            self.rest.split_once(end).ok_or_else(|| RegexpError::new(format!("a '{end}' is missing")))?;
        self.rest = rest;
        Ok(text)
    }

    fn literal(&mut self, c: char) {
        if is_special(c) {
            self.out.text.push('\\');
        }
        self.out.text.push(c);
    }

    fn open(&mut self) -> Result<(), RegexpError> {
        if self.frames.len() > MAX_GROUP_DEPTH {
            return Err(RegexpError::new(format!("groups are nested deeper than {MAX_GROUP_DEPTH}")));
        }
        if !eat(&mut self.rest, "?") {
            if self.has_names {
                self.group("(?:");
            } else {
                self.out.groups += 1;
                self.group("(");
            }
            return Ok(());
        }
        if eat(&mut self.rest, "#") {
            return self.comment();
        }
        if eat(&mut self.rest, ":") {
            self.group("(?:");
            return Ok(());
        }
        for look in ["=", "!", "<=", "<!", ">"] {
            if eat(&mut self.rest, look) {
                self.out.needs_backtracking = true;
                self.group(&format!("(?{look}"));
                return Ok(());
            }
        }
        if eat(&mut self.rest, "<") {
            return self.named('>');
        }
        if eat(&mut self.rest, "'") {
            return self.named('\'');
        }
        self.options()
    }

    fn group(&mut self, opening: &str) {
        let flags = self.flags();
        self.frames.push(Frame { flags, closes: 0 });
        self.out.text.push_str(opening);
    }

    fn comment(&mut self) -> Result<(), RegexpError> {
        while let Some(c) = bump(&mut self.rest) {
            match c {
                '\\' => {
                    bump(&mut self.rest);
                }
                ')' => return Ok(()),
                _ => {}
            }
        }
        Err(RegexpError::new("a comment is never closed; a ')' is missing"))
    }

    fn named(&mut self, end: char) -> Result<(), RegexpError> {
        let name = self.until(end)?.to_owned();
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(|c| c.is_alphanumeric() || c == '_')
        {
            return Err(RegexpError::new(format!("'{name}' is no group name")));
        }
        self.out.groups += 1;
        let group = self.out.groups;
        match self.out.names.iter_mut().find(|known| *known.name == *name) {
            Some(known) => known.groups.push(group),
            None => self.out.names.push(Name { name: name.into(), groups: vec![group] }),
        }
        self.group("(");
        Ok(())
    }

    /// `(?im-x)` to the end of the group, or `(?im-x:...)`.
    fn options(&mut self) -> Result<(), RegexpError> {
        let (mut flags, mut on) = (self.flags(), true);
        loop {
            match bump(&mut self.rest) {
                Some('-') => on = false,
                Some('i') => flags.ignore_case = on,
                Some('m') => flags.dot_all = on,
                Some('x') => flags.extended = on,
                // which letters \w means; the default here is Ruby's
                Some('a' | 'd' | 'u') => {}
                Some(end @ (')' | ':')) => {
                    let opening = if flags.ignore_case { "(?i:" } else { "(?-i:" };
                    if end == ':' {
                        self.group(opening);
                    } else {
                        self.out.text.push_str(opening);
                        if let Some(frame) = self.frames.last_mut() {
                            frame.closes += 1;
                        }
                    }
                    if let Some(frame) = self.frames.last_mut() {
                        frame.flags = flags;
                    }
                    return Ok(());
                }
                Some('~') => {
                    return Err(RegexpError::new("the absence operator '(?~' is not supported"));
                }
                Some('(') => return Err(RegexpError::new("conditions '(?(' are not supported")),
                Some(other) => {
                    return Err(RegexpError::new(format!("'(?{other}' is not understood")));
                }
                None => {
                    return Err(RegexpError::new("a group is never closed; a ')' is missing"));
                }
            }
        }
    }

    fn close(&mut self) -> Result<(), RegexpError> {
        if self.frames.len() < 2 {
            return Err(RegexpError::new("a ')' closes no group"));
        }
        self.close_options();
        self.frames.pop();
        self.out.text.push(')');
        Ok(())
    }

    fn close_options(&mut self) {
        let closes = self.frames.last().map_or(0, |frame| frame.closes);
        self.out.text.push_str(&")".repeat(closes));
    }

    fn repeat(&mut self, c: char) {
        self.out.text.push(c);
        if eat(&mut self.rest, "?") {
            self.out.text.push('?');
        } else if eat(&mut self.rest, "+") {
            self.out.needs_backtracking = true;
            self.out.text.push('+');
        }
    }

    /// `{n}`, `{n,}`, `{n,m}`, `{,m}`; any other brace is itself.
    fn brace(&mut self) {
        let Some((min, max, rest)) = repeat_counts(self.rest) else {
            return self.literal('{');
        };
        self.rest = rest;
        let min = if min.is_empty() { "0" } else { min };
        match max {
            None => {
                self.out.text.push_str(&format!("{{{min}}}"));
                if eat(&mut self.rest, "?") {
                    self.out.text.push_str("{0,1}");
                }
            }
            Some(max) => {
                self.out.text.push_str(&format!("{{{min},{max}}}"));
                if eat(&mut self.rest, "?") {
                    self.out.text.push('?');
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), RegexpError> {
        let Some(c) = bump(&mut self.rest) else {
            return Err(RegexpError::new("the pattern ends in a backslash"));
        };
        match c {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'h' | 'H' => self.out.text.push_str(class::shorthand(c)),
            'A' | 'z' | 'b' | 'B' => self.out.text.extend(['\\', c]),
            'Z' => self.out.text.push_str(r"(?:\n?\z)"),
            'R' => self.out.text.push_str(match self.flavour {
                Flavour::Ascii => r"(?:\r\n|[\n\x0B\x0C\r])",
                Flavour::Unicode => r"(?:\r\n|[\n\x0B\x0C\r\x{85}\x{2028}\x{2029}])",
            }),
            'G' | 'K' => {
                self.out.needs_backtracking = true;
                self.out.text.extend(['\\', c]);
            }
            'X' | 'g' | 'M' => return Err(RegexpError::new(format!("'\\{c}' is not supported"))),
            'k' => self.back_reference_by_name()?,
            'p' | 'P' => {
                let (set, rest) = class::property(self.rest, c == 'P', self.flavour)?;
                self.out.text.push_str(&format!("[{set}]"));
                self.rest = rest;
            }
            '1'..='9' if self.is_back_reference(c) => self.back_reference(c)?,
            c => {
                let (letter, rest) = class::character(c, self.rest)?;
                self.rest = rest;
                self.literal(letter);
            }
        }
        Ok(())
    }

    /// `\1` to `\9` refer back; `\12` with fewer groups is an octal number.
    fn is_back_reference(&self, first: char) -> bool {
        let single = !self.rest.starts_with(|c: char| c.is_ascii_digit());
        single || usize::from(first as u8 - b'0') <= self.out.groups
    }

    fn back_reference(&mut self, first: char) -> Result<(), RegexpError> {
        if self.has_names {
            return Err(RegexpError::new("a numbered back-reference can't stand beside named groups; use \\k<name>"));
        }
        self.refer(usize::from(first as u8 - b'0'))
    }

    fn back_reference_by_name(&mut self) -> Result<(), RegexpError> {
        let end = if eat(&mut self.rest, "<") {
            '>'
        } else if eat(&mut self.rest, "'") {
            '\''
        } else {
            return Err(RegexpError::new("'\\k' needs a name: \\k<name>"));
        };
        let name = self.until(end)?.to_owned();
        let known = self.out.names.iter().find(|known| *known.name == *name);
        let group = match (known, name.parse::<i64>()) {
            (Some(known), _) => known.groups.last().copied(),
            (None, Ok(back)) if back < 0 => {
                usize::try_from(-back).ok().and_then(|back| (self.out.groups + 1).checked_sub(back))
            }
            (None, Ok(number)) => usize::try_from(number).ok(),
            (None, Err(_)) => None,
        };
        match group {
            Some(group) => self.refer(group),
            None => Err(RegexpError::new(format!("'\\k<{name}>' refers to no group before it"))),
        }
    }

    fn refer(&mut self, group: usize) -> Result<(), RegexpError> {
        if group == 0 || group > self.out.groups {
            return Err(RegexpError::new(format!("\\{group} refers to no group before it")));
        }
        self.out.needs_backtracking = true;
        // the brackets keep a digit that follows apart
        self.out.text.push_str(&format!("(?:\\{group})"));
        Ok(())
    }
}

/// Whether a backslash is needed to mean the character itself, in and out of a class.
pub(super) fn is_special(c: char) -> bool {
    r"\.+*?()|[]{}^$#&-~".contains(c)
}

/// Reads `n}`, `n,}`, `n,m}` or `,m}`: the counts as text (no maximum means exactly n), and what follows.
fn repeat_counts(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (inside, rest) = text.split_once('}')?;
    let is_count = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    match inside.split_once(',') {
        None => (!inside.is_empty() && is_count(inside)).then_some((inside, None, rest)),
        Some((min, max)) => (is_count(min) && is_count(max) && inside.len() > 1).then_some((min, Some(max), rest)),
    }
}

/// Whether a group has a name: then plain groups capture nothing.
fn has_names(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    let (mut at, mut classes) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => classes += 1,
            b']' => classes = classes.saturating_sub(1),
            b'(' if classes == 0 => match &bytes[at + 1..] {
                [b'?', b'\'', ..] => return true,
                [b'?', b'<', next, ..] if !matches!(next, b'=' | b'!') => return true,
                _ => {}
            },
            _ => {}
        }
        at += 1;
    }
    false
}
