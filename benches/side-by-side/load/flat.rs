//! Flat JSON objects without escapes, as `lines` writes them, field by field.

/// A value.
pub enum Value<'a> {
    /// A string, without its quotes.
    Text(&'a [u8]),
    /// A number without a point.
    Whole(u32),
    /// Any other number.
    Real(f64),
}

/// The fields of an object.
pub fn fields(json: &[u8]) -> impl Iterator<Item = (&[u8], Value<'_>)> {
    let mut rest = json.strip_prefix(b"{").unwrap_or(json);
    std::iter::from_fn(move || {
        let (key, behind) = quoted(rest)?;
        let (value, behind) = value(behind.strip_prefix(b":").unwrap_or(behind));
        rest = behind.strip_prefix(b",").unwrap_or(behind);
        Some((key, value))
    })
}

fn quoted(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = json.strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', inner)?;
    Some((&inner[..end], &inner[end + 1..]))
}

fn value(json: &[u8]) -> (Value<'_>, &[u8]) {
    if let Some((string, rest)) = quoted(json) {
        return (Value::Text(string), rest);
    }
    let end = memchr::memchr2(b',', b'}', json).unwrap_or(json.len());
    let number = std::str::from_utf8(&json[..end]).unwrap_or("0");
    let value = number.parse().map_or_else(|_| Value::Real(number.parse().unwrap_or(0.0)), Value::Whole);
    (value, &json[end..])
}
