//! Words of embedded Ruby. The parser asks for one at a time, because `/` and `?` mean different things in different places.

use std::ops::Range;

use super::Refusal;

/// How deep strings with code may stand inside code; a person needs two.
const MAX_NESTED_CODE: usize = 16;

/// A piece of a string in double quotes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// The bytes between `#{` and `}`.
    Code(Range<usize>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    Integer(i64),
    Float(f64),
    Text(Vec<Piece>),
    /// A name in small letters, with its `?` or `!`.
    Name(String),
    /// A name that starts with a capital.
    Constant(String),
    Sign(&'static str),
    End,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub word: Word,
    pub range: Range<usize>,
}

/// Longest first, so that `||` is not read as `|`.
const SIGNS: &[&str] = &[
    "===", "<=>", "**", "||", "&&", "==", "!=", "=~", "!~", "<=", ">=", "&.", "::", "..", "+", "-", "*", "/", "%", "<",
    ">", "!", "?", ":", "(", ")", "[", "]", "{", "}", ",", ".", "=", "&", "|", ";", "`", "$", "@", "\\", "~", "^", "#",
];

/// The word at or after byte `at`.
pub(super) fn next(code: &str, at: usize) -> Result<Token, Refusal> {
    let start = at + (code.len() - at - code[at..].trim_start().len());
    let rest = &code[start..];
    let token = |word, len: usize| Ok(Token { word, range: start..start + len });
    let Some(first) = rest.chars().next() else {
        return token(Word::End, 0);
    };
    match first {
        '"' => {
            let (pieces, end) = double_quoted(code, start + 1, Some('"'))?;
            token(Word::Text(pieces), end - start)
        }
        '\'' => {
            let (text, end) = single_quoted(code, start + 1)?;
            token(Word::Text(vec![Piece::Text(text)]), end - start)
        }
        '0'..='9' => number(rest, start),
        c if c.is_alphabetic() || c == '_' => {
            let len = name_len(rest);
            let name = rest[..len].to_owned();
            token(if c.is_uppercase() { Word::Constant(name) } else { Word::Name(name) }, len)
        }
        _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => token(Word::Sign(sign), sign.len()),
            None => Err(Refusal::unsupported(start..start + first.len_utf8(), format!("'{first}'"))),
        },
    }
}

fn name_len(text: &str) -> usize {
    let len = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let mut after = text[len..].chars();
    match (after.next(), after.next()) {
        (Some('?' | '!'), next) if next != Some('=') => len + 1,
        _ => len,
    }
}

fn number(text: &str, start: usize) -> Result<Token, Refusal> {
    let digits = |text: &str| text.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    let whole = digits(text);
    let fraction = match text[whole..].strip_prefix('.') {
        Some(after) if after.starts_with(|c: char| c.is_ascii_digit()) => 1 + digits(after),
        _ => 0,
    };
    let len = whole + fraction;
    let plain = text[..len].replace('_', "");
    let word = if fraction > 0 { plain.parse().ok().map(Word::Float) } else { plain.parse().ok().map(Word::Integer) };
    let odd =
        text[len..].starts_with(|c: char| c.is_alphanumeric()) || (len > 1 && fraction == 0 && plain.starts_with('0'));
    match word {
        Some(word) if !odd => Ok(Token { word, range: start..start + len }),
        _ => Err(Refusal::unsupported(start..start + len, "a number that is not plain decimal")),
    }
}

/// Reads from after the opening quote; gives the text and the byte after the closing one.
fn single_quoted(code: &str, from: usize) -> Result<(String, usize), Refusal> {
    let mut text = String::new();
    let mut chars = code[from..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Ok((text, from + at + 1)),
            '\\' => match chars.next_if(|(_, next)| matches!(next, '\'' | '\\')) {
                Some((_, escaped)) => text.push(escaped),
                None => text.push('\\'),
            },
            c => text.push(c),
        }
    }
    Err(Refusal::new(from - 1..code.len(), "a string in embedded code is never closed"))
}

/// Reads the inside of a string in double quotes from byte `from` up to `quote`, or to the end of the text if that is `None`.
/// Gives the pieces and the byte after the closing quote.
pub(super) fn double_quoted(code: &str, from: usize, quote: Option<char>) -> Result<(Vec<Piece>, usize), Refusal> {
    let (mut pieces, mut text, mut at) = (Vec::new(), String::new(), from);
    while let Some(c) = code[at..].chars().next() {
        if Some(c) == quote {
            push_text(&mut pieces, text);
            return Ok((pieces, at + 1));
        }
        if code[at..].starts_with("#{") {
            let inside = at + 2;
            let len = end_of_code(&code[inside..])
                .ok_or_else(|| Refusal::new(at..code.len(), "embedded code is never closed; a '}' is missing"))?;
            push_text(&mut pieces, std::mem::take(&mut text));
            pieces.push(Piece::Code(inside..inside + len));
            at = inside + len + 1;
        } else if c == '\\' {
            at = escape(code, at, &mut text);
        } else {
            text.push(c);
            at += c.len_utf8();
        }
    }
    if quote.is_some() {
        return Err(Refusal::new(from.saturating_sub(1)..code.len(), "a string in embedded code is never closed"));
    }
    push_text(&mut pieces, text);
    Ok((pieces, at))
}

fn push_text(pieces: &mut Vec<Piece>, text: String) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
}

/// One backslash escape of Ruby at byte `at`; gives the byte after it.
fn escape(code: &str, at: usize, text: &mut String) -> usize {
    let Some(c) = code[at + 1..].chars().next() else {
        text.push('\\');
        return at + 1;
    };
    if c == 'u' {
        let hex = code.get(at + 2..at + 6).and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        if let Some(letter) = hex {
            text.push(letter);
            return at + 6;
        }
    }
    match c {
        'n' => text.push('\n'),
        't' => text.push('\t'),
        'r' => text.push('\r'),
        'f' => text.push('\u{c}'),
        'b' => text.push('\u{8}'),
        'a' => text.push('\u{7}'),
        'e' => text.push('\u{1b}'),
        's' => text.push(' '),
        '0' => text.push('\0'),
        '\n' => {}
        other => text.push(other),
    }
    at + 1 + c.len_utf8()
}

/// The inside of `/.../flags` from after the opening slash: pattern, flags, and the byte after them.
pub(super) fn regexp(code: &str, from: usize) -> Result<(String, String, usize), Refusal> {
    let (mut at, mut in_class) = (from, false);
    let bytes = code.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'/' if !in_class => {
                let flags = code[at + 1..].chars().take_while(|c| "imx".contains(*c)).collect::<String>();
                let end = at + 1 + flags.len();
                return Ok((code[from..at].to_owned(), flags, end));
            }
            _ => {}
        }
        at += 1;
    }
    Err(Refusal::new(from - 1..code.len(), "a regular expression in embedded code is never closed"))
}

/// See [`super::end_of_code`].
pub(super) fn end_of_code(text: &str) -> Option<usize> {
    code_end(text.as_bytes(), 0, 0)
}

fn code_end(bytes: &[u8], mut at: usize, nested: usize) -> Option<usize> {
    let mut open = 0_usize;
    if nested > MAX_NESTED_CODE {
        return None;
    }
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            b'{' => open += 1,
            b'"' | b'`' => at = string_end(bytes, at + 1, byte, nested)?,
            b'\'' => at = string_end(bytes, at + 1, byte, MAX_NESTED_CODE)?,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The byte of the closing quote. Single quotes come with `nested` at its limit: they hold no code.
fn string_end(bytes: &[u8], mut at: usize, quote: u8, nested: usize) -> Option<usize> {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'#' if quote != b'\'' && bytes.get(at + 1) == Some(&b'{') => at = code_end(bytes, at + 2, nested + 1)?,
            byte if byte == quote => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}
