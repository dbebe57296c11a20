//! The `output` layer.
