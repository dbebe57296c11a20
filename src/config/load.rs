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
    /// Fluentd's own before version 1 (`--use-v0-config`).
    FluentdV0,
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
            "v0" => Ok(Self::FluentdV0),
            "yaml" | "yml" => Ok(Self::Yaml),
            "toml" => Ok(Self::Toml),
            _ => Err(format!("'{word}' is no type of configuration file; use guess, fluentd, yaml or toml")),
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
        Self { language: Language::Guess, encoding: "utf-8".into(), inline: None, around }
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

/// Reads the file at `path` and the directory that its `<system> config_include_dir` names.
pub fn load_all(path: &Path, options: &LoadOptions) -> Result<Loaded, Diagnostics> {
    let mut loaded = load_file(path, options)?;
    let dir = loaded.root.child("system").and_then(|s| s.text("config_include_dir")).map(PathBuf::from);
    if let Some(dir) = dir.filter(|d| !d.as_os_str().is_empty()) {
        for more in load_directory(&dir, &loaded.files, options)? {
            loaded.root.children.extend(more.root.children);
            loaded.warnings.extend(more.warnings);
            loaded.files.extend(more.files);
        }
    }
    Ok(loaded)
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
    let root = parse(options.language, Path::new(name), &Source::new(name, text), &mut session);
    read_inline(root, options, &mut session)
}

/// Reads every `*.conf`, `*.yaml`, `*.yml` and `*.toml` below `dir` in the order of their paths, except files that were read
/// `already`: `config_include_dir` of `<system>`. A directory that isn't there holds nothing.
pub fn load_directory(dir: &Path, already: &[PathBuf], options: &LoadOptions) -> Result<Vec<Loaded>, Diagnostics> {
    let options = LoadOptions { language: Language::Guess, inline: None, ..options.clone() };
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
    if faults.is_empty() { Ok(loaded) } else { Err(faults) }
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
            } else if !is_dir && matches!(extension(&path).as_str(), "conf" | "yaml" | "yml" | "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().into_owned()
}

fn encoding(label: &str) -> Result<&'static Encoding, Diagnostics> {
    Encoding::for_label(label.as_bytes()).ok_or_else(|| {
        let help = "use a name such as utf-8, shift_jis, euc-jp or iso-8859-1";
        Diagnostic::error(format!("the encoding '{label}' is unknown"), &Span::nowhere()).with_help(help).into()
    })
}

/// Reads one file in its language.
pub(super) fn parse(language: Language, path: &Path, source: &Arc<Source>, session: &mut Session<'_>) -> Section {
    let base = path.parent().unwrap_or(Path::new(""));
    match (language, extension(path).as_str()) {
        (Language::Yaml, _) | (Language::Guess, "yaml" | "yml") => yaml::parse(source, base, session),
        (Language::Toml, _) | (Language::Guess, "toml") => toml::parse(source, base, session),
        (Language::FluentdV0, _) => fluentd::v0::parse_into(Section::root(), source, base, session),
        _ => fluentd::parse_into(Section::root(), source, base, session),
    }
}

fn read_inline(mut root: Section, options: &LoadOptions, session: &mut Session<'_>) -> Result<Loaded, Diagnostics> {
    if let Some(text) = &options.inline {
        // a shell can't easily give a line feed, so Fluentd takes the two characters for one
        let source = Source::new("(inline)", text.replace("\\n", "\n"));
        root = fluentd::parse_into(root, &source, Path::new(""), session);
    }
    for param in &root.params {
        session
            .faults
            .warn(format!("parameter '{}' stands outside every section and is not used", param.name), &param.name_span);
    }
    let faults = std::mem::take(&mut session.faults);
    let files = std::mem::take(&mut session.files);
    faults.into_result(root).map(|(root, warnings)| Loaded { root, warnings, files })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options() -> LoadOptions {
        LoadOptions::new(Surroundings::default())
    }

    fn write(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn the_language_follows_the_ending_unless_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.conf", "<source>\n@type x\n</source>"),
            ("a", "<source>\n@type x\n</source>"),
            ("a.yaml", "config:\n- source: {$type: x}"),
            ("a.yml", "config:\n- source: {$type: x}"),
            ("a.toml", "[[source]]\ntype = 'x'"),
        ] {
            let loaded = load_file(&write(dir.path(), name, text), &options()).unwrap();
            assert_eq!(loaded.root.children[0].plugin_type(), Some("x"), "{name}");
            assert!(loaded.warnings.is_empty() && loaded.files == [dir.path().join(name)]);
        }
        let yaml = LoadOptions { language: "yaml".parse().unwrap(), ..options() };
        assert!(load_text("a.conf", "config:\n- source: {$type: x}", &yaml).is_ok());
        let v0 = LoadOptions { language: "v0".parse().unwrap(), ..options() };
        assert_eq!(load_text("a.conf", "<a>\nk \"x\n</a>", &v0).unwrap().root.children[0].text("k"), Some("\"x"));
        assert!("json".parse::<Language>().is_err());
    }

    #[test]
    fn inline_text_comes_after_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "a.yaml", "config:\n- source: {$type: x}");
        let inline = LoadOptions { inline: Some("<match **>\\n@type null\\n</match>".into()), ..options() };
        let root = load_file(&path, &inline).unwrap().root;
        assert_eq!(root.children.iter().map(Section::tag).collect::<Vec<_>>(), ["<source>", "<match **>"]);
        let bad = LoadOptions { inline: Some("<match **>".into()), ..options() };
        assert!(load_file(&path, &bad).unwrap_err().to_string().contains("(inline)"));
    }

    #[test]
    fn files_may_be_in_another_encoding() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "a.conf", b"<a>\nk \x82\xa0\n</a>");
        let shift_jis = LoadOptions { encoding: "shift_jis".into(), ..options() };
        assert_eq!(load_file(&path, &shift_jis).unwrap().root.children[0].text("k"), Some("\u{3042}"));
        assert!(load_file(&path, &options()).unwrap_err().to_string().contains("--conf-encoding"));
        let unknown = LoadOptions { encoding: "klingon".into(), ..options() };
        assert!(load_file(&path, &unknown).is_err());
    }

    #[test]
    fn a_missing_or_endless_file_is_an_error_in_words() {
        let error = load_file(Path::new("/nonexistent/a.conf"), &options()).unwrap_err();
        assert!(error.to_string().starts_with("config error error=\"can't read '/nonexistent/a.conf'"), "{error}");
        assert!(load_file(Path::new("/dev/zero"), &options()).unwrap_err().to_string().contains("larger than 16 MiB"));
    }

    #[test]
    fn stray_parameters_at_the_root_are_warned_of() {
        let loaded = load_text("a.conf", "hello world\n<source>\n</source>", &options()).unwrap();
        assert!(loaded.warnings.to_string().contains("'hello' stands outside every section"));
    }

    #[test]
    fn a_directory_is_read_in_the_order_of_paths_without_what_was_read() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "20.yaml", "config:\n- source: {$type: b}");
        let first = write(dir.path(), "10.conf", "<source>\n@type a\n</source>");
        write(dir.path(), "30/x.conf", "<source>\n@type c\n</source>");
        write(dir.path(), "notes.txt", "<<<");
        let types = |already: &[PathBuf]| {
            let all = load_directory(dir.path(), already, &options()).unwrap();
            all.iter().map(|one| one.root.children[0].plugin_type().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(types(&[]), ["a", "b", "c"]);
        assert_eq!(types(&[first]), ["b", "c"]);
        assert!(load_directory(Path::new("/nonexistent"), &[], &options()).unwrap().is_empty());
        write(dir.path(), "40.conf", "<a>");
        write(dir.path(), "50.conf", "<b>");
        assert_eq!(load_directory(dir.path(), &[], &options()).unwrap_err().len(), 2);
    }

    /// Configurations of recorded runs of Fluentd 1.19: those that it refuses at the parser are refused here.
    #[test]
    fn recorded_configurations_are_read_or_refused_as_fluentd_does() {
        let unclosed = "<source>\n  @type forward\n  port 1\n<match **>\n  @type stdout\n</match>\n";
        let refused = load_text("fluent.conf", unclosed, &options()).unwrap_err().to_string();
        assert!(refused.contains("config error") && refused.contains("line=1"), "{refused}");

        let sizes = "<match **>\n  @type file\n  append\n  compress text\n  add_path_suffix yes\n  <buffer time>\n    timekey 60m\n    \
                     timekey_use_utc\n    timekey_wait 0.5s\n    chunk_limit_size 64K\n    total_limit_size 1.5m\n  </buffer>\n</match>\n";
        let root = load_text("fluent.conf", sizes, &options()).unwrap().root;
        let (section, buffer) = (&root.children[0], root.children[0].child("buffer").unwrap());
        assert_eq!(
            (section.text("append"), section.text("add_path_suffix"), buffer.arg()),
            (Some(""), Some("yes"), "time")
        );
        assert_eq!((buffer.text("chunk_limit_size"), buffer.text("timekey_use_utc")), (Some("64K"), Some("")));

        let old = "<source>\n  type forward\n  port 1\n  no_such_param 1\n</source>\n";
        assert_eq!(load_text("fluent.conf", old, &options()).unwrap().root.children[0].plugin_type(), Some("forward"));
    }
}
