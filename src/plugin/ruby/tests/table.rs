//! `expressions.txt`: one expression a line, and what Ruby gives for it (made with Ruby 3.1; hashes are printed as Ruby
//! 3.4 prints them). `⏎` stands for a line end, `!Name` for an error of that class.

use super::run;

const TABLE: &str = include_str!("expressions.txt");

fn cases() -> impl Iterator<Item = (String, &'static str)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with("# "));
    lines.filter_map(|line| line.split_once("  #=> ")).map(|(code, wanted)| (code.replace('⏎', "\n"), wanted))
}

#[test]
fn expressions_give_what_ruby_gives() {
    let mut wrong = Vec::new();
    for (code, wanted) in cases() {
        let got = run(&code, false).unwrap_or_else(|e| format!("refused: {e}"));
        if got != wanted {
            wrong.push(format!("{code}\n    wanted {wanted}\n    got    {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases().count(), wrong.join("\n"));
}

#[test]
fn the_table_is_read_whole() {
    assert!(cases().count() > 900, "{}", cases().count());
}
