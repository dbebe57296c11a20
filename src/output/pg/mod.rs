//! The PostgreSQL protocol, for the outputs that speak it: sessions, names in SQL, what errors mean.

mod fault;
mod session;
mod text;

pub use self::fault::{Meaning, answer, is_row_fault, line_of, meaning, retry};
pub use self::session::{Connect, ConnectParams, Forgetting, Pool, Session};
pub use self::text::{MAX_NAME_BYTES, TableName, identifier, literal};
