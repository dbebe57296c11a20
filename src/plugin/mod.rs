//! The `plugin` layer.
