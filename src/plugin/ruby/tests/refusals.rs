//! What is refused when the configuration is read, and what the operator is told.

use proptest::prelude::*;

use super::{FUNCTIONS, run};
use crate::plugin::ruby::parse;

/// The message and help of a refusal.
fn refusal(code: &str) -> (String, String) {
    match parse::code(code, 0, &FUNCTIONS) {
        Ok(_) => panic!("{code} was accepted"),
        Err(error) => (error.message, error.help),
    }
}

#[test]
fn what_could_reach_outside_is_refused_by_name() {
    for code in [
        "`ls`",
        "system(\"ls\")",
        "exec \"ls\"",
        "eval(\"1\")",
        "File.read(\"/etc/passwd\")",
        "IO.read(\"x\")",
        "open(\"x\")",
        "Kernel.exit",
        "exit",
        "sleep 5",
        "fork",
        "Process.pid",
        "ObjectSpace",
        "binding",
        "instance_eval(\"1\")",
        "$stdout",
        "@x",
        "Dir.glob(\"*\")",
        "load \"x\"",
        "require_relative \"x\"",
        "Object.new",
        "__method__",
        "Thread.new",
        "ENV.delete(\"X\")",
        "record.send(:x)",
        "record.instance_variable_get(\"@x\")",
        "method(:puts)",
        "Net::HTTP.get(\"x\")",
        "def f; end",
        "class A; end",
        "lambda { 1 }",
        "-> { 1 }",
        "proc { 1 }",
        "while true do end",
        "loop { }",
        "1 until false",
        "BEGIN { }",
        "<<~X",
        "self",
        "return 1",
        "yield",
        "super",
        "rand",
        "for x in [1] do end",
        "catch(:x) { }",
        "puts 1",
        "alias a b",
    ] {
        let (message, _) = refusal(code);
        assert!(!message.is_empty(), "{code}");
    }
}

#[test]
fn refusals_say_what_to_write_instead() {
    let cases = [
        ("record[\"a\"].upcase!", "`upcase!`", "x = x.upcase("),
        ("record[\"a\"].upcas", "`upcas`", "did you mean `upcase`?"),
        ("recrd[\"a\"]", "`recrd`", "did you mean `record`?"),
        ("message", "`message`", "record[\"message\"]"),
        ("File.read(\"x\")", "`File.read`", "files can't be read here"),
        ("JSON.load(\"x\")", "`JSON.load`", "JSON.parse"),
        ("Digest::MD5.hexdigest(\"x\")", "MD5", "Digest::SHA256.hexdigest(x)"),
        ("DateTime.parse(\"x\")", "`DateTime.parse`", "Time.parse(x)"),
        ("record[\"a\"].present?", "`present?`", "Rails"),
        ("while true; end", "`while`", ".each"),
        ("/a#{1}/", "code in a regular expression", "fixed expression"),
        ("/(/", "bad regular expression", ""),
        ("[*x]", "`*`", "a + b"),
        ("f = ->(x) { x }", "`lambda`", "block"),
        ("record[\"a\"].foo = 1", "no attributes", "x[\"...\"] = value"),
        ("tag = 1", "`tag` can't be assigned to", "another name"),
        ("[1].each_with_object", "0 argument(s)", ""),
        ("\"a\".sub(1, 2, 3)", "3 argument(s)", ""),
        ("format()", "0 argument(s)", ""),
        ("next 1", "in blocks only", ""),
        ("case 1 in Integer then 1 end", "`in`", "`when`"),
        ("[1].map(&foo)", "&:name", "{ |x| ... }"),
        ("Strin", "`Strin`", "did you mean `String`?"),
    ];
    for (code, message, help) in cases {
        let got = refusal(code);
        assert!(got.0.contains(message) && got.1.contains(help), "{code}: {got:?}");
    }
}

#[test]
fn broken_code_is_refused_where_it_breaks() {
    let cases = [
        ("1 +", 3),
        ("(1", 2),
        ("[1, 2", 5),
        ("\"abc", 1),
        ("{\"a\" => }", 8),
        ("record[\"a\"", 10),
        ("if 1 then 2", 11),
        ("1 2", 2),
        ("a = ", 4),
        ("x ? 1", 0),
        ("1 ? 2", 5),
        ("%w[a", 3),
        ("/abc", 0),
        (")", 0),
        ("}", 0),
        ("end", 0),
        ("1; )", 3),
        ("[1].map { |x", 12),
        ("[1].map { |1| 2 }", 11),
        ("\"#{1", 3),
        ("\"\\u12\"", 3),
        ("1.", 2),
        (":", 0),
        ("$x", 0),
    ];
    for (code, offset) in cases {
        let error = parse::code(code, 0, &FUNCTIONS).map(|_| ()).unwrap_err();
        assert_eq!(error.offset, offset, "{code}: {error}");
    }
}

#[test]
fn nesting_without_end_is_refused_and_takes_no_stack() {
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{1 => ", "1", "}"),
        ("!", "true", ""),
        ("- ", "1", ""),
        ("not ", "1", ""),
        ("\"#{", "1", "}\""),
        ("1 + (", "1", ")"),
        ("1 ? ", "2", " : 3"),
        ("1 ? 2 : ", "3", ""),
        ("x = ", "1", ""),
        ("[1].map { ", "1", " }"),
        ("2 ** ", "2", ""),
        ("if 1 then ", "1", " end"),
        ("begin ", "1", " end"),
        ("format(\"x\", ", "1", ")"),
        ("case 1 when ", "1", " then 1 end"),
        ("[1].map { |(", "x", ")| 1 }"),
        ("if 1 then 1 els", "", ""),
        ("x[", "1", "]"),
        ("1..", "2", ""),
        ("..", "1", ""),
        ("'a' ", "", ""),
    ] {
        for depth in [30, 1000, 5000] {
            let code = format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
            let _ = run(&code, false);
        }
    }
    for link in [
        " + 1",
        ".to_s",
        "[0]",
        " && 1",
        " || 1",
        ".map { 1 }",
        "&.to_s",
        " rescue 1",
        " if 1",
        " and 1",
        "; 1",
        " << 1",
        " ** 1",
    ] {
        for times in [50, 5000] {
            let _ = run(&format!("1{}", link.repeat(times)), false);
        }
    }
}

#[test]
fn strings_in_strings_are_parsed_once() {
    // Twice at each level would be two to the power of the depth.
    let depth = 38;
    let code = format!("{}1{}", "foo([\"#{".repeat(depth), "}\"])".repeat(depth));
    let _ = parse::code(&code, 0, &FUNCTIONS);
    let code = format!("{}1{}", "[\"#{".repeat(depth), "}\"]".repeat(depth));
    let _ = parse::code(&code, 0, &FUNCTIONS);
}

/// Pieces of code that go together often enough for the parser to come far.
const WORDS: &[&str] = &[
    "record",
    "[\"a\"]",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "|",
    "|x|",
    "|k, v|",
    ".map",
    ".gsub",
    ".",
    "&.",
    "&:upcase",
    " ",
    "\n",
    ";",
    ",",
    "=>",
    "=",
    "==",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "<<",
    "&&",
    "||",
    "!",
    "?",
    ":",
    "::",
    "..",
    "...",
    "1",
    "2.5",
    "\"s\"",
    "'q'",
    "\"#{",
    "%w[a b]",
    "/x(.)/",
    ":sym",
    "nil",
    "true",
    "if",
    "then",
    "else",
    "end",
    "unless",
    "case",
    "when",
    "begin",
    "rescue",
    "do",
    "and",
    "or",
    "not",
    "x",
    "x = ",
    "y",
    "it",
    "time",
    "tag_parts",
    "Integer",
    "JSON.parse",
    "Time.now",
    "format",
    "$1",
    "=~",
    "+=",
    "||=",
    "each",
    "with_index",
    ".to_s",
    "\\",
    "é",
    "#",
    "next",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = parse::code(&text, 0, &FUNCTIONS);
        let _ = parse::text(&text, &FUNCTIONS);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[ -~\n]{0,120}") {
        let _ = parse::code(&text, 0, &FUNCTIONS);
        let _ = parse::text(&text, &FUNCTIONS);
    }

    #[test]
    fn no_row_of_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        let _ = run(&words.concat(), false);
        let _ = run(&words.join(" "), false);
    }
}
