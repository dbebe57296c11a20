//! The OpenTelemetry protocol (OTLP 1.x) for logs: requests and answers, as protobuf and as JSON.
//!
//! Messages are read in one pass straight into a batch, and written straight from records. Generated types would hold a
//! request as a tree of structs first, of which two bytes of a hostile body make some two hundred in memory.

mod answer;
mod json;
mod log;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use answer::{Partial, Status, partial_of, partial_of_json, success};
pub use json::read_json;
pub use log::{Fault, Limits};
pub use read::read_proto;
pub use write::{Placed, request, write_record};

/// The method that takes logs over gRPC.
pub const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
