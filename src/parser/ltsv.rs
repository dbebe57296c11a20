//! `ltsv`: `label:value` pairs (ltsv.org).

use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use super::separator::Separator;
use crate::config::{Diagnostic, Regexp};
use crate::event::{Arena, EventTime, Record, Value};
use crate::plugin::{BuildContext, Configure, ParseError, Parser};

/// Parameters of `ltsv`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct LtsvParams {
    /// Between pairs.
    delimiter: String,
    /// Pattern between pairs; in place of `delimiter`.
    delimiter_pattern: Option<Regexp>,
    /// Between label and value.
    label_delimiter: String,
}

impl Default for LtsvParams {
    fn default() -> Self {
        LtsvParams { delimiter: "\t".into(), delimiter_pattern: None, label_delimiter: ":".into() }
    }
}

/// The parser.
pub struct Ltsv {
    delimiter: Separator,
    pattern: Option<Regexp>,
    label_end: Separator,
    common: Common,
}

impl Configure for Ltsv {
    type Config = LtsvParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(config: LtsvParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let delimiter = config.delimiter.replace("\\t", "\t");
        if delimiter.is_empty() || config.label_delimiter.is_empty() {
            return Err(cx.fault("delimiter", "delimiter and label_delimiter must not be empty"));
        }
        let common = Common::build(cx, Defaults { time_key: Some("time"), ..Defaults::default() })?;
        Ok(Ltsv {
            delimiter: Separator::new(&delimiter),
            pattern: config.delimiter_pattern,
            label_end: Separator::new(&config.label_delimiter),
            common,
        })
    }
}

impl Ltsv {
    fn pair<'a>(&self, pair: &'a [u8], record: &mut Record<'a>) {
        if let Some((label, value)) = self.label_end.cut(pair) {
            record.set(label, Value::Str(value));
        }
    }
}

impl Parser for Ltsv {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        record.clear();
        let mut rest = text;
        match &self.pattern {
            Some(pattern) => {
                let mut from = 0;
                for found in pattern.find_iter(text) {
                    self.pair(&text[from..found.start], record);
                    from = found.end;
                }
                rest = &text[from..];
            }
            None => {
                while let Some((pair, behind)) = self.delimiter.cut(rest) {
                    self.pair(pair, record);
                    rest = behind;
                }
            }
        }
        self.pair(rest, record);
        self.common.finish(record, arena)
    }
}
