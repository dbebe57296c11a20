//! What the operator wrote.

mod convert;
pub mod diagnostic;
pub mod json;
pub mod regexp;
mod render;
pub mod ruby;
pub mod secret;
pub mod section;
pub mod span;
