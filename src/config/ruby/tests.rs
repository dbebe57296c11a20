//! What `ruby` promises, case by case.
#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn around() -> Surroundings {
    let env = [("X", "xval"), ("PORT", "24224"), ("EMPTY", ""), ("LIST", "a,b,c")];
    Surroundings {
        env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        hostname: "web1".into(),
        worker_id: "2".into(),
    }
}

fn text(code: &str) -> String {
    match evaluate(code, &around()) {
        Ok(Embedded::Text(text)) => text,
        other => panic!("{code}: {other:?}"),
    }
}

#[test]
fn the_documented_part_of_ruby_is_understood() {
    for (code, expected) in [
        ("ENV['X']", "xval"),
        ("ENV[\"X\"]", "xval"),
        (" ENV.fetch('X') ", "xval"),
        ("ENV.fetch('NO', 'default')", "default"),
        ("ENV.fetch 'NO', 'default'", "default"),
        ("ENV['NO']", ""),
        ("ENV['NO'] || 'x'", "x"),
        ("ENV['NO'] or 'x'", "x"),
        ("(ENV['NO'] || ENV['X']).upcase", "XVAL"),
        ("ENV['EMPTY'] || 'x'", ""),
        ("ENV.key?('X') ? 'yes' : 'no'", "yes"),
        ("ENV['NO'].nil? ? 1 : 2", "1"),
        ("ENV['EMPTY'].empty? ? \"none\" : ENV['EMPTY']", "none"),
        ("ENV['NO']&.upcase || 'none'", "none"),
        ("'a' if ENV['NO']", ""),
        ("'a' unless ENV['NO']", "a"),
        ("not ENV['NO']", "true"),
        ("!true || 5", "5"),
        ("hostname", "web1"),
        ("Socket.gethostname", "web1"),
        ("worker_id", "2"),
        ("worker_id.to_i + 24224", "24226"),
        ("1+1", "2"),
        ("2 + 3 * 4 - 1", "13"),
        ("(2 + 3) * 4", "20"),
        ("7 / 2", "3"),
        ("-7 / 2", "-4"),
        ("-7 % 3", "2"),
        ("7 % -3", "-2"),
        ("7.0 / 2", "3.5"),
        ("1.5 + 1", "2.5"),
        ("1e3.to_s rescue 1", ""),
        ("10_000", "10000"),
        ("4 == 4.0", "true"),
        ("3 > 2 && 1 < 2", "true"),
        ("'a' + 'b' * 3", "abbb"),
        ("\"p#{ENV['PORT'].to_i + 1}q\"", "p24225q"),
        ("\"a\\tb\\\"#{\"}\"}\"", "a\tb\"}"),
        ("ENV['LIST'].split(',')[1]", "b"),
        ("ENV['LIST'].split(',').last", "c"),
        ("ENV['LIST'].split(/,/).join('-')", "a-b-c"),
        ("['a', 'b'].join(',')", "a,b"),
        ("hostname.split('.').first", "web1"),
        ("'a.b.c'.gsub('.', '-')", "a-b-c"),
        ("'a.b.c'.sub('.', '-')", "a-b.c"),
        ("'a1b22'.gsub(/(\\d+)/, '<\\1>')", "a<1>b<22>"),
        ("'web1' =~ /^web/ ? 'w' : 'x'", "w"),
        ("' a '.strip", "a"),
        ("\"a\\n\".chomp", "a"),
        ("'abc'[0, 2]", "ab"),
        ("'abc'[-1]", "c"),
        ("'12abc'.to_i", "12"),
        ("'1.5x'.to_f", "1.5"),
        ("3.7.to_i", "3"),
        ("nil.to_i", "0"),
        ("nil.to_s", ""),
        ("nil", ""),
        ("", ""),
        ("'abc'.length", "3"),
        ("'Ab'.downcase.capitalize", "Ab"),
        ("File.basename('/a/b.conf')", "b.conf"),
        ("File.basename('/a/b.conf', '.conf')", "b"),
        ("File.basename('/a/b.conf', '.*')", "b"),
        ("File.dirname('/a/b.conf')", "/a"),
        ("File.join('/a/', '/b', 'c')", "/a/b/c"),
        ("File.exist?('/nonexistent-file')", "false"),
        ("Integer('8') + 1", "9"),
        ("100000000000000000.0", "1.0e+17"),
    ] {
        if code.contains("rescue") {
            assert!(evaluate(code, &around()).is_err(), "{code}");
        } else {
            assert_eq!(text(code), expected, "{code}");
        }
    }
}

#[test]
fn nil_default_and_raise_end_the_whole_value() {
    let run = |code| evaluate(code, &around());
    assert_eq!(run("use_nil"), Ok(Embedded::UseNil));
    assert_eq!(run("ENV['NO'] || use_nil"), Ok(Embedded::UseNil));
    assert_eq!(run("ENV['NO'] || use_default"), Ok(Embedded::UseDefault));
    assert_eq!(run("ENV['X'] || use_default"), Ok(Embedded::Text("xval".into())));
    assert_eq!(run("raise SetNil"), Ok(Embedded::UseNil));
    assert_eq!(run("raise SetDefault"), Ok(Embedded::UseDefault));
    for code in ["raise \"X is missing\"", "ENV['NO'] or raise('X is missing')", "raise ArgumentError, 'X is missing'"]
    {
        assert!(run(code).unwrap_err().message.contains("X is missing"), "{code}");
    }
}

#[test]
fn files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "value\n").unwrap();
    assert_eq!(text(&format!("File.read('{}').strip", path.display())), "value");
    let refusal = evaluate("File.read('/nonexistent-file')", &around()).unwrap_err();
    assert!(refusal.message.contains("/nonexistent-file"));
}

#[test]
fn what_is_not_understood_is_refused_at_its_place() {
    for (code, piece) in [
        ("`ls`", "`"),
        ("system('ls')", "system('ls')"),
        ("1 + Time.now", "Time"),
        ("Dir.glob('x')", "Dir"),
        ("[1].map { |x| x }", "{"),
        ("x = 1", "="),
        ("ENV.to_h", "ENV.to_h"),
        ("hostname.frobnicate", "hostname.frobnicate"),
        ("$stdin", "$"),
        ("1; 2", ";"),
    ] {
        let refusal = evaluate(code, &around()).unwrap_err();
        assert_eq!(&code[refusal.range.clone()], piece, "{code}: {refusal:?}");
    }
    assert!(evaluate("eval('1')", &around()).unwrap_err().help.unwrap().contains("Ruby is not run"));
    assert!(evaluate("ENV.fetch('NO')", &around()).unwrap_err().help.unwrap().contains("'default'"));
    assert!(evaluate("ENV['NO'] + 'x'", &around()).unwrap_err().help.unwrap().contains("unset"));
    assert!(evaluate("'a' + 1", &around()).unwrap_err().help.unwrap().contains(".to_s"));
}

#[test]
fn faults_of_arithmetic_are_refusals() {
    for code in [
        "1 / 0",
        "1 % 0",
        "9223372036854775807 + 1",
        "-9223372036854775807 - 2",
        "'a' * 10000000",
        "'a' < 1",
        "nil + 1",
    ] {
        assert!(evaluate(code, &around()).is_err(), "{code}");
    }
    assert_eq!(text("'ab' * -1"), "");
}

#[test]
fn size_and_nesting_are_bounded() {
    for code in [
        "(".repeat(2_000),
        "!".repeat(2_000),
        "-".repeat(2_000),
        "[".repeat(2_000),
        "1+".repeat(2_000),
        "not ".repeat(900),
        "1?".repeat(900),
    ] {
        assert!(evaluate(&code, &around()).is_err());
    }
    assert!(evaluate(&"a".repeat(MAX_CODE_BYTES + 1), &around()).is_err());
    let nested = "\"#{".repeat(200) + &"}\"".repeat(200);
    assert!(evaluate(&nested, &around()).is_err());
}

#[test]
fn the_end_of_code_is_found_past_braces_and_strings() {
    for (text, len) in [
        ("ENV['X']}\"", Some(8)),
        ("\"}\"}\"", Some(3)),
        ("'}'}", Some(3)),
        ("\"#{\"}\"}\"}x", Some(8)),
        ("{}}", Some(2)),
        ("abc", None),
    ] {
        assert_eq!(end_of_code(text), len, "{text}");
    }
}

#[test]
fn a_whole_text_is_interpolated() {
    let run = |text| interpolate(text, &around()).unwrap();
    assert_eq!(run("a #{ENV['X']} \\#{x}\\n"), Embedded::Text("a xval #{x}\n".into()));
    assert_eq!(run("a #{use_nil}"), Embedded::UseNil);
    let refusal = interpolate("ab #{Dir.pwd}", &around()).unwrap_err();
    assert_eq!(refusal.range, 5..8);
}

proptest! {
    #[test]
    fn any_code_ends_in_a_value_or_a_refusal(code in r#"[\\"'#{}()\[\]a-eENV.,+*/%?:|&!<>=0-9 \n-]{0,60}"#) {
        let _ = evaluate(&code, &around());
        let _ = interpolate(&code, &around());
        let _ = end_of_code(&code);
    }
}
