//! The `formatter` layer.
