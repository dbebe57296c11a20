//! From files to trees: the front-end by name or wish, encodings, includes.

use std::path::{Path, PathBuf};

use encoding_rs::Encoding;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::fluentd;
use super::ruby::Surroundings;
use super::section::Section;
use super::session::Session;
use super::span::{Source, Span};

/// How a configuration is read.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    form: Form,
    encoding: &'static Encoding,
    around: Surroundings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Guess,
    Fluentd,
    Yaml,
    Toml,
}

/// What was read.
#[derive(Debug)]
pub struct Loaded {
    /// The tree.
    pub root: Section,
    /// Warnings.
    pub warnings: Diagnostics,
}

impl LoadOptions {
    /// From the words of the flags.
    ///
    /// Errors: an unknown form or character set.
    pub fn new(form: &str, encoding: &str) -> Result<LoadOptions, String> {
        let form = match form {
            "guess" => Form::Guess,
            "fluentd" | "v1" => Form::Fluentd,
            "yaml" | "yml" => Form::Yaml,
            "toml" => Form::Toml,
            other => return Err(format!("configuration form {other:?} is none of guess, fluentd, yaml, toml")),
        };
        let encoding = Encoding::for_label(encoding.as_bytes());
        let encoding = encoding.ok_or("the character set of the configuration is not known")?;
        Ok(LoadOptions { form, encoding, around: Surroundings::of_process("0") })
    }

    fn form_of(&self, path: &Path) -> Form {
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match (self.form, extension.as_deref()) {
            (Form::Guess, Some("yaml" | "yml")) => Form::Yaml,
            (Form::Guess, Some("toml")) => Form::Toml,
            (Form::Guess, _) => Form::Fluentd,
            (form, _) => form,
        }
    }
}

/// Reads a file and all that it includes, and the files of `config_include_dir`.
///
/// Errors: every fault that was found.
pub fn load_file(path: &Path, options: &LoadOptions) -> Result<Loaded, Diagnostics> {
    let mut session = Session::new(&options.around, options.encoding);
    let mut root = Section::root();
    if session.open(path, &Span::nowhere()) {
        root = read_into(root, path, options, &mut session);
        session.close();
    }
    for more in included_by_directory(&root, &mut session) {
        root = read_into(root, &more, options, &mut session);
    }
    finish(root, session)
}

/// Reads a text as Fluentd's language; includes are relative to the working directory.
pub fn load_text(name: &str, text: &str, options: &LoadOptions) -> Result<Loaded, Diagnostics> {
    let mut session = Session::new(&options.around, options.encoding);
    let source = Source::new(name, text);
    let root = fluentd::parse_into(Section::root(), &source, Path::new("."), &mut session);
    finish(root, session)
}

fn read_into(root: Section, path: &Path, options: &LoadOptions, session: &mut Session<'_>) -> Section {
    let Some(source) = session.read(path, &Span::nowhere()) else { return root };
    let base = path.parent().unwrap_or(Path::new("."));
    match options.form_of(path) {
        Form::Fluentd | Form::Guess => fluentd::parse_into(root, &source, base, session),
        form @ (Form::Yaml | Form::Toml) => {
            let message = format!("{form:?} configurations can't be read yet; write Fluentd's own form");
            session.faults.push(Diagnostic::error(message, &Span::new(&source, 0..0)));
            root
        }
    }
}

/// `*.conf` of `<system> config_include_dir`, in order of name. The directory need not be there.
fn included_by_directory(root: &Section, session: &mut Session<'_>) -> Vec<PathBuf> {
    let directory = root.child("system").and_then(|s| s.text("config_include_dir"));
    let Some(directory) = directory.filter(|d| !d.is_empty()) else { return Vec::new() };
    session.expand("*.conf", Path::new(directory), &Span::nowhere())
}

fn finish(root: Section, session: Session<'_>) -> Result<Loaded, Diagnostics> {
    let ((), warnings) = session.faults.into_result(())?;
    Ok(Loaded { root, warnings })
}
