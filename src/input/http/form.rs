//! Bodies of `multipart/form-data` (RFC 7578), as far as parameters can be in them.

use std::borrow::Cow;

use memchr::memmem;

use super::query::Parameters;

/// The boundary of a content type; `None` where the type is another.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").filter(|b| !b.is_empty())?;
    Some(boundary.strip_prefix('"').and_then(|b| b.strip_suffix('"')).unwrap_or(boundary))
}

/// The named parts of a body. Of parts with the same name the first counts.
///
/// Errors: too many of them.
pub(super) fn parse<'a>(body: &'a [u8], boundary: &str) -> Result<Parameters<'a>, String> {
    let mut parameters = Parameters::default();
    let mark = [b"--", boundary.as_bytes()].concat();
    let mut marks = lines_with(body, &mark).peekable();
    while let Some(line) = marks.next() {
        let end = marks.peek().map_or(body.len(), |next| next.start);
        let part = &body[line.end.min(end)..end];
        let part = part.strip_suffix(b"\r\n").unwrap_or(part);
        if let Some((name, value)) = named(part)
            && parameters.get(&String::from_utf8_lossy(name)).is_none()
        {
            parameters.push(Cow::Borrowed(name), Cow::Borrowed(value))?;
        }
    }
    Ok(parameters)
}

/// The lines that consist of `mark`, with two hyphens behind it for the last.
fn lines_with<'a>(body: &'a [u8], mark: &'a [u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let marks: Vec<usize> = memmem::find_iter(body, mark).collect();
    marks.into_iter().filter_map(move |start| {
        let begins = start == 0 || body[start - 1] == b'\n';
        let rest = &body[start + mark.len()..];
        let rest = rest.strip_prefix(b"--").unwrap_or(rest);
        let after = rest.strip_prefix(b"\r\n").or_else(|| rest.is_empty().then_some(rest))?;
        begins.then(|| start..body.len() - after.len())
    })
}

/// Name and content of a part.
fn named(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, value) = match part.strip_prefix(b"\r\n") {
        Some(value) => (&b""[..], value),
        None => {
            let end = memmem::find(part, b"\r\n\r\n")?;
            (&part[..end], &part[end + 4..])
        }
    };
    let disposition = head
        .split(|b| *b == b'\n')
        .find(|line| line.get(..20).is_some_and(|name| name.eq_ignore_ascii_case(b"content-disposition:")))?;
    let start = memmem::find(disposition, b" name=")? + 6;
    let rest = disposition[start..].trim_ascii_end();
    let name = match rest.strip_prefix(b"\"") {
        Some(quoted) => &quoted[..memchr::memchr(b'"', quoted)?],
        None => &rest[..memchr::memchr(b';', rest).unwrap_or(rest.len())],
    };
    Some((name, value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parts_become_parameters() {
        let body = b"preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{\"a\":6}\r\n\
            --XX\r\ncontent-type: x\r\ncontent-disposition: form-data; name=time; filename=\"f\"\r\n\r\n1\r\n--XXy\r\n\r\n\
            --XX\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\nlater\r\n--XX--\r\nepilogue";
        let parameters = parse(body, "XX").unwrap();
        assert_eq!(parameters.get("json"), Some(&b"{\"a\":6}"[..]));
        assert_eq!(parameters.get("time"), Some(&b"1\r\n--XXy\r\n"[..]));
        assert_eq!(parameters.iter().count(), 2);
    }

    #[test]
    fn an_unfinished_body_keeps_what_is_there() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{}\r\n--b--";
        assert_eq!(parse(body, "b").unwrap().get("json"), Some(&b"{}"[..]));
        for odd in [
            &b""[..],
            b"--b",
            b"--b\r\n",
            b"--b\r\n\r\n",
            b"--b\r\nContent-Disposition: form-data; name=\"",
            b"--b--\r\n",
        ] {
            assert_eq!(parse(odd, "b").unwrap(), Parameters::default(), "{odd:?}");
        }
    }

    #[test]
    fn boundaries_may_be_quoted() {
        assert_eq!(boundary("multipart/form-data; boundary=\"a b\""), Some("a b"));
        assert_eq!(boundary("multipart/form-data; boundary=ab"), Some("ab"));
        assert_eq!(boundary("multipart/form-data"), None);
    }
}
