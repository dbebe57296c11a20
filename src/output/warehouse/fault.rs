//! What went wrong in a warehouse, for the operator. Whatever it is, the chunk stays in the buffer and is tried again: a
//! damaged catalog can be mended, and a store comes back.

use std::fmt;

use crate::plugin::WriteError;

/// Why the warehouse could not be read or written.
#[derive(Debug)]
pub struct Fault(pub String);

/// What work on a warehouse gives.
pub type Done<T> = Result<T, Fault>;

impl Fault {
    /// With what was being done in front.
    pub fn at(self, what: impl fmt::Display) -> Fault {
        Fault(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl From<iceberg::Error> for Fault {
    fn from(e: iceberg::Error) -> Fault {
        Fault(e.to_string())
    }
}

impl From<parquet::errors::ParquetError> for Fault {
    fn from(e: parquet::errors::ParquetError) -> Fault {
        Fault(e.to_string())
    }
}

impl From<arrow_schema::ArrowError> for Fault {
    fn from(e: arrow_schema::ArrowError) -> Fault {
        Fault(e.to_string())
    }
}

impl From<std::io::Error> for Fault {
    fn from(e: std::io::Error) -> Fault {
        Fault(e.to_string())
    }
}

impl From<Fault> for WriteError {
    fn from(fault: Fault) -> WriteError {
        WriteError::Retry(fault.0)
    }
}
