//! What is found by hand is what the expressions find, on usual lines, odd ones and broken ones.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::apache2;
use super::super::regexp;
use super::super::regexp::Format;
use super::*;
use crate::config::Regexp;
use crate::event::Arena;

static NGINX: LazyLock<Regexp> = LazyLock::new(|| Regexp::new(regexp::Nginx::PATTERN).unwrap());
static APACHE: LazyLock<Regexp> = LazyLock::new(|| Regexp::new(regexp::Apache::PATTERN).unwrap());
static APACHE_ERROR: LazyLock<Regexp> = LazyLock::new(|| Regexp::new(regexp::ApacheError::PATTERN).unwrap());
static APACHE2: LazyLock<Regexp> = LazyLock::new(|| Regexp::new(apache2::PATTERN).unwrap());

/// Fields with the time among them.
type Found = Vec<(String, String)>;

fn by_hand<'a>(line: &impl Line<'a>) -> Found {
    let (mut record, mut encoded) = (Record::new(), Vec::new());
    line.put(&mut record);
    let all = shown(&record);
    // Written straight, the time is not among them.
    line.encode(&mut encoded);
    record.remove(b"time");
    let arena = Arena::new();
    assert_eq!(shown(&Record::decode(&encoded, &arena).unwrap()), shown(&record));
    all
}

fn shown(record: &Record<'_>) -> Found {
    record.iter().map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), format!("{value:?}"))).collect()
}

fn by_expression(expression: &Regexp, text: &[u8]) -> Option<Found> {
    let slots = expression.captures(text)?;
    let fields =
        expression.named(&slots).filter_map(|(name, range)| Some((name.to_string(), Value::Str(&text[range?]))));
    Some(fields.map(|(name, value)| (name, format!("{value:?}"))).collect())
}

/// As the parser has it: every field, with its nils and integers, and the time behind them all.
fn apache2_by_expression(text: &[u8]) -> Option<(Found, String)> {
    let mut record = Record::new();
    let time = apache2::by_expression(&APACHE2, text, &mut record).ok()?;
    Some((shown(&record), format!("{time:?}")))
}

/// Checks all four; gives how many read the line by hand.
fn check(text: &[u8]) -> usize {
    let mut read = 0;
    let mut compare = |found: Option<Found>, expression: &Regexp| {
        if found.is_some() {
            read += 1;
            assert_eq!(found, by_expression(expression, text), "{}", text.escape_ascii());
        }
    };
    compare(nginx(text).map(|line| by_hand(&line)), &NGINX);
    compare(apache(text).map(|line| by_hand(&line)), &APACHE);
    compare(apache_error(text).map(|line| by_hand(&line)), &APACHE_ERROR);
    if let Some(line) = apache2(text) {
        read += 1;
        let found = (by_hand(&line), format!("{:?}", Value::Str(line.time())));
        assert_eq!(Some(found), apache2_by_expression(text), "{}", text.escape_ascii());
    }
    read
}

#[test]
fn usual_lines_are_read_by_hand() {
    let head = "203.0.113.9 - bob [24/Nov/2026:10:00:00 +0000]";
    for (rest, read) in [
        (r#""GET /a/b?c=d HTTP/1.1" 200 396 "-" "curl/8.5""#, 3),
        (r#""GET /a b HTTP/1.1" 200 396 "-" "curl/8.5""#, 2),
        (r#""GET /a  HTTP/1.1" 200 396"#, 3),
        (r#""GET /a" 200 396 "-" "curl/8.5""#, 2),
        (r#""GET " 200 396 "-" "curl/8.5""#, 2),
        ("\"GET /a\tb\tHTTP/1.1\" 200 396 \"-\" \"x\"", 2),
        (r#""GET /é HTTP/1.1" 200 - "-" "-""#, 3),
        (r#""GET / HTTP/1.1" 200 396 "-" "curl/8.5" "10.0.0.1""#, 1),
        (r#""GET / HTTP/1.1" 200 396 "-" "a \"b\"""#, 0),
        (r#""GET" 200 396 "-" "curl/8.5""#, 0),
    ] {
        assert_eq!(check(format!("{head} {rest}").as_bytes()), read, "{rest}");
    }
    for line in [
        "[Wed Oct 11 14:32:52 2000] [error] [client 127.0.0.1] client denied by server configuration",
        "[Wed Oct 11 14:32:52.1 2000] [core:error] [pid 35708:tid 43] [client 72.15.99.187:1] File does not exist: [x]",
        "[Wed Oct 11 14:32:52 2000] [notice] caught SIGTERM",
    ] {
        assert_eq!(check(line.as_bytes()), 1, "{line}");
    }
}

/// What delimits, what nearly does, and what is no text.
const PALETTE: &[&[u8]] = &[
    b" ",
    b"  ",
    b"\"",
    b"\\\"",
    b"\\",
    b"[",
    b"]",
    b"-",
    b"\t",
    b"\r",
    b"\x0b",
    b"\n",
    b"\xc3\xa9",
    b"\xff",
    b"\" \"",
    b"] [",
    b" [pid ",
    b" [client ",
    b"\x00",
    b"\xe2\x80\xa8",
    b"a",
];

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[a-zA-Z0-9/._?=&-]{0,9}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(proptest::sample::select(PALETTE), 0..3).prop_map(|parts| parts.concat()),
    ]
}

fn joined(delimiters: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), delimiters.len()).prop_map(|pieces| {
        let pairs = delimiters.iter().zip(pieces);
        pairs.flat_map(|(delimiter, piece)| [delimiter.as_bytes().to_vec(), piece]).flatten().collect()
    })
}

/// Whole and half lines of every format, with pieces of the palette in their fields.
fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        joined(&["", " ", " ", " [", "] \"", " ", " ", "\" ", " ", " \"", "\" \"", "\""]),
        joined(&["", " ", " ", " [", "] \"", " ", " ", "\" ", " ", " \"", "\" \"", "\" \"", "\""]),
        joined(&["", " ", " ", " [", "] \"", " ", "\" ", " "]),
        joined(&["[", " ", "] [", "] [pid ", "] [client ", "] "]),
        joined(&["[", " ", "] [", "] [client ", "] ", " "]),
        joined(&["[", " ", "] [", "] ", " "]),
        proptest::collection::vec(proptest::sample::select(PALETTE), 0..30).prop_map(|parts| parts.concat()),
    ]
}

/// Places and what is put there, in place of so many bytes.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, &'static [u8], usize)>> {
    proptest::collection::vec((any::<prop::sample::Index>(), proptest::sample::select(PALETTE), 0usize..3), 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn what_is_read_by_hand_is_what_the_expression_reads(line in line(), changes in changes()) {
        let mut line = line;
        for (place, new, old) in changes {
            let from = place.index(line.len() + 1);
            let to = (from + old).min(line.len());
            line.splice(from..to, new.iter().copied());
        }
        check(&line);
    }
}
