//! `String#succ`: the next text in counting order.

/// What a place of a text counts through.
fn cycle(byte: u8) -> Option<(u8, u8)> {
    match byte {
        b'0'..=b'9' => Some((b'0', b'9')),
        b'a'..=b'z' => Some((b'a', b'z')),
        b'A'..=b'Z' => Some((b'A', b'Z')),
        _ => None,
    }
}

/// The text after `text`: letters and digits count up from the right, and the leftmost of them grows a place.
pub(crate) fn succ(text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    let Some(last) = out.iter().rposition(|b| cycle(*b).is_some()) else { return succ_bytes(out) };
    let mut at = last;
    loop {
        let Some((low, high)) = cycle(out[at]) else { return out };
        if out[at] != high {
            out[at] += 1;
            return out;
        }
        out[at] = low;
        let left = out[..at].iter().rposition(|b| cycle(*b).is_some());
        // Only neighbours carry, or letters and digits across a single run of other signs.
        match left {
            Some(left) => at = left,
            None => {
                out.insert(at, if low == b'0' { b'1' } else { low });
                return out;
            }
        }
    }
}

fn succ_bytes(mut out: Vec<u8>) -> Vec<u8> {
    for at in (0..out.len()).rev() {
        if out[at] < 0x7f {
            out[at] += 1;
            return out;
        }
        out[at] = 0;
    }
    if !out.is_empty() {
        out.insert(0, 1);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_digits_carry() {
        for (text, next) in [
            ("az", "ba"),
            ("zz", "aaa"),
            ("a9", "b0"),
            ("Az", "Ba"),
            ("zZ9", "aaA0"),
            ("1.9", "2.0"),
            ("***", "**+"),
            ("", ""),
        ] {
            assert_eq!(succ(text.as_bytes()), next.as_bytes(), "{text}");
        }
    }
}
