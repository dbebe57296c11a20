//! The `suiro-sql` binary, which `suiro sql` becomes: queries over a warehouse.

use std::process::ExitCode;

fn main() -> ExitCode {
    suiro::cli::sql::run::main()
}
