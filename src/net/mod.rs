//! The `net` layer.
