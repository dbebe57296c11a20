//! What the operator wrote.

pub mod compat;
mod convert;
pub mod de;
pub mod diagnostic;
mod dump;
mod fluentd;
pub mod json;
pub mod load;
pub mod pattern;
pub mod regexp;
mod render;
pub mod ruby;
pub mod secret;
pub mod section;
mod session;
pub mod span;
mod toml;
pub mod types;
mod yaml;
