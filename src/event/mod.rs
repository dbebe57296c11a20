//! The `event` layer.
