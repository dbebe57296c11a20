//! The `filter` layer.
