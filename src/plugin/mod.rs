//! The `plugin` layer.

pub mod ruby;
