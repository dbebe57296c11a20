//! What is refused, and what to write instead.

use super::Parser;
use crate::plugin::ruby::error::RubyError;
use crate::plugin::ruby::methods::{self, Method};

/// Words of Ruby that mean something, but not here.
const WORDS: &[(&str, &str)] = &[
    ("BEGIN", "write the code in place"),
    ("END", "write the code in place"),
    ("__method__", ""),
    ("__send__", "call the method by its name"),
    ("abort", "raise \"...\" sends the event to the error stream"),
    ("alias", ""),
    ("at_exit", ""),
    ("binding", ""),
    ("catch", "write if or case"),
    ("class", "nothing can be defined here; write the code in place"),
    ("def", "nothing can be defined here; write the code in place"),
    ("defined?", "write record.key?(\"...\") or x.nil?"),
    ("eval", "write the code in place"),
    ("exec", "commands can't be run here"),
    ("exit", "raise \"...\" sends the event to the error stream"),
    ("fork", "commands can't be run here"),
    ("for", "write list.each { |x| ... }"),
    ("gets", ""),
    ("instance_eval", "write the code in place"),
    ("lambda", "write a block: list.map { |x| ... }"),
    ("load", ""),
    ("log", "values can't be logged here"),
    ("loop", "write n.times { |i| ... } or list.each { |x| ... }"),
    ("module", "nothing can be defined here; write the code in place"),
    ("open", "files and commands can't be opened here"),
    ("p", "values can't be printed here"),
    ("pp", "values can't be printed here"),
    ("print", "values can't be printed here"),
    ("printf", "write format(...) for the text"),
    ("proc", "write a block: list.map { |x| ... }"),
    ("puts", "values can't be printed here"),
    ("rand", "write SecureRandom.hex(n)"),
    ("redo", ""),
    ("require_relative", "nothing can be loaded here"),
    ("retry", ""),
    ("return", "the last value is the result"),
    ("self", "write record, tag or time"),
    ("send", "call the method by its name"),
    ("sleep", "events don't wait here"),
    ("spawn", "commands can't be run here"),
    ("srand", ""),
    ("super", ""),
    ("system", "commands can't be run here"),
    ("throw", "write if or case"),
    ("undef", ""),
    ("until", "write n.times { |i| ... } or list.each { |x| ... }"),
    ("while", "write n.times { |i| ... } or list.each { |x| ... }"),
    ("yield", ""),
];

/// Methods that are well known, but not here.
const METHODS: &[(&str, &str)] = &[
    ("call", "write the code in place"),
    ("crypt", "write Digest::SHA256.hexdigest(x)"),
    ("each_byte", "write x.bytes.each { |b| ... }"),
    ("hash", "write Digest::SHA256.hexdigest(x)"),
    ("lazy", "leave it out"),
    ("blank?", "that is Rails; write x.nil? || x.empty?"),
    ("deep_merge", "that is Rails; write x.merge(y)"),
    ("method", "write a block: { |x| ... }"),
    ("presence", "that is Rails; write x unless x.nil? || x.empty?"),
    ("present?", "that is Rails; write !x.nil? && !x.empty?"),
    ("public_send", "call the method by its name"),
    ("sample", "write x.first"),
    ("send", "call the method by its name"),
    ("shuffle", ""),
    ("strptime", "write Time.strptime(text, format)"),
    ("symbolize_keys", "that is Rails; write x.transform_keys(&:to_sym)"),
    ("to_c", "write x.to_f"),
    ("to_date", "write x.strftime(\"%Y-%m-%d\")"),
    ("to_datetime", "leave it out: Time has the same methods"),
    ("to_r", "write x.to_f"),
    ("to_set", "write x.uniq"),
    ("truncate_words", "that is Rails"),
    ("try", "that is Rails; write x&.name"),
    ("unpack", "write x.bytes, x.hex or Base64.decode64(x)"),
    ("unpack1", "write x.bytes, x.hex or Base64.decode64(x)"),
];

/// How like a name must be to be suggested.
const LIKENESS: f64 = 0.85;

/// Where the list of what is supported stands.
const SEE: &str = "the supported methods are listed in the documentation of record_transformer";

/// The most like of some names.
pub(super) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let likely = names.map(|n| (strsim::jaro_winkler(name, n), n)).filter(|(like, _)| *like >= LIKENESS);
    likely.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, n)| n)
}

impl<'t> Parser<'t> {
    /// Whether a bare word is known to be refused.
    pub(super) fn refused_word(&self, word: &str) -> Option<RubyError> {
        WORDS.iter().any(|(w, _)| *w == word).then(|| self.refuse_word(word))
    }

    pub(super) fn refuse_word(&self, word: &str) -> RubyError {
        let help = WORDS.iter().find(|(w, _)| *w == word).map_or("", |(_, help)| help);
        self.error(format!("`{word}` is not supported"), help)
    }

    pub(super) fn refuse_method(&self, name: &str, at: usize) -> RubyError {
        let help = match (METHODS.iter().find(|(m, _)| *m == name), name.strip_suffix('!')) {
            (Some((_, help)), _) => (*help).to_owned(),
            (None, Some(plain)) if Method::find(plain).is_some() => {
                format!("values are not changed in place; write x = x.{plain}(...), or just x.{plain}(...)")
            }
            _ => match nearest(name, methods::names().filter(|n| !n.contains('.'))) {
                Some(near) => format!("did you mean `{near}`? {SEE}"),
                None => SEE.to_owned(),
            },
        };
        self.error_at(at, format!("method `{name}` is not supported"), help)
    }
}
