//! The `suiro` binary: flags, then the daemon, then an exit code.

fn main() {}
