//! What `fluentd` promises, case by case.
#![allow(clippy::unwrap_used)]
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::diagnostic::Diagnostics;
use crate::config::ruby::Surroundings;
use crate::config::section::ValueKind;

fn around() -> Surroundings {
    Surroundings {
        env: [("X".to_owned(), "xval".to_owned()), ("LIST".to_owned(), "a\",\"b".to_owned())].into(),
        hostname: "web1".into(),
        worker_id: "0".into(),
    }
}

fn parse(text: &str) -> (Section, Diagnostics) {
    let around = around();
    let mut session = Session::new(&around, encoding_rs::UTF_8);
    let root = parse_into(Section::root(), &Source::new("test.conf", text), Path::new(""), &mut session);
    (root, session.faults)
}

/// `k=v <name arg>{...}`, nil as `~`, the default as `*`.
fn shape(section: &Section) -> String {
    let params = section.params.iter().map(|param| match (param.value.kind(), param.value.text()) {
        (ValueKind::Nil, _) => format!("{}~", param.name),
        (ValueKind::Default, _) => format!("{}*", param.name),
        (_, text) => format!("{}={}", param.name, text.unwrap_or("")),
    });
    let children = section.children.iter().map(|child| format!("{}{{{}}}", child.tag(), shape(child)));
    params.chain(children).collect::<Vec<_>>().join(" ")
}

fn ok(text: &str) -> String {
    let (root, faults) = parse(text);
    assert!(!faults.has_errors(), "{text}\n{}", faults.render());
    shape(&root)
}

fn value(text: &str) -> String {
    ok(&format!("k {text}")).strip_prefix("k").unwrap().to_owned()
}

fn faults(text: &str) -> Vec<String> {
    let (_, faults) = parse(text);
    faults.iter().map(|fault| format!("{}:{} {}", fault.span.line(), fault.span.column(), fault.message)).collect()
}

#[test]
fn parameters_are_names_and_the_rest_of_the_line() {
    for (text, expected) in [
        ("k1 v1\n  k2 v2\n", "k1=v1 k2=v2"),
        ("k1\nk2 v2", "k1= k2=v2"),
        ("k1", "k1="),
        ("k1   \n", "k1="),
        ("k1 \t a  b  c \t \n", "k1=a  b  c"),
        ("1 1", "1=1"),
        ("k _.%$!,", "k=_.%$!,"),
        ("k /=~-~@`:?", "k=/=~-~@`:?"),
        ("k ()*{}.[]", "k=()*{}.[]"),
        ("k1 v1\r\nk2 v2\r\n", "k1=v1 k2=v2"),
        ("# comment\nk v # comment\n#k2 v\n", "k=v"),
        ("\"k 1\" v", "k 1=v"),
        ("k a\nk b", "k=b"),
    ] {
        assert_eq!(ok(text), expected, "{text}");
    }
}

#[test]
fn values_without_quotes_are_taken_as_they_stand() {
    for (text, expected) in [
        ("#not_comment", "=#not_comment"),
        ("a#not_comment", "=a#not_comment"),
        ("a #comment", "=a"),
        ("a\t#comment", "=a"),
        ("#a #b", "=#a"),
        ("a # b # c", "=a"),
        (r"\\", r"=\\"),
        (r"\n\[", r"=\n\["),
        ("t\"", "=t\""),
        ("t'", "=t'"),
        ("t{", "=t{"),
        ("}t", "=}t"),
        ("#{hostname}", "=#{hostname}"),
        ("x#{hostname} y", "=x#{hostname} y"),
        ("a>b <c>", "=a>b <c>"),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn double_quotes_have_escapes_lines_and_code() {
    for (text, expected) in [
        (r#""""#, "="),
        (r##""a#comment" # real"##, "=a#comment"),
        (r#""a"#, ""),
        (r#""\"\\\n\t\r\f\b\0""#, "=\"\\\n\t\r\u{c}\u{8}\0"),
        (r##""\[\.\$\#{x}\'""##, "=[.$#{x}'"),
        ("\"l1\n  l2\"", "=l1\n  l2"),
        ("\"l1\\\n  l2\"", "=l1  l2"),
        ("\"l1\\\r\n  l2\"", "=l1  l2"),
        ("\"l1\n\nl2\r\nl3\"", "=l1\n\nl2\r\nl3"),
        (r##""#{hostname}-#{1+1}#""##, "=web1-2#"),
        (r##""#{"}"}""##, "=}"),
        (r##""#{}""##, "="),
        (r##""#{ENV['NONE']}""##, "="),
        (r##""[#{ENV['NONE']}]""##, "=[]"),
        (r##""x#{use_nil}y""##, "~"),
        (r##""#{use_default}""##, "*"),
        (r##""#{ENV['NONE'] || use_default}#{use_nil}""##, "~"),
        ("\"漢#{ENV[\"X\"]}é\"", "=漢xvalé"),
    ] {
        if expected.is_empty() {
            assert!(parse(&format!("k {text}")).1.has_errors());
        } else {
            assert_eq!(value(text), expected, "{text}");
        }
    }
}

#[test]
fn single_quotes_take_everything_as_it_stands() {
    for (text, expected) in [
        ("''", "="),
        ("'a#comment'", "=a#comment"),
        (r"'\''", "='"),
        (r"'\\'", r"=\"),
        (r"'\[\n\1'", r"=\[\n\1"),
        ("'#{hostname}'", "=#{hostname}"),
        ("'[1,2'", "=[1,2"),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn json_values_span_lines_and_have_comments_and_code() {
    for (text, expected) in [
        ("[]", "=[]"),
        ("[ 1 , 2 ]", "=[1,2]"),
        ("[\"a\",\n\"b\", # x ]\n \"c]\" // y\n /* z ] */ ]", r#"=["a","b","c]"]"#),
        ("[\n 1, # one\n 2  # two\n] # end", "=[1,2]"),
        ("{\"b\": 1, # [\n \"a\": [{\"c\": null}]}", r#"={"b":1,"a":[{"c":null}]}"#),
        (r##"["a","#{hostname} #{worker_id}"]"##, r#"=["a","web1 0"]"#),
        (r##"{"#{hostname}":"d"}"##, r#"={"web1":"d"}"#),
        (r##"["#{ENV['LIST']}"]"##, r#"=["a","b"]"#),
        (r##"{"a":#{1+1}}"##, r#"={"a":2}"#),
        (r##"["\u00e9\"#"]"##, "=[\"é\\\"#\"]"),
        ("[1] ", "=[1]"),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn sections_nest_and_have_arguments() {
    for (text, expected) in [
        ("<a>\n</a>", "<a>{}"),
        ("<test var>\nk 1\n<n1>\n</n1>\n<n2 x>\nj 2\n</n2>\n</test>", "<test var>{k=1 <n1>{} <n2 x>{j=2}}"),
        ("<test  >\n</test>", "<test>{}"),
        ("<test    a.** b.**  > # c\n</test  >\n# d", "<test a.** b.**>{}"),
        ("<m a\n>\n</m>", "<m a>{}"),
        ("<m a#b>\n</m>", "<m a#b>{}"),
        ("<match /^a.(b|c)$/>\n</match>", "<match /^a.(b|c)$/>{}"),
        ("<m _.%$!,>\n</m>\n<m ()*{}.[]>\n</m>", "<m _.%$!,>{} <m ()*{}.[]>{}"),
        ("<test \"#{ENV['X']}.*\">\n</test>", "<test xval.*>{}"),
        ("<test '#{ENV}'>\n</test>", "<test #{ENV}>{}"),
        ("<test #{ENV['X']}>\n</test>", ""),
        ("<test a.#{tag}>\n</test>", "<test a.#{tag}>{}"),
        ("<buffer tag, time>\n</buffer>", "<buffer tag, time>{}"),
        ("<worker 0-1>\n</worker>\n<label @X>\n</label>", "<worker 0-1>{} <label @X>{}"),
        ("k v\n<a>\n</a>\nj w", "k=v j=w <a>{}"),
    ] {
        if expected.is_empty() {
            assert!(parse(text).1.has_errors(), "{text}");
        } else {
            assert_eq!(ok(text), expected, "{text}");
        }
    }
}

#[test]
fn spans_point_at_names_values_and_arguments() {
    let (root, _) = parse("<match  a.** >\n  path \"x\ny\" # c\n  flag\n</match>\n");
    let section = &root.children[0];
    assert_eq!((section.span.text(), section.args.span.text()), ("<match  a.** >", "a.**"));
    let path = section.get("path").unwrap();
    assert_eq!((path.name_span.text(), path.value_span.text()), ("path", "\"x\ny\""));
    assert_eq!((path.value_span.line(), path.value_span.column()), (2, 8));
    assert_eq!(section.span_of("flag").line(), 4);
}

#[test]
fn every_fault_is_found_in_one_run() {
    let text = "<source>\n  a \"x\" y\n  b \"\\z\"\n  c [1,\n  d 'x\n  @k v\n</source>\n<match **>\n  e \"#{system('x')}\"\n  f ok\n</filter>\n";
    assert_eq!(
        faults(text),
        [
            "2:9 expected end of line: nothing but a comment may follow this value",
            "3:6 unexpected back-slash escape character 'z'",
            "4:5 got incomplete JSON array configuration; a ']' is missing",
            "5:5 unexpected end of a single quoted string",
            "6:3 '@' is the system reserved prefix; '@k' is none of @type, @id, @label, @log_level",
            "9:8 embedded Ruby code uses 'system', which is not supported",
            "11:1 unmatched end tag '</filter>': '<match **>' in line 8 is open",
            "8:1 expected end tag '</match>' but got end of file",
        ]
    );
    let (root, _) = parse(text);
    assert_eq!(root.children[1].text("f"), Some("ok"));
}

#[test]
fn wrong_tags_are_faults() {
    for (text, message) in [
        ("<source>\n<match **>\n</match>\n", "1:1 expected end tag '</source>' but got end of file"),
        ("<test></test>", "1:7 expected end of line after tag"),
        ("<t>\n</t><t>\n</t>", "2:5 expected end of line after end tag"),
        ("<t #a>\n</t>", "1:1 expected '>' at the end of '<t'"),
        ("<t a\nk v\n</t>", "1:1 expected '>' at the end of '<t'"),
        ("</t>", "1:1 unmatched end tag '</t>': no section is open"),
        ("< t>", "1:1 a section's name must follow '<'"),
        ("<a>\n<b>\n</a>", "2:1 '<b>' is not closed before '</a>' in line 3"),
        ("@k v", "1:1 '@' is the system reserved prefix; '@k' is none of @type, @id, @label, @log_level"),
        ("k \"a\" 1", "1:7 expected end of line: nothing but a comment may follow this value"),
        ("k \"\"\"", "1:5 expected end of line: nothing but a comment may follow this value"),
        ("k [1,2,]", "1:8 invalid JSON array: trailing comma"),
        ("k [1,2] x", "1:9 expected end of line: nothing but a comment may follow this value"),
        ("k {t", "1:3 got incomplete JSON hash configuration; a '}' is missing"),
        ("k \"#{ENV['X'\"", "1:3 unexpected end of a double quoted string"),
        ("\"k\"v", "1:1 white space must follow a parameter's name"),
        ("@include\nk v", "1:1 @include needs a path"),
        ("@include https://x/y.conf", "1:10 including over the network is not supported (https:)"),
    ] {
        assert_eq!(faults(text), [message], "{text}");
    }
}

#[test]
fn an_unclosed_section_is_helped_by_naming_what_it_swallowed() {
    let (_, faults) = parse("<source>\n  @type x\n<match **>\n</match>\n");
    assert_eq!(
        faults.iter().next().unwrap().help.as_deref(),
        Some("is '</source>' missing before '<match **>' in line 3?")
    );
}

#[test]
fn an_at_sign_is_only_warned_of_in_nested_sections() {
    let (root, faults) = parse("<match>\n<record>\n@k v\n</record>\n</match>");
    assert!(!faults.has_errors() && faults.len() == 1);
    assert_eq!(root.children[0].children[0].text("@k"), Some("v"));
}

#[test]
fn a_name_written_twice_is_warned_of() {
    let (_, faults) = parse("<a>\nk 1\nk 2\n</a>");
    assert!(faults.iter().next().unwrap().message.contains("first in line 2"));
}

#[test]
fn deep_nesting_is_a_fault_not_an_overflow() {
    assert_eq!(faults(&"<a>\n".repeat(100_000)).len(), 1);
    assert_eq!(faults(&format!("k {}", "[".repeat(1_000_000))).len(), 1);
}

#[test]
fn files_that_never_end_a_value_or_a_section_are_given_up_in_time() {
    let started = std::time::Instant::now();
    for text in ["k [\n".repeat(500_000), "k \"#{\n".repeat(500_000), "k {\"a\":\n".repeat(300_000)] {
        let found = faults(&text);
        assert_eq!(found.len(), MAX_UNCLOSED + 2, "{found:?}");
    }
    let many: String = (0..200_000).map(|i| format!("k{i} v\n")).collect();
    assert_eq!(faults(&many).len(), 1);
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn load(path: &Path) -> (Section, Diagnostics, usize) {
    let around = around();
    let mut session = Session::new(&around, encoding_rs::UTF_8);
    assert!(session.open(path, &Span::nowhere()));
    let source = session.read(path, &Span::nowhere()).unwrap();
    let root = parse_into(Section::root(), &source, path.parent().unwrap(), &mut session);
    (root, session.faults, session.files.len())
}

#[test]
fn includes_are_relative_sorted_and_work_inside_sections() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write(
        dir.path(),
        "main.conf",
        &format!(
            "k1 root\ninclude sub/2.conf  #\n@include {}\n@include 'file://{}'\n@include config.d/*.conf\n@include none/*.conf\n",
            at("4.conf").display(),
            at("5 x.conf").display()
        ),
    );
    write(dir.path(), "sub/2.conf", "k2 relative\n@include ../3.conf");
    write(dir.path(), "3.conf", "k3 nested");
    write(dir.path(), "4.conf", "k4 absolute");
    write(dir.path(), "5 x.conf", "k5 uri");
    write(dir.path(), "config.d/20.conf", "<elem2 name>\n@include ../sub/9.{conf,none}\n</elem2>\nk7 later");
    write(dir.path(), "config.d/10.conf", "k6 first\n<elem1 name>\ninclude plain\n</elem1>");
    write(dir.path(), "config.d/.hidden.conf", "k99 no");
    write(dir.path(), "sub/9.conf", "k9 inside\n<elem3>\n@id x\n</elem3>");
    let (root, faults, files) = load(&at("main.conf"));
    assert!(faults.is_empty(), "{}", faults.render());
    assert_eq!(
        shape(&root),
        "k1=root k2=relative k3=nested k4=absolute k5=uri k6=first k7=later <elem1 name>{include=plain} <elem2 name>{k9=inside <elem3>{@id=x}}"
    );
    assert_eq!(files, 8);
    let span = &root.children[1].children[0].span;
    assert!(span.file().ends_with("sub/9.conf") && span.line() == 2, "{span}");
}

#[test]
fn a_missing_file_a_loop_and_a_bad_include_are_faults_and_keep_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "main.conf",
        "<a>\nk v\n@include none.conf\n@include loop.conf\n@include main.conf\n@include bad.conf\nj w\n</a>",
    );
    write(dir.path(), "loop.conf", "l 1\n@include loop.conf");
    write(dir.path(), "bad.conf", "</a>\nm \"x");
    let (root, faults, _) = load(&dir.path().join("main.conf"));
    let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(messages.len(), 5, "{messages:?}");
    assert!(messages[0].contains("none.conf does not exist"));
    assert!(messages[1].contains("includes itself") && messages[2].contains("includes itself"));
    assert!(messages[3].contains("unmatched end tag"));
    assert_eq!(shape(&root), "<a>{k=v l=1 j=w}");
}

#[test]
fn backup_copies_in_a_glob_are_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "main.conf", "@include d/*.conf");
    write(dir.path(), "d/a.conf", "");
    write(dir.path(), "d/a_bak.conf", "");
    let (_, faults, _) = load(&dir.path().join("main.conf"));
    assert!(!faults.has_errors() && faults.len() == 1 && faults.iter().next().unwrap().message.contains("a_bak.conf"));
}

#[test]
fn the_dump_is_fluentds_form_with_secrets_masked() {
    let (root, _) = parse(
        "<match a.**>\n@type http\nshared_key \"abc\"\nflag\nkeys [1, 2]\npath '/x y'\nt \"a\\tb\"\nn \"#{use_nil}\"\n<buffer tag>\n</buffer>\n</match>",
    );
    let text = root.to_fluentd_text(&crate::config::secret::looks_secret);
    assert_eq!(
        text,
        "<ROOT>\n  <match a.**>\n    @type http\n    shared_key xxxxxx\n    flag\n    keys [1,2]\n    path /x y\n    t \"a\\tb\"\n    n \"#{use_nil}\"\n    <buffer tag>\n    </buffer>\n  </match>\n</ROOT>\n"
    );
}

/// Files that look like configurations, with everything that is special in them.
fn config_like() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("<a b>\n".to_owned()),
            Just("</a>\n".to_owned()),
            Just("k ".to_owned()),
            Just("\"".to_owned()),
            Just("'".to_owned()),
            Just("#{".to_owned()),
            Just("}".to_owned()),
            Just("[".to_owned()),
            Just("]".to_owned()),
            Just("{\"a\":".to_owned()),
            Just("\\".to_owned()),
            Just("\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("#".to_owned()),
            Just(" ".to_owned()),
            Just("@include nonexistent/".to_owned()),
            Just("/*".to_owned()),
            Just("ENV['X']".to_owned()),
            "\\PC{0,4}",
        ],
        0..40,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in config_like()) {
        let (root, faults) = parse(&text);
        let _ = faults.render();
        let _ = root.to_fluentd_text(&|_| false);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (_, faults) = parse(&String::from_utf8_lossy(&bytes));
        let _ = faults.render();
    }

    #[test]
    fn what_is_dumped_reads_back_the_same(text in config_like(), values in proptest::collection::vec("\\PC*|[ \t\n\"'#{}\\[\\\\a-c>]*", 0..5)) {
        let (mut root, _) = parse(&text);
        let mut section = Section::new("s", Span::nowhere());
        for (i, value) in values.iter().enumerate() {
            section.set_text(&format!("k{i}"), value.clone());
            section.args.value = Value::bare(value.clone());
        }
        root.children.push(section);
        let dump: String = root.children.iter().map(|child| child.to_fluentd_text(&|_| false)).collect();
        let (again, faults) = parse(&dump);
        prop_assert!(!faults.has_errors(), "{}\n{}", dump, faults.render());
        root.params.clear();
        prop_assert!(root.same_as(&again), "{}\n{:#?}\n{:#?}", dump, root, again);
    }
}
