//! `syslog`: RFC 3164 and RFC 5424 messages, read as Fluentd's regular expressions read them (lib/fluent/plugin/
//! parser_syslog.rb), by hand: every message takes time in proportion to its length, whatever is in it.

use memchr::{memchr, memchr_iter};
use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use crate::config::Diagnostic;
use crate::event::timefmt::TimeParser;
use crate::event::{Arena, EventTime, Record, Value};
use crate::plugin::{BuildContext, Configure, ParseError, Parser, TimeParams};

/// Time of RFC 3164.
const TIME_3164: &str = "%b %d %H:%M:%S";
/// RFC 5424 times that have no fraction, tried when the configured format does not fit.
const TIME_5424_WHOLE: &str = "%Y-%m-%dT%H:%M:%S%z";

/// Longest fields of RFC 5424 (section 6), in bytes.
const MAX_HOST: usize = 255;
const MAX_IDENT: usize = 48;
const MAX_PID: usize = 128;
const MAX_MSGID: usize = 32;

/// Which RFC messages follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// The old format: `Sep 11 00:00:00 host ident[pid]: message`.
    #[default]
    Rfc3164,
    /// The new one, with structured data.
    Rfc5424,
    /// RFC 5424 where a version follows the priority, else RFC 3164.
    Auto,
}

/// Fluentd's two ways to read RFC 3164.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    /// The program's name ends before a colon anywhere in the message.
    #[default]
    Regexp,
    /// The program's name is the first word.
    String,
}

/// Parameters of `syslog`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct SyslogParams {
    /// Whether messages begin with a priority, `<13>`. It becomes the field `pri`.
    with_priority: bool,
    /// `rfc3164`, `rfc5424` or `auto`.
    message_format: Format,
    /// Format of RFC 5424 times.
    rfc5424_time_format: String,
    /// `regexp` or `string`: how an RFC 3164 message's program name is found. Both are equally fast here. Of RFC 5424
    /// messages, `string` takes an empty message too and leaves backslashes out of the structured data.
    #[serde(alias = "parser_type")]
    parser_engine: Engine,
    /// For `string`: whether a program name may stand without a colon.
    support_colonless_ident: bool,
}

impl Default for SyslogParams {
    fn default() -> Self {
        SyslogParams {
            with_priority: false,
            message_format: Format::default(),
            rfc5424_time_format: "%Y-%m-%dT%H:%M:%S.%L%z".into(),
            parser_engine: Engine::default(),
            support_colonless_ident: true,
        }
    }
}

/// Times of one format, and how many words they have.
struct Times {
    parser: TimeParser,
    words: usize,
}

impl Times {
    fn build(params: &TimeParams, format: &str) -> Result<Times, String> {
        let words = format.split(' ').filter(|w| !w.is_empty()).count().max(1);
        Ok(Times { parser: params.clone().with_format(format).parser()?, words })
    }

    fn parse(&self, text: &[u8]) -> Result<EventTime, ParseError> {
        let parsed = self.parser.parse_value(Value::Str(text), EventTime::now);
        parsed.map_err(ParseError::invalid)
    }
}

/// The parser.
pub(crate) struct Syslog {
    params: SyslogParams,
    keep_time: bool,
    old: Times,
    new: Times,
    new_whole: Times,
}

impl Configure for Syslog {
    type Config = SyslogParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(params: SyslogParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let common = Common::build(cx, Defaults { time_format: Some(TIME_3164), ..Defaults::default() })?;
        for name in ["types", "time_key", "null_value_pattern", "null_empty_string"] {
            if cx.section.text(name).is_some() {
                cx.warn(name, format!("'{name}' has no effect on syslog messages; use record_transformer"));
            }
        }
        let times: TimeParams = cx.shared()?;
        let given = cx.section.text("time_format").map(str::to_owned);
        let old = given.as_deref().unwrap_or(TIME_3164);
        let new = match params.message_format {
            Format::Rfc5424 => given.as_deref().unwrap_or(&params.rfc5424_time_format),
            _ => &params.rfc5424_time_format,
        };
        let fault = |name: &'static str| move |e: String| (name, e);
        let built = (|| {
            let old = Times::build(&times, old).map_err(fault("time_format"))?;
            let new = Times::build(&times, new).map_err(fault("rfc5424_time_format"))?;
            Ok((old, new, Times::build(&times, TIME_5424_WHOLE).map_err(fault("time_format"))?))
        })();
        let (old, new, new_whole) = built.map_err(|(name, e): (&str, String)| cx.fault(name, e))?;
        Ok(Syslog { params, keep_time: common.keeps_time(), old, new, new_whole })
    }
}

impl Parser for Syslog {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        record.clear();
        match self.params.message_format {
            Format::Rfc3164 => self.parse_old(text, arena, record),
            Format::Rfc5424 => self.parse_new(text, arena, record),
            Format::Auto if has_version(text) => self.parse_new(text, arena, record),
            Format::Auto => self.parse_old(text, arena, record),
        }
    }
}

impl Syslog {
    fn parse_old<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        let text = self.take_priority(text, record)?;
        let (time, rest) = take_words(text, self.old.words, arena).ok_or(ParseError::Unmatched)?;
        let parsed = self.old.parse(time)?;
        self.note_time(time, record);
        let (host, rest) = cut(rest, b' ').ok_or(ParseError::Unmatched)?;
        record.push(b"host", Value::Str(host));
        match self.params.parser_engine {
            Engine::Regexp => ident_before_colon(rest, record),
            Engine::String => self.ident_is_first_word(rest, record),
        }
        Ok(Some(parsed))
    }

    fn parse_new<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        let mut text = self.take_priority(text, record)?;
        if self.params.with_priority {
            text = skip_version(text).ok_or(ParseError::Unmatched)?;
        }
        let (time, rest) = take_words(text, self.new.words, arena).ok_or(ParseError::Unmatched)?;
        let parsed = self.new.parse(time).or_else(|_| self.new_whole.parse(time))?;
        self.note_time(time, record);
        let mut found = Header::find(rest);
        if self.params.parser_engine == Engine::String {
            found = found.or_else(|| Header::with_empty_message(rest)).map(|h| h.without_escapes(arena));
        }
        found.ok_or(ParseError::Unmatched)?.put(record);
        Ok(Some(parsed))
    }

    fn take_priority<'a>(&self, text: &'a [u8], record: &mut Record<'a>) -> Result<&'a [u8], ParseError> {
        if !self.params.with_priority {
            return Ok(text);
        }
        let (priority, rest) = priority(text).ok_or(ParseError::Unmatched)?;
        record.push(b"pri", Value::Int(i64::from(priority)));
        Ok(rest)
    }

    fn note_time<'a>(&self, time: &'a [u8], record: &mut Record<'a>) {
        if self.keep_time {
            record.push(b"time", Value::Str(time));
        }
    }

    /// `ident[pid]: message`, where the first word is the name, with or without a colon.
    fn ident_is_first_word<'a>(&self, text: &'a [u8], record: &mut Record<'a>) {
        let (word, rest) = match cut(text, b' ') {
            Some((word, rest)) if word.ends_with(b":") => (&word[..word.len() - 1], rest),
            Some((word, rest)) if self.params.support_colonless_ident => (word, rest),
            _ => return record.push(b"message", Value::Str(chomp(text))),
        };
        let bracket = memchr(b'[', word).filter(|_| word.ends_with(b"]"));
        record.push(b"ident", Value::Str(&word[..bracket.unwrap_or(word.len())]));
        if let Some(at) = bracket {
            record.push(b"pid", Value::Str(&word[at + 1..word.len() - 1]));
        }
        record.push(b"message", Value::Str(chomp(rest)));
    }
}

/// `ident[pid]`, then what is skipped up to the first colon, then the message: the first line of the rest.
fn ident_before_colon<'a>(text: &'a [u8], record: &mut Record<'a>) {
    let end = text.iter().position(|b| matches!(b, b' ' | b':' | b'[')).unwrap_or(text.len());
    let (ident, mut rest) = text.split_at(end);
    record.push(b"ident", Value::Str(ident));
    if let Some((pid, after)) = bracketed_digits(rest) {
        record.push(b"pid", Value::Str(pid));
        rest = after;
    }
    if let Some((_, after)) = cut(rest, b':') {
        rest = after;
    }
    let start = rest.iter().position(|b| *b != b' ').unwrap_or(rest.len());
    let rest = &rest[start..];
    let line = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
    record.push(b"message", Value::Str(chomp(line)));
}

/// The fields of RFC 5424 behind the time.
struct Header<'a> {
    host: &'a [u8],
    ident: &'a [u8],
    pid: &'a [u8],
    msgid: &'a [u8],
    extradata: &'a [u8],
    message: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The leftmost place in `text` where four words, structured data and an optional message lead to the end.
    fn find(text: &'a [u8]) -> Option<Header<'a>> {
        // The last four word ends passed, and where the word before them begins.
        let mut starts = [0usize; 5];
        let mut words = 0usize;
        let mut no_bracket = false;
        for space in memchr_iter(b' ', text) {
            words += 1;
            starts.rotate_left(1);
            starts[4] = space + 1;
            if words < 4 {
                continue;
            }
            let word = |n: usize| &text[starts[n]..starts[n + 1] - 1];
            let host = printable_tail(word(0));
            let fits = [(word(1), MAX_IDENT), (word(2), MAX_PID), (word(3), MAX_MSGID)];
            if host.is_empty() || !fits.iter().all(|(w, max)| is_field(w, *max)) {
                continue;
            }
            if let Some((extradata, message)) = structured(&text[starts[4]..], &mut no_bracket) {
                let [ident, pid, msgid] = fits.map(|(w, _)| w);
                return Some(Header { host, ident, pid, msgid, extradata, message });
            }
        }
        None
    }

    /// A space and nothing behind the structured data: the string engine's empty message.
    fn with_empty_message(text: &'a [u8]) -> Option<Header<'a>> {
        Header::find(text.strip_suffix(b" ")?)
            .filter(|h| h.message.is_none())
            .map(|h| Header { message: Some(b""), ..h })
    }

    /// The string engine leaves backslashes out of structured data.
    fn without_escapes(self, arena: &'a Arena) -> Header<'a> {
        if memchr(b'\\', self.extradata).is_none() {
            return self;
        }
        let plain: Vec<u8> = self.extradata.iter().copied().filter(|b| *b != b'\\').collect();
        Header { extradata: arena.bytes(&plain), ..self }
    }

    fn put(self, record: &mut Record<'a>) {
        record.push(b"host", Value::Str(self.host));
        record.push(b"ident", Value::Str(self.ident));
        record.push(b"pid", Value::Str(self.pid));
        record.push(b"msgid", Value::Str(self.msgid));
        record.push(b"extradata", Value::Str(self.extradata));
        if let Some(message) = self.message {
            record.push(b"message", Value::Str(chomp(message)));
        }
    }
}

/// Structured data and message, where both together reach to the end of `text`. `no_bracket` remembers that no closing
/// bracket is to be found to the end, so that looking again from a later place costs nothing.
fn structured<'a>(text: &'a [u8], no_bracket: &mut bool) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let split = |end: usize| match &text[end..] {
        [] => Some((&text[..end], None)),
        [b' ', message @ ..] if !message.is_empty() => Some((&text[..end], Some(message))),
        _ => None,
    };
    match text.first()? {
        b'-' => split(1),
        b'[' if !*no_bracket => {
            let closing = memchr_iter(b']', text).filter(|at| text[at - 1] != b'\\');
            let found = closing.map(|at| split(at + 1)).find(Option::is_some).flatten();
            *no_bracket = found.is_none();
            found
        }
        _ => None,
    }
}

fn is_field(word: &[u8], max: usize) -> bool {
    // All of them are looked at, which is one step for many.
    (1..=max).contains(&word.len()) && word.iter().fold(true, |fits, byte| fits & byte.is_ascii_graphic())
}

/// The longest end of a word that may be a host.
fn printable_tail(word: &[u8]) -> &[u8] {
    let word = &word[word.len().saturating_sub(MAX_HOST)..];
    if is_field(word, MAX_HOST) {
        return word;
    }
    let start = word.iter().rposition(|b| !b.is_ascii_graphic()).map_or(0, |at| at + 1);
    &word[start..]
}

/// The number in `<13>` at the beginning, and what follows it.
pub(crate) fn priority(text: &[u8]) -> Option<(u16, &[u8])> {
    let digits = text.strip_prefix(b"<")?;
    let (digits, rest) = cut(&digits[..digits.len()], b'>').filter(|(d, _)| (1..=3).contains(&d.len()))?;
    digits.iter().all(u8::is_ascii_digit).then_some(())?;
    Some((digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')), rest))
}

/// Whether a version follows the priority, which is how RFC 5424 is known.
fn has_version(text: &[u8]) -> bool {
    priority(text).and_then(|(_, rest)| rest.first()).is_some_and(|b| matches!(b, b'1'..=b'9'))
}

/// What follows a version (one to three digits) and one space.
fn skip_version(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let space = text.get(digits).is_some_and(|b| b.is_ascii_whitespace() || *b == 0x0b);
    ((1..=3).contains(&digits) && space).then(|| &text[digits + 1..])
}

/// The first `count` words, runs of spaces made one, and what follows the space behind them.
fn take_words<'a>(text: &'a [u8], count: usize, arena: &'a Arena) -> Option<(&'a [u8], &'a [u8])> {
    let (mut end, mut runs) = (0usize, false);
    for n in 0..count {
        // The space that ended the word before is one; another one makes a run.
        let start = if n == 0 { 0 } else { end + 1 };
        let spaces = text[start..].iter().take_while(|b| **b == b' ').count();
        runs |= spaces > 0;
        let word = start + spaces;
        end = word + memchr(b' ', &text[word..])?;
    }
    let words = &text[..end];
    let words = if runs { arena.bytes(&squeezed(words)) } else { words };
    Some((words, &text[end + 1..]))
}

fn squeezed(text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    out.dedup_by(|a, b| *a == b' ' && *b == b' ');
    out
}

fn bracketed_digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"[")?;
    let digits = inner.iter().take_while(|b| b.is_ascii_digit()).count();
    (digits > 0 && inner.get(digits) == Some(&b']')).then(|| (&inner[..digits], &inner[digits + 1..]))
}

fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    memchr(at, text).map(|i| (&text[..i], &text[i + 1..]))
}

/// Without one line end, as Ruby's `chomp`.
fn chomp(text: &[u8]) -> &[u8] {
    match text {
        [head @ .., b'\r', b'\n'] | [head @ .., b'\n' | b'\r'] => head,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parser(with_priority: bool, message_format: Format, parser_engine: Engine) -> Syslog {
        let params = SyslogParams { with_priority, message_format, parser_engine, ..SyslogParams::default() };
        let times = TimeParams::default();
        let new = Times::build(&times, &params.rfc5424_time_format).unwrap();
        let old = Times::build(&times, TIME_3164).unwrap();
        let new_whole = Times::build(&times, TIME_5424_WHOLE).unwrap();
        Syslog { params, keep_time: true, old, new, new_whole }
    }

    /// Fields as `name=value`, integers with a `#`.
    fn read(parser: &Syslog, text: &str) -> Option<String> {
        let arena = Arena::new();
        let mut record = Record::new();
        parser.parse(text.as_bytes(), &arena, &mut record).ok()?;
        let show = |f: &(&[u8], Value<'_>)| match f.1 {
            Value::Int(n) => format!("{}=#{n}", String::from_utf8_lossy(f.0)),
            value => format!("{}={}", String::from_utf8_lossy(f.0), String::from_utf8_lossy(value.as_bytes().unwrap())),
        };
        Some(record.iter().map(show).collect::<Vec<_>>().join("|"))
    }

    #[test]
    fn rfc3164_is_read_as_the_regular_expression_reads_it() {
        let p = parser(true, Format::Rfc3164, Engine::Regexp);
        for (text, fields) in [
            (
                "<6>Sep  1 00:00:00 localhost logger[12]: hello\r",
                "pri=#6|time=Sep 1 00:00:00|host=localhost|ident=logger|pid=12|message=hello",
            ),
            (
                "<34>Oct 11 22:14:15 box su root failed: x\ny",
                "pri=#34|time=Oct 11 22:14:15|host=box|ident=su|message=x",
            ),
            ("<0>Oct 11 22:14:15 box app[x] a", "pri=#0|time=Oct 11 22:14:15|host=box|ident=app|message=[x] a"),
            ("<0>Oct 11 22:14:15 box ", "pri=#0|time=Oct 11 22:14:15|host=box|ident=|message="),
        ] {
            assert_eq!(read(&p, text).as_deref(), Some(fields), "{text}");
        }
        for text in ["", "<", "<6", "<6>", "<1234>Oct 11 22:14:15 h a: m", "<6>Oct 11", "<6>Oct 11 22:14:15 box"] {
            assert_eq!(read(&p, text), None, "{text}");
        }
    }

    #[test]
    fn the_string_engine_takes_the_first_word() {
        let p = parser(false, Format::Rfc3164, Engine::String);
        let head = "Oct 11 22:14:15 box";
        let fields = "time=Oct 11 22:14:15|host=box";
        for (text, rest) in [
            ("su root failed: x", "ident=su|message=root failed: x"),
            ("a[1]: m", "ident=a|pid=1|message=m"),
            ("a[1] m", "ident=a|pid=1|message=m"),
            ("m", "message=m"),
        ] {
            assert_eq!(read(&p, &format!("{head} {text}")), Some(format!("{fields}|{rest}")), "{text}");
        }
    }

    #[test]
    fn the_string_engine_takes_an_empty_message_and_drops_backslashes() {
        let p = parser(true, Format::Rfc5424, Engine::String);
        let head = "<16>1 2017-02-06T13:14:15.003Z";
        let fields = "pri=#16|time=2017-02-06T13:14:15.003Z";
        for (text, rest) in [
            ("h i 1 x - ", "host=h|ident=i|pid=1|msgid=x|extradata=-|message="),
            (r#"h i 1 x [a b="\"]"] m"#, r#"host=h|ident=i|pid=1|msgid=x|extradata=[a b=""]"]|message=m"#),
        ] {
            assert_eq!(read(&p, &format!("{head} {text}")).as_deref(), Some(&*format!("{fields}|{rest}")), "{text}");
        }
    }

    #[test]
    fn rfc5424_is_read_as_the_regular_expression_reads_it() {
        let p = parser(true, Format::Rfc5424, Engine::Regexp);
        let head = "<16>1 2017-02-06T13:14:15.003Z";
        let fields = "pri=#16|time=2017-02-06T13:14:15.003Z";
        for (text, rest) in [
            ("h fluentd - - - Hi!", "host=h|ident=fluentd|pid=-|msgid=-|extradata=-|message=Hi!"),
            (
                "h i 1 ID7 [a b=\"]\"][c d] [m]\n",
                r#"host=h|ident=i|pid=1|msgid=ID7|extradata=[a b="]"][c d]|message=[m]"#,
            ),
            (r"h i 1 x [a\] b] m", r"host=h|ident=i|pid=1|msgid=x|extradata=[a\] b]|message=m"),
            ("h i 1 x [a]", "host=h|ident=i|pid=1|msgid=x|extradata=[a]"),
            ("h i 1 x -", "host=h|ident=i|pid=1|msgid=x|extradata=-"),
            ("skipped h i 1 x -", "host=h|ident=i|pid=1|msgid=x|extradata=-"),
        ] {
            assert_eq!(read(&p, &format!("{head} {text}")), Some(format!("{fields}|{rest}")), "{text}");
        }
        assert!(read(&p, "<16>1 2017-02-06T13:14:15Z h i - - -").is_some());
        for text in ["h i 1 x [a", "h i 1 x - ", "h i 1", "", "h i 1 x m"] {
            assert_eq!(read(&p, &format!("{head} {text}")), None, "{text}");
        }
    }

    #[test]
    fn the_format_is_known_by_the_version() {
        let p = parser(true, Format::Auto, Engine::Regexp);
        assert!(read(&p, "<16>1 2017-02-06T13:14:15.003Z h i - - - m").unwrap().contains("extradata=-"));
        assert!(read(&p, "<16>Oct 11 22:14:15 h i: m").unwrap().contains("ident=i"));
    }

    #[test]
    fn hostile_text_takes_linear_time() {
        let p = parser(false, Format::Rfc5424, Engine::Regexp);
        let text = format!("2017-02-06T13:14:15.003Z {}", "a b c d [ ".repeat(200_000));
        assert_eq!(read(&p, &text), None);
    }

    #[test]
    fn truncated_messages_never_panic() {
        let text = "<16>1 2017-02-06T13:14:15.003Z h i 1 x [a] m";
        for engine in [Engine::Regexp, Engine::String] {
            for format in [Format::Rfc3164, Format::Rfc5424, Format::Auto] {
                let p = parser(true, format, engine);
                for n in 0..text.len() {
                    let _ = read(&p, &text[..n]);
                }
            }
        }
    }
}
