//! Strings by their characters. A byte that belongs to no UTF-8 character counts as one, as in Ruby.

/// Length in bytes of the character at `at`, which must be inside.
pub(crate) fn step(text: &[u8], at: usize) -> usize {
    let len = match text[at] {
        0..0x80 => return 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return 1,
    };
    let valid = text.get(at..at + len).is_some_and(|c| std::str::from_utf8(c).is_ok());
    if valid { len } else { 1 }
}

/// The characters, each as its bytes.
pub(crate) fn iter(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let len = if at < text.len() { step(text, at) } else { return None };
        at += len;
        Some(&text[at - len..at])
    })
}

/// Number of characters.
pub(crate) fn count(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Ok(text) => text.chars().count(),
        Err(_) => iter(text).count(),
    }
}

/// Byte offset of character `n`; the length where there are fewer.
pub(crate) fn offset(text: &[u8], n: usize) -> usize {
    if text.is_ascii() {
        return n.min(text.len());
    }
    iter(text).take(n).map(<[u8]>::len).sum()
}

/// Characters `from` to `to`.
pub(crate) fn slice(text: &[u8], from: usize, to: usize) -> &[u8] {
    let start = offset(text, from);
    let rest = &text[start..];
    &rest[..offset(rest, to.saturating_sub(from))]
}

/// A character's number, or for a stray byte a number above all of them.
pub(crate) fn code(char: &[u8]) -> u32 {
    match std::str::from_utf8(char).ok().and_then(|s| s.chars().next()) {
        Some(c) => c as u32,
        None => STRAY + char.first().map_or(0, |b| u32::from(*b)),
    }
}

const STRAY: u32 = 0x11_0000;

/// The bytes of a [`code`].
pub(crate) fn encode(code: u32, out: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.push((code.saturating_sub(STRAY)) as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stray_bytes_count_as_characters() {
        let text = b"a\xffb\xe3\x81\x82\xe3\x81";
        assert_eq!(count(text), 6);
        assert_eq!(slice(text, 3, 4), "あ".as_bytes());
        assert_eq!(slice(text, 4, 9), b"\xe3\x81");
        let codes: Vec<u32> = iter(text).map(code).collect();
        let mut back = Vec::new();
        codes.into_iter().for_each(|c| encode(c, &mut back));
        assert_eq!(back, text);
    }
}
