//! What one loading shares over all its files: the faults found so far, the files read, and the limits on both.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use encoding_rs::Encoding;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::ruby::{Embedded, Refusal, Surroundings};
use super::section::{Value, ValueKind};
use super::span::{Source, Span};

/// The largest configuration file, in bytes.
pub const MAX_FILE_BYTES: u64 = 16 << 20;
/// The most files of one configuration, the same file counted each time it is included.
const MAX_FILES: usize = 4_096;
/// How deep files may include each other.
const MAX_INCLUDE_DEPTH: usize = 16;

/// Endings that editors and people give to copies; `@include *.conf` takes those too.
const BACKUP_ENDINGS: &[&str] = &["bak", "old", "backup", "orig", "prev", "conf", "tmp", "temp", "debug", "wip"];

/// The state of one loading.
pub(super) struct Session<'a> {
    pub around: &'a Surroundings,
    pub faults: Diagnostics,
    /// Every file read, in order, as an absolute path where there is one.
    pub files: Vec<PathBuf>,
    encoding: &'static Encoding,
    /// The files being read, outermost first.
    stack: Vec<PathBuf>,
}

impl<'a> Session<'a> {
    pub(super) fn new(around: &'a Surroundings, encoding: &'static Encoding) -> Self {
        Self { around, faults: Diagnostics::new(), files: Vec::new(), encoding, stack: Vec::new() }
    }

    /// The value of a text with embedded code, which is of `kind` where it is text. Code that was refused is a fault.
    pub(super) fn value(&mut self, found: Result<Embedded, Refusal>, kind: ValueKind, span: &Span) -> Value {
        match found {
            Ok(Embedded::Text(text)) => Value::new(text, kind),
            Ok(Embedded::UseNil) => Value::nil(),
            Ok(Embedded::UseDefault) => Value::new("", ValueKind::Default),
            Err(refusal) => {
                let mut fault = Diagnostic::error(refusal.message, span);
                fault.help = refusal.help;
                self.faults.push(fault);
                Value::bare("")
            }
        }
    }

    /// Reads one file as text. `blame` is where it was asked for.
    pub(super) fn read(&mut self, path: &Path, blame: &Span) -> Option<Arc<Source>> {
        match read_text(path, self.encoding) {
            Ok(text) => {
                self.files.push(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
                Some(Source::new(path.to_string_lossy(), text))
            }
            Err(message) => {
                self.faults.error(message, blame);
                None
            }
        }
    }

    /// Puts `path` among the open files, unless that would be a loop, or too deep or too much; pair it with [`Self::close`].
    pub(super) fn open(&mut self, path: &Path, blame: &Span) -> bool {
        let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let refusal = if self.stack.contains(&full) {
            format!("'{}' includes itself", path.display())
        } else if self.stack.len() >= MAX_INCLUDE_DEPTH {
            format!("includes are nested deeper than {MAX_INCLUDE_DEPTH} files")
        } else if self.files.len() >= MAX_FILES {
            format!("the configuration has more than {MAX_FILES} files")
        } else {
            self.stack.push(full);
            return true;
        };
        self.faults.error(refusal, blame);
        false
    }

    pub(super) fn close(&mut self) {
        self.stack.pop();
    }

    /// The files that an include means: a path, or a glob pattern with its files sorted by name. Relative ones start at
    /// `base`. A glob without a match is no fault, a plain path that is missing is one.
    pub(super) fn expand(&mut self, target: &str, base: &Path, blame: &Span) -> Vec<PathBuf> {
        let Some(path) = self.local_path(target, blame) else {
            return Vec::new();
        };
        let path = base.join(path);
        let pattern = path.to_string_lossy();
        if !pattern.contains(['*', '?', '[', '{']) || path.exists() {
            if !path.exists() {
                let message = format!("can't include '{target}': {} does not exist", path.display());
                let help = "correct the path, or write a pattern such as 'conf.d/*.conf' if the file may be missing";
                self.faults.push(Diagnostic::error(message, blame).with_help(help));
                return Vec::new();
            }
            return vec![path];
        }
        match glob_files(&pattern) {
            Ok(files) => {
                self.warn_of_backups(target, &files, blame);
                files
            }
            Err(message) => {
                self.faults.error(format!("'{target}' is no file pattern: {message}"), blame);
                Vec::new()
            }
        }
    }

    fn local_path(&mut self, target: &str, blame: &Span) -> Option<PathBuf> {
        if let Some(path) = target.strip_prefix("file://") {
            return Some(percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned().into());
        }
        match target.split_once("://") {
            Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
                let message = format!("including over the network is not supported ({scheme}:)");
                let help = "fetch the file when you deploy, and include the local copy";
                self.faults.push(Diagnostic::error(message, blame).with_help(help));
                None
            }
            _ => Some(percent_encoding::percent_decode_str(target).decode_utf8_lossy().into_owned().into()),
        }
    }

    fn warn_of_backups(&mut self, target: &str, files: &[PathBuf], blame: &Span) {
        if !target.ends_with("*.conf") {
            return;
        }
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let stem = name.strip_suffix(".conf").unwrap_or(&name);
            let is_backup = stem.rsplit_once(['.', '_']).is_some_and(|(_, ending)| BACKUP_ENDINGS.contains(&ending));
            if is_backup {
                self.faults.warn(format!("'{target}' includes '{name}', which looks like a backup copy"), blame);
            }
        }
    }
}

/// Reads a file and decodes it; a byte order mark is dropped.
fn read_text(path: &Path, encoding: &'static Encoding) -> Result<String, String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("can't read '{shown}': {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("'{shown}' is larger than {} MiB", MAX_FILE_BYTES >> 20));
    }
    let (text, used, broken) = encoding.decode(&bytes);
    if !broken {
        return Ok(text.into_owned());
    }
    let line = text.split('\u{fffd}').next().map_or(0, |before| before.matches('\n').count()) + 1;
    Err(format!("'{shown}' is not {} text (line {line}); name its encoding with --conf-encoding", used.name()))
}

/// The files of a glob pattern, braces included, sorted by their bytes.
fn glob_files(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let options =
        glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let mut files = Vec::new();
    for pattern in braces(pattern)? {
        let found = glob::glob_with(&pattern, options).map_err(|error| error.to_string())?;
        for entry in found {
            let entry = entry.map_err(|error| error.to_string())?;
            if entry.is_file() && !files.contains(&entry) {
                files.push(entry);
            }
            if files.len() > MAX_FILES {
                return Err(format!("it matches more than {MAX_FILES} files"));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// `a.{b,c}` as `a.b` and `a.c`: the glob crate has no braces, Ruby's `Dir.glob` has.
fn braces(pattern: &str) -> Result<Vec<String>, String> {
    const MAX_PATTERNS: usize = 256;
    let (mut done, mut todo) = (Vec::new(), vec![pattern.to_owned()]);
    while let Some(pattern) = todo.pop() {
        if done.len() + todo.len() > MAX_PATTERNS {
            return Err(format!("its braces stand for more than {MAX_PATTERNS} patterns"));
        }
        let inner = pattern.find('}').and_then(|end| pattern[..end].rfind('{').map(|start| (start, end)));
        match inner {
            None => done.push(pattern),
            Some((start, end)) => {
                let (before, after) = (&pattern[..start], &pattern[end + 1..]);
                todo.extend(pattern[start + 1..end].split(',').map(|middle| format!("{before}{middle}{after}")));
            }
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn braces_stand_for_several_patterns() {
        let mut found = braces("a.{b,c{d,e}}.x").unwrap();
        found.sort();
        found.dedup();
        assert_eq!(found, ["a.b.x", "a.cd.x", "a.ce.x"]);
        assert!(braces(&"{a,b}".repeat(20)).is_err());
        assert_eq!(braces("a}b{c").unwrap(), ["a}b{c"]);
    }

    #[test]
    fn text_is_decoded_or_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.conf");
        std::fs::write(&path, b"\xef\xbb\xbfa\n").unwrap();
        assert_eq!(read_text(&path, encoding_rs::UTF_8).unwrap(), "a\n");
        std::fs::write(&path, b"a\nb \xff\n").unwrap();
        let message = read_text(&path, encoding_rs::UTF_8).unwrap_err();
        assert!(message.contains("line 2") && message.contains("--conf-encoding"), "{message}");
        assert_eq!(read_text(&path, encoding_rs::WINDOWS_1252).unwrap(), "a\nb ÿ\n");
    }

    #[test]
    fn a_directory_or_missing_file_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_text(dir.path(), encoding_rs::UTF_8).is_err());
        assert!(read_text(&dir.path().join("none"), encoding_rs::UTF_8).is_err());
    }
}
