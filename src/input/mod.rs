//! The `input` layer.
