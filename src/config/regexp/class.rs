//! Bracketed classes, POSIX names, properties and character escapes of Ruby patterns.

use super::RegexpError;
use super::translate::Flavour;

/// How deep classes may nest.
const MAX_CLASS_DEPTH: usize = 20;

/// Takes the first character of `rest`.
pub(super) fn bump(rest: &mut &str) -> Option<char> {
    let c = rest.chars().next()?;
    *rest = &rest[c.len_utf8()..];
    Some(c)
}

/// Takes `text` off the front of `rest`; whether it stood there.
pub(super) fn eat(rest: &mut &str, text: &str) -> bool {
    let Some(behind) = rest.strip_prefix(text) else { return false };
    *rest = behind;
    true
}

/// The Rust form of `\d`, `\W`, ... outside a class. They are ASCII in Ruby.
pub(super) fn shorthand(c: char) -> &'static str {
    match c {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        's' => r"[\t\n\x0B\x0C\r\x20]",
        'S' => r"[^\t\n\x0B\x0C\r\x20]",
        'h' => "[0-9A-Fa-f]",
        _ => "[^0-9A-Fa-f]",
    }
}

/// Reads a class from after its opening bracket; gives its Rust form and what follows the closing one.
pub(super) fn translate(text: &str, flavour: Flavour) -> Result<(String, &str), RegexpError> {
    let mut reader = Reader { rest: text, flavour };
    let class = reader.class(0)?;
    Ok((class, reader.rest))
}

struct Reader<'a> {
    rest: &'a str,
    flavour: Flavour,
}

/// One member of a class.
enum Item {
    One(char),
    /// Something that is already in Rust's form and can't start or end a range.
    Set(String),
}

impl Reader<'_> {
    fn class(&mut self, depth: usize) -> Result<String, RegexpError> {
        if depth > MAX_CLASS_DEPTH {
            return Err(RegexpError::new(format!("classes are nested deeper than {MAX_CLASS_DEPTH}")));
        }
        let negated = eat(&mut self.rest, "^");
        let mut members = String::new();
        // a bracket that comes first is itself, if another one closes the class
        if self.rest.starts_with(']') && self.rest[1..].contains(']') {
            self.rest = &self.rest[1..];
            members.push_str(r"\]");
        }
        while !eat(&mut self.rest, "]") {
            if self.rest.is_empty() {
                return Err(RegexpError::new("a character class is never closed; a ']' is missing"));
            }
            self.member(depth, &mut members)?;
        }
        if members.is_empty() && self.flavour == Flavour::Unicode {
            return Err(RegexpError::new("a character class is empty"));
        }
        if members.is_empty() {
            // all members were beyond ASCII
            return Ok(if negated { r"[\x00-\x7F]" } else { r"[^\x00-\x7F]" }.into());
        }
        Ok(format!("[{}{members}]", if negated { "^" } else { "" }))
    }

    fn member(&mut self, depth: usize, members: &mut String) -> Result<(), RegexpError> {
        if eat(&mut self.rest, "&&") {
            members.push_str("&&");
            return Ok(());
        }
        match self.item(depth)? {
            Item::Set(set) => members.push_str(&set),
            Item::One(low) => {
                let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1;
                if !is_range {
                    self.push(low, low, members);
                    return Ok(());
                }
                self.rest = &self.rest[1..];
                match self.item(depth)? {
                    Item::One(high) if low <= high => self.push(low, high, members),
                    Item::One(high) => {
                        return Err(RegexpError::new(format!("the range '{low}-{high}' is empty")));
                    }
                    Item::Set(set) => {
                        self.push(low, low, members);
                        members.push_str(r"\-");
                        members.push_str(&set);
                    }
                }
            }
        }
        Ok(())
    }

    fn item(&mut self, depth: usize) -> Result<Item, RegexpError> {
        let before = self.rest;
        if eat(&mut self.rest, "[:") {
            if let Some(set) = self.posix()? {
                return Ok(Item::Set(set));
            }
            self.rest = before;
        }
        let Some(c) = bump(&mut self.rest) else {
            return Err(RegexpError::new("a character class is never closed; a ']' is missing"));
        };
        match c {
            '[' => Ok(Item::Set(self.class(depth + 1)?)),
            '\\' => self.escape(),
            c => Ok(Item::One(c)),
        }
    }

    /// After `[:`; `None` if no name and `:]` follow: then the bracket opens a nested class that has a colon in it.
    fn posix(&mut self) -> Result<Option<String>, RegexpError> {
        let name =
            self.rest.split_once(":]").filter(|(name, _)| name.chars().all(|c| c.is_ascii_alphabetic() || c == '^'));
        let Some((name, rest)) = name else {
            return Ok(None);
        };
        let (negated, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
        let set = named_set(name, self.flavour).ok_or_else(|| RegexpError::new(format!("'[:{name}:]' is unknown")))?;
        self.rest = rest;
        Ok(Some(if negated { format!("[^{set}]") } else { set.to_owned() }))
    }

    fn escape(&mut self) -> Result<Item, RegexpError> {
        let Some(c) = bump(&mut self.rest) else {
            return Err(RegexpError::new("the pattern ends in a backslash"));
        };
        match c {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'h' | 'H' => Ok(Item::Set(shorthand(c).to_owned())),
            'R' => Ok(Item::Set(r"\n\x0B\x0C\r".to_owned())),
            'p' | 'P' => {
                let (set, rest) = property(self.rest, c == 'P', self.flavour)?;
                self.rest = rest;
                Ok(Item::Set(set))
            }
            'b' => Ok(Item::One('\u{8}')),
            c => {
                let (letter, rest) = character(c, self.rest)?;
                self.rest = rest;
                Ok(Item::One(letter))
            }
        }
    }

    /// Adds a range. In the ASCII flavour, what lies beyond never occurs in the text and is left out.
    fn push(&self, low: char, high: char, members: &mut String) {
        let high = match self.flavour {
            Flavour::Ascii if !low.is_ascii() => return,
            Flavour::Ascii if !high.is_ascii() => '\u{7f}',
            _ => high,
        };
        push_letter(low, members);
        if low != high {
            members.push('-');
            push_letter(high, members);
        }
    }
}

fn push_letter(c: char, members: &mut String) {
    if c.is_alphanumeric() {
        members.push(c);
    } else {
        members.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
    }
}

/// The members of a POSIX class. Ruby's are Unicode.
fn named_set(name: &str, flavour: Flavour) -> Option<&'static str> {
    let (ascii, unicode) = match name.to_ascii_lowercase().as_str() {
        "alpha" => ("A-Za-z", r"\p{L}\p{M}"),
        "alnum" => ("0-9A-Za-z", r"\p{L}\p{M}\p{Nd}"),
        "word" => ("0-9A-Za-z_", r"\p{L}\p{M}\p{Nd}\p{Pc}"),
        "digit" => ("0-9", r"\p{Nd}"),
        "upper" => ("A-Z", r"\p{Lu}"),
        "lower" => ("a-z", r"\p{Ll}"),
        "space" => (r"\t\n\x0B\x0C\r\x20", r"\p{White_Space}"),
        "blank" => (r"\t\x20", r"\t\p{Zs}"),
        "cntrl" => (r"\x00-\x1F\x7F", r"\p{Cc}"),
        "punct" => (r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E", r"\p{P}\x24\x2B\x3C-\x3E\x5E\x60\x7C\x7E"),
        "graph" => (r"\x21-\x7E", r"\p{L}\p{M}\p{N}\p{P}\p{S}"),
        "print" => (r"\x20-\x7E", r"\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}"),
        "xdigit" => ("0-9A-Fa-f", "0-9A-Fa-f"),
        "ascii" => (r"\x00-\x7F", r"\x00-\x7F"),
        _ => return None,
    };
    Some(if flavour == Flavour::Ascii { ascii } else { unicode })
}

/// Reads `{Name}` or `{^Name}` after `\p` or `\P`; gives members of a class and what follows.
pub(super) fn property(text: &str, negated: bool, flavour: Flavour) -> Result<(String, &str), RegexpError> {
    let inside = text.strip_prefix('{').and_then(|text| text.split_once('}'));
    let Some((name, rest)) = inside else {
        return Err(RegexpError::new("'\\p' needs a name: \\p{Alpha}"));
    };
    let (negated, name) = name.strip_prefix('^').map_or((negated, name), |name| (!negated, name));
    let set = match named_set(name, flavour) {
        Some(set) => set.to_owned(),
        None if flavour == Flavour::Ascii => {
            return Err(RegexpError::new("a Unicode property is no set of bytes"));
        }
        None if name.chars().all(|c| c.is_ascii_alphanumeric() || "_ -".contains(c)) => {
            format!("\\p{{{name}}}")
        }
        None => {
            return Err(RegexpError::new(format!("the property '{name}' is unknown")));
        }
    };
    Ok((if negated { format!("[^{set}]") } else { set }, rest))
}

/// The character that a backslash and `c` mean, and what follows it.
pub(super) fn character(c: char, rest: &str) -> Result<(char, &str), RegexpError> {
    let plain = match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'f' => '\u{c}',
        'v' => '\u{b}',
        'a' => '\u{7}',
        'e' => '\u{1b}',
        'x' => return hexadecimal(rest),
        'u' => return unicode(rest),
        'c' => return control(rest),
        'C' if rest.starts_with('-') => return control(&rest[1..]),
        '0'..='7' => return octal(c, rest),
        c => c,
    };
    Ok((plain, rest))
}

/// `\x41`, or the bytes of one UTF-8 character: `\xE3\x81\x82`.
fn hexadecimal(rest: &str) -> Result<(char, &str), RegexpError> {
    let digits = rest.bytes().take(2).take_while(u8::is_ascii_hexdigit).count();
    let byte =
        u8::from_str_radix(&rest[..digits], 16).map_err(|_| RegexpError::new("'\\x' needs hexadecimal digits"))?;
    let mut rest = &rest[digits..];
    let mut bytes = vec![byte];
    while byte >= 0x80 && bytes.len() < 4 && std::str::from_utf8(&bytes).is_err() {
        let next = rest.strip_prefix("\\x").and_then(|text| u8::from_str_radix(text.get(..2)?, 16).ok());
        let Some(next) = next else { break };
        bytes.push(next);
        rest = &rest[4..];
    }
    match std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next()) {
        Some(letter) => Ok((letter, rest)),
        None => Err(RegexpError::new("'\\x' with these bytes is no UTF-8 character")),
    }
}

/// `\u00e9` and `\u{e9}`.
fn unicode(rest: &str) -> Result<(char, &str), RegexpError> {
    let (digits, rest) = match rest.strip_prefix('{').and_then(|text| text.split_once('}')) {
        Some(found) => found,
        None => rest.split_at_checked(4).unwrap_or(("", rest)),
    };
    let letter = u32::from_str_radix(digits.trim(), 16).ok().and_then(char::from_u32);
    letter.map(|letter| (letter, rest)).ok_or_else(|| RegexpError::new("'\\u' needs four hexadecimal digits"))
}

fn control(rest: &str) -> Result<(char, &str), RegexpError> {
    match rest.chars().next() {
        Some('?') => Ok(('\u{7f}', &rest[1..])),
        Some(c) if c.is_ascii() => Ok((char::from(c as u8 & 0x1f), &rest[1..])),
        _ => Err(RegexpError::new("'\\c' needs a letter")),
    }
}

fn octal(first: char, rest: &str) -> Result<(char, &str), RegexpError> {
    let more = rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
    let digits = format!("{first}{}", &rest[..more]);
    let code = u32::from_str_radix(&digits, 8).ok().filter(|code| *code < 0x80);
    let letter = code.and_then(char::from_u32).ok_or_else(|| RegexpError::new("octal escapes end at \\177"))?;
    Ok((letter, &rest[more..]))
}
