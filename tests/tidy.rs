//! The shape of the source, kept by reading its text: layers, sizes, and what `ARCHITECTURE.md` must name.
//!
//! Each checker is a function from text to complaints, so that the tests below can show that it fails when it has to.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Longest function, in lines.
const MAX_FUNCTION_LINES: usize = 70;
/// Longest file, in lines.
const MAX_FILE_LINES: usize = 1_000;
/// Most `cfg(feature ...)` in all of `src`.
const MAX_FEATURES: usize = 5;
/// Most `macro_rules!` in all of `src`.
const MAX_MACROS: usize = 2;
/// The files with `unsafe`; the lints deny it to all others.
const UNSAFE: &[&str] =
    &["src/daemon/pages.rs", "src/event/json/simd.rs", "src/event/room.rs", "tests/allocations/counting.rs"];

/// What stands above the contract and below the plugins.
const BELOW_PLUGINS: &[&str] = &["event", "config", "buffer", "net", "plugin"];
/// What the process itself may use.
const BELOW_DAEMON: &[&str] =
    &["event", "config", "buffer", "net", "plugin", "engine", "input", "filter", "output", "parser", "formatter"];

/// Modules and what each may import besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("config", &["event"]),
    ("buffer", &["event", "config"]),
    ("net", &["event", "config"]),
    ("plugin", &["event", "config", "buffer", "net"]),
    ("engine", BELOW_PLUGINS),
    ("input", BELOW_PLUGINS),
    ("filter", BELOW_PLUGINS),
    ("output", BELOW_PLUGINS),
    ("parser", BELOW_PLUGINS),
    ("formatter", BELOW_PLUGINS),
    ("query", &["event", "config", "buffer", "net", "plugin", "output"]),
    ("daemon", BELOW_DAEMON),
    ("fuzzing", BELOW_DAEMON),
    ("cli", &["event", "config", "buffer", "net", "plugin", "engine", "daemon", "query"]),
];

// ---- the text of a file without strings and comments ----

/// The text with the contents of comments, strings and character literals turned to spaces; lines stay where they are.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The end of the comment or literal that starts at `at`; `at` itself where none does.
fn skipped(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied().unwrap_or(' ');
    match chars[at] {
        '/' if next == '/' => find(chars, at, '\n'),
        '/' if next == '*' => block_comment(chars, at),
        '"' => string(chars, at + 1),
        'r' if !follows_word(chars, at) => raw_string(chars, at),
        'b' if next == 'r' && !follows_word(chars, at) => raw_string(chars, at + 1).max(at),
        '\'' => character(chars, at),
        _ => at,
    }
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn find(chars: &[char], from: usize, wanted: char) -> usize {
    chars[from..].iter().position(|c| *c == wanted).map_or(chars.len(), |n| from + n)
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn string(chars: &[char], from: usize) -> usize {
    let mut i = from;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// `r"..."` and `r#"..."#`; the place of the `r` itself where it starts no string.
fn raw_string(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let mut i = open + 1;
    while i < chars.len() {
        let closes = chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return i + 1 + hashes;
        }
        i += 1;
    }
    chars.len()
}

/// `'x'` and `'\n'`; a lifetime is not skipped.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), Some(_)) => find(chars, at + 3, '\'') + 1,
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// The place behind the brace that closes the one at `open`; the end of the text where none does.
fn closing(chars: &[char], open: usize) -> usize {
    let mut depth = 0;
    for (i, c) in chars.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    chars.len()
}

/// Blanked text without its test modules.
fn without_tests(blanked: &str) -> String {
    let mut text = blanked.to_owned();
    while let Some(start) = text.find("#[cfg(test)]\nmod ") {
        let chars: Vec<char> = text[start..].chars().collect();
        let open = find(&chars, 0, '{');
        let end = if find(&chars, 0, ';') < open { find(&chars, 0, ';') + 1 } else { closing(&chars, open) };
        let end = end.min(chars.len());
        let hole: String = chars[..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }).collect();
        let rest: String = chars[end..].iter().collect();
        text = format!("{}{hole}{rest}", &text[..start]);
    }
    text
}

// ---- checkers ----

/// The modules of the crate that blanked text names behind `crate::`, with their lines.
fn imports(blanked: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(n) = blanked[at..].find("crate::") {
        let start = at + n;
        at = start + "crate::".len();
        let line = blanked[..start].matches('\n').count() + 1;
        found.extend(heads(&blanked[at..]).into_iter().map(|name| (line, name)));
    }
    found
}

/// The first names of a path or of a group of paths: `a::b` gives `a`, `{a::b, c}` gives `a` and `c`.
fn heads(path: &str) -> Vec<String> {
    if !path.starts_with('{') {
        return vec![word(path)];
    }
    let chars: Vec<char> = path.chars().collect();
    let inner: String = chars[1..closing(&chars, 0).max(2) - 1].iter().collect();
    let mut depth = 0;
    let parts = inner.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    parts.map(|part| word(part.trim())).filter(|name| !name.is_empty()).collect()
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Imports that point upward or sideways.
fn layer_faults(module: &str, blanked: &str) -> Vec<String> {
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
        return vec![format!("module {module} has no place in the layers")];
    };
    let known = |name: &str| LAYERS.iter().any(|(module, _)| *module == name);
    let wrong = |name: &str| known(name) && name != module && !allowed.contains(&name);
    let faults = imports(blanked).into_iter().filter(|(_, name)| wrong(name));
    faults.map(|(line, name)| format!("line {line}: {module} must not import {name}")).collect()
}

/// Functions that are too long.
fn function_faults(blanked: &str) -> Vec<String> {
    let chars: Vec<char> = blanked.chars().collect();
    let mut faults = Vec::new();
    for at in 0..chars.len() {
        if !starts_function(&chars, at) {
            continue;
        }
        let Some(open) = body(&chars, at) else { continue };
        let lines = chars[at..closing(&chars, open)].iter().filter(|c| **c == '\n').count() + 1;
        if lines > MAX_FUNCTION_LINES {
            let line = chars[..at].iter().filter(|c| **c == '\n').count() + 1;
            let name: String = chars[at + 3..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            faults.push(format!("line {line}: fn {name} has {lines} lines, more than {MAX_FUNCTION_LINES}"));
        }
    }
    faults
}

fn starts_function(chars: &[char], at: usize) -> bool {
    let named = chars.get(at + 3).is_some_and(|c| c.is_alphabetic() || *c == '_');
    chars[at..].starts_with(&['f', 'n', ' ']) && named && !follows_word(chars, at)
}

/// The brace that opens a function's body; none where it is only declared.
fn body(chars: &[char], at: usize) -> Option<usize> {
    let mut depth = 0;
    for (i, c) in chars.iter().enumerate().skip(at) {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ';' if depth == 0 => return None,
            '{' if depth == 0 => return Some(i),
            _ => {}
        }
    }
    None
}

/// A file without a word about itself, or too long.
fn file_faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push("does not open with a `//!` comment".to_owned());
    }
    let lines = text.lines().count();
    if lines > MAX_FILE_LINES {
        faults.push(format!("has {lines} lines, more than {MAX_FILE_LINES}"));
    }
    faults
}

/// Whether a file lifts the lint against `unsafe`; told from blanked text, so that a comment does not.
fn lifts_unsafe_lint(blanked: &str) -> bool {
    blanked.contains("(unsafe_code") || blanked.contains(", unsafe_code")
}

/// The names under every `[...dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end().ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            names.push(name.trim().trim_end_matches(".workspace").to_owned());
        }
    }
    names.retain(|name| !name.is_empty() && !name.starts_with('#'));
    names
}

/// Dependencies that a text does not name between backticks.
fn unnamed(manifest: &str, text: &str) -> Vec<String> {
    let named = |name: &String| text.contains(&format!("`{name}`"));
    dependencies(manifest).into_iter().filter(|name| !named(name)).collect()
}

// ---- the source ----

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_path_buf(), text));
            }
        }
    }
    found.sort();
    found
}

/// Files that hold tests alone.
fn holds_tests(path: &Path) -> bool {
    path.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part == "tests" || part == "tests.rs" || part == "testing.rs"
    })
}

/// Puts the file's name before each complaint.
fn at(path: &Path, faults: Vec<String>) -> Vec<String> {
    faults.into_iter().map(|fault| format!("{}: {fault}", path.display())).collect()
}

/// The first part of a path below `src`: the module that it belongs to; none for `lib.rs`, `main.rs` and `sql.rs`.
fn module(path: &Path) -> Option<String> {
    let name = path.strip_prefix("src").ok()?.components().next()?.as_os_str().to_string_lossy().into_owned();
    let name = name.trim_end_matches(".rs");
    (!["lib", "main", "sql"].contains(&name)).then(|| name.to_owned())
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_only_point_downward() {
    let files = rust_files("src");
    assert!(files.len() > 50, "the source was not found");
    let mut faults = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| !holds_tests(path)) {
        if let Some(module) = module(path) {
            faults.extend(at(path, layer_faults(&module, &without_tests(&blanked(text)))));
        }
    }
    none(&faults);
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for (path, text) in rust_files("src").iter().filter(|(path, _)| !holds_tests(path)) {
        faults.extend(at(path, function_faults(&without_tests(&blanked(text)))));
    }
    none(&faults);
}

#[test]
fn files_say_what_they_are_and_are_not_too_long() {
    let mut faults = Vec::new();
    for (path, text) in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        faults.extend(at(&path, file_faults(&text)));
    }
    none(&faults);
}

#[test]
fn features_and_macros_stay_few() {
    let source: String = rust_files("src").iter().map(|(_, text)| blanked(text)).collect();
    let (features, macros) = (source.matches("cfg(feature").count(), source.matches("macro_rules!").count());
    assert!(features <= MAX_FEATURES, "{features} cfg(feature)");
    assert!(macros <= MAX_MACROS, "{macros} macro_rules!");
}

#[test]
fn unsafe_code_is_only_where_it_is_accounted_for() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\nunsafe_code = \"deny\"\n"), "the lint against unsafe is gone");
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let files = ["src", "tests", "benches", "fuzz"].into_iter().flat_map(rust_files);
    let lifting = files.filter(|(_, text)| lifts_unsafe_lint(&blanked(text)));
    let lifting: Vec<String> = lifting.map(|(path, _)| path.display().to_string()).collect();
    assert_eq!(lifting, UNSAFE);
    for path in lifting {
        assert!(text.contains(&format!("`{path}`")), "ARCHITECTURE.md does not account for {path}");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let unnamed = unnamed(&manifest, &text);
    assert!(unnamed.is_empty(), "ARCHITECTURE.md gives no reason for {}", unnamed.join(", "));
}

// ---- the checkers fail where they have to ----

#[test]
fn an_upward_import_is_found_wherever_it_stands() {
    let faults = |module: &str, text: &str| layer_faults(module, &blanked(text)).len();
    assert_eq!(faults("event", "use crate::engine::Engine;"), 1);
    assert_eq!(faults("event", "use crate::{config::Section, event::Batch};"), 1);
    assert_eq!(faults("output", "fn f() { crate::engine::run() }"), 1);
    assert_eq!(faults("output", "use crate::{\n    event::{Batch, Tag},\n    input::Tail,\n};"), 1);
    assert_eq!(faults("unheard", ""), 1);
}

#[test]
fn a_downward_import_is_no_fault() {
    let faults = |module: &str, text: &str| layer_faults(module, &blanked(text)).len();
    assert_eq!(faults("engine", "use crate::{buffer::Buffer, event::Batch};"), 0);
    assert_eq!(faults("event", "// use crate::engine;\nlet x = \"crate::engine\";"), 0);
    assert_eq!(faults("net", "use crate::net::Sockets;"), 0);
}

#[test]
fn a_long_function_is_found_and_a_short_one_is_not() {
    let long = format!("fn short() {{}}\nfn long() {{\n{}}}\n", "    step();\n".repeat(MAX_FUNCTION_LINES));
    let faults = function_faults(&blanked(&long));
    assert_eq!(faults, [format!("line 2: fn long has {} lines, more than 70", MAX_FUNCTION_LINES + 2)]);
    let limit = format!("fn f() {{\n{}}}\n", "    step();\n".repeat(MAX_FUNCTION_LINES - 2));
    assert!(function_faults(&blanked(&limit)).is_empty());
}

#[test]
fn braces_in_literals_and_comments_do_not_count() {
    let text = "fn f<'a>(x: [u8; 2]) -> &'a str { let c = '{'; /* { */ r#\"{\"#; b'\\''; \"\\\"{\" } // {\nfn g() {}\n";
    let blank = blanked(text);
    assert_eq!(blank.matches('{').count(), 2, "{blank}");
    assert_eq!(blank.lines().count(), 2);
}

#[test]
fn long_tests_are_left_out() {
    let body = "    step();\n".repeat(100);
    let text = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\nfn long() {{\n{body}}}\n}}\nfn g() {{\n{body}}}\n");
    let faults = function_faults(&without_tests(&blanked(&text)));
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("fn g"), "{faults:?}");
    assert_eq!(without_tests("#[cfg(test)]\nmod tests;\nfn f() {}").trim(), "fn f() {}");
}

#[test]
fn a_file_without_a_comment_or_with_too_many_lines_is_found() {
    assert_eq!(file_faults("use std::fs;\n").len(), 1);
    assert_eq!(file_faults(&format!("//! Text.\n{}", "\n".repeat(MAX_FILE_LINES))).len(), 1);
    assert!(file_faults("//! Text.\n").is_empty());
}

#[test]
fn a_lifted_lint_is_found_and_a_comment_on_it_is_not() {
    assert!(lifts_unsafe_lint(&blanked("#![allow(unsafe_code)]")));
    assert!(lifts_unsafe_lint(&blanked("#![cfg_attr(x, expect(dead_code, unsafe_code))]")));
    assert!(!lifts_unsafe_lint(&blanked("// allow(unsafe_code)\nlet x = \"(unsafe_code\";")));
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nbytes = \"1\"\ntokio = { version = \"1\" }\n[dev-dependencies]\ndivan = \"0\"\n";
    assert_eq!(dependencies(manifest), ["bytes", "tokio", "divan"]);
    assert_eq!(unnamed(manifest, "`bytes` and `divan`, but not tokio"), ["tokio"]);
}
