//! The `parser` layer.
