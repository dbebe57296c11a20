//! Reading a configuration: which front-end, from where, with what limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use encoding_rs::Encoding;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::fluentd;
use super::ruby::Surroundings;
use super::section::Section;
use super::session::{MAX_FILE_BYTES, Session};
use super::span::{Source, Span};
use super::{toml, yaml};

/// In which language a configuration is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// By the file's ending: `.yaml` and `.yml`, `.toml`, anything else is Fluentd's.
    #[default]
    Guess,
    /// Fluentd's own.
    Fluentd,
    /// Fluentd's YAML form.
    Yaml,
    /// The TOML form.
    Toml,
}

impl std::str::FromStr for Language {
    type Err = String;

    /// The words of `--config-file-type`.
    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "guess" => Ok(Self::Guess),
            "v1" | "fluentd" | "conf" => Ok(Self::Fluentd),
            "yaml" | "yml" => Ok(Self::Yaml),
            "toml" => Ok(Self::Toml),
            _ => Err(format!(
                "'{word}' is no type of configuration file; use guess, fluentd, yaml or toml"
            )),
        }
    }
}

/// How a configuration is read.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Its language.
    pub language: Language,
    /// The encoding of its files, as a label such as `utf-8` or `shift_jis`.
    pub encoding: String,
    /// Text in Fluentd's language that is read after the file (`-i`).
    pub inline: Option<String>,
    /// What embedded code may look at.
    pub around: Surroundings,
}

impl LoadOptions {
    /// Guesses the language and reads UTF-8.
    pub fn new(around: Surroundings) -> Self {
        Self {
            language: Language::Guess,
            encoding: "utf-8".into(),
            inline: None,
            around,
        }
    }
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The tree; its children are `<system>`, `<source>`, `<match>`, ...
    pub root: Section,
    /// What is odd in it.
    pub warnings: Diagnostics,
    /// Every file it was read from, in order, as absolute paths.
    pub files: Vec<PathBuf>,
}

/// Reads the file at `path`, with all that it includes.
pub fn load_file(path: &Path, options: &LoadOptions) -> Result<Loaded, Diagnostics> {
    let mut session = Session::new(&options.around, encoding(&options.encoding)?);
    let nowhere = Span::nowhere();
    let mut root = Section::root();
    if session.open(path, &nowhere) {
        if let Some(source) = session.read(path, &nowhere) {
            root = parse(options.language, path, &source, &mut session);
        }
        session.close();
    }
    read_inline(root, options, &mut session)
}

/// Reads a text as if it stood in a file called `name`, in the directory it names.
pub fn load_text(name: &str, text: &str, options: &LoadOptions) -> Result<Loaded, Diagnostics> {
    let mut session = Session::new(&options.around, encoding_rs::UTF_8);
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Diagnostic::error(
            format!("'{name}' is larger than {} MiB", MAX_FILE_BYTES >> 20),
            &Span::nowhere(),
        )
        .into());
    }
    let root = parse(
        options.language,
        Path::new(name),
        &Source::new(name, text),
        &mut session,
    );
    read_inline(root, options, &mut session)
}

/// Reads every `*.conf`, `*.yaml`, `*.yml` and `*.toml` below `dir` in the order of their paths, except files that were read
/// `already`: `config_include_dir` of `<system>`. A directory that isn't there holds nothing.
pub fn load_directory(
    dir: &Path,
    already: &[PathBuf],
    options: &LoadOptions,
) -> Result<Vec<Loaded>, Diagnostics> {
    let options = LoadOptions {
        language: Language::Guess,
        inline: None,
        ..options.clone()
    };
    let (mut loaded, mut faults) = (Vec::new(), Diagnostics::new());
    for path in directory_files(dir) {
        let full = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        if already.contains(&full) {
            continue;
        }
        match load_file(&path, &options) {
            Ok(one) => loaded.push(one),
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() {
        Ok(loaded)
    } else {
        Err(faults)
    }
}

/// How deep [`load_directory`] goes down.
const MAX_DIRECTORY_DEPTH: usize = 16;

fn directory_files(dir: &Path) -> Vec<PathBuf> {
    let (mut files, mut todo) = (Vec::new(), vec![(dir.to_owned(), 0)]);
    while let Some((dir, depth)) = todo.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            let is_dir = kind.is_ok_and(|kind| kind.is_dir());
            if is_dir && depth < MAX_DIRECTORY_DEPTH {
                todo.push((path, depth + 1));
            } else if !is_dir
                && matches!(extension(&path).as_str(), "conf" | "yaml" | "yml" | "toml")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn extension(path: &Path) -> String {
    path.extension()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn encoding(label: &str) -> Result<&'static Encoding, Diagnostics> {
    Encoding::for_label(label.as_bytes()).ok_or_else(|| {
        let help = "use a name such as utf-8, shift_jis, euc-jp or iso-8859-1";
        Diagnostic::error(
            format!("the encoding '{label}' is unknown"),
            &Span::nowhere(),
        )
        .with_help(help)
        .into()
    })
}

/// Reads one file in its language.
pub(super) fn parse(
    language: Language,
    path: &Path,
    source: &Arc<Source>,
    session: &mut Session<'_>,
) -> Section {
    let base = path.parent().unwrap_or(Path::new(""));
    match (language, extension(path).as_str()) {
        (Language::Yaml, _) | (Language::Guess, "yaml" | "yml") => {
            yaml::parse(source, base, session)
        }
        (Language::Toml, _) | (Language::Guess, "toml") => toml::parse(source, base, session),
        _ => fluentd::parse_into(Section::root(), source, base, session),
    }
}

fn read_inline(
    mut root: Section,
    options: &LoadOptions,
    session: &mut Session<'_>,
) -> Result<Loaded, Diagnostics> {
    if let Some(text) = &options.inline {
        // a shell can't easily give a line feed, so Fluentd takes the two characters for one
        let source = Source::new("(inline)", text.replace("\\n", "\n"));
        root = fluentd::parse_into(root, &source, Path::new(""), session);
    }
    for param in &root.params {
        session.faults.warn(
            format!(
                "parameter '{}' stands outside every section and is not used",
                param.name
            ),
            &param.name_span,
        );
    }
    let faults = std::mem::take(&mut session.faults);
    let files = std::mem::take(&mut session.files);
    faults.into_result(root).map(|(root, warnings)| Loaded {
        root,
        warnings,
        files,
    })
}
