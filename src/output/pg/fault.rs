//! What an error of the server, or of the way to it, means for a chunk.

use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use crate::output::causes::chain;
use crate::plugin::WriteError;

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A row is at fault: the others may go.
    Row,
    /// The configuration or the database has to be changed; the events wait.
    Setup,
    /// It may pass: connections, locks, room, a server that stops.
    Passing,
}

/// What an error means, by its SQLSTATE (PostgreSQL documentation, Appendix A).
pub fn meaning(e: &Error) -> Meaning {
    let Some(code) = e.code().map(|code| code.code()) else { return Meaning::Passing };
    match &code[..2.min(code.len())] {
        // Data exceptions, constraints, `WITH CHECK OPTION`, what triggers raise.
        "22" | "23" | "44" | "P0" => Meaning::Row,
        // A row, or an index entry of it, that is too large. 54011, too many columns, is no row's fault.
        "54" if code != "54011" => Meaning::Row,
        "28" | "3D" | "3F" | "42" | "0A" | "25" => Meaning::Setup,
        _ => Meaning::Passing,
    }
}

/// Whether a row is at fault.
pub fn is_row_fault(e: &Error) -> bool {
    meaning(e) == Meaning::Row
}

/// What the server answered, on one line: code, message, detail, hint and where.
pub fn answer(e: &Error) -> String {
    let Some(said) = e.as_db_error() else { return chain(e) };
    let mut text = format!("{} {}: {}", said.severity(), said.code().code(), said.message());
    for more in [said.detail(), said.hint(), said.where_()].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

/// The line of a COPY that an error points at, from 0. The word for it is in the server's language, so only its place counts.
pub fn line_of(e: &Error) -> Option<usize> {
    line_in(e.as_db_error().and_then(DbError::where_)?)
}

fn line_in(context: &str) -> Option<usize> {
    // Contexts of triggers and casts stand before that of the COPY.
    let copy = context.lines().find(|line| line.contains("COPY"))?;
    let behind = &copy[copy.find("COPY")?..];
    // A table's name may hold digits: it ends at the first comma.
    let (_, rest) = behind.split_once(", ")?;
    let digits: String = rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse::<usize>().ok()?.checked_sub(1)
}

/// The remedies that an operator needs, by code.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" => "look at username and password",
        "28000" => "look at username, and whether pg_hba.conf lets this host in (sslmode require where it wants TLS)",
        "3D000" => "look at database: there is none of this name",
        "3F000" => "look at schema: there is none of this name",
        "42P01" => "look at table: there is none of this name. Create it, or set auto_create_table true",
        "42501" => "this username may not do that: GRANT it the right",
        "42703" => "look at column_mapping: the table has no such column",
        _ => return None,
    })
}

/// Try again later, with what helps where something is known to.
pub fn retry(place: &str, e: &Error) -> WriteError {
    let help = e.code().and_then(|code| remedy(code.code())).map(|help| format!(". What helps: {help}"));
    WriteError::Retry(format!("{place}: {}{}", answer(e), help.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_copy_is_found_in_any_language() {
        assert_eq!(line_in("COPY t, line 3, column n: \"abc\""), Some(2));
        assert_eq!(line_in("COPY t2, Zeile 12, Spalte n5: »abc«"), Some(11));
        assert_eq!(line_in("PL/pgSQL function f() line 7 at RAISE\nCOPY t, line 4"), Some(3));
        assert_eq!(line_in("COPY t"), None);
        assert_eq!(line_in("PL/pgSQL function f() line 7 at RAISE"), None);
    }
}
