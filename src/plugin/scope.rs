//! The span that a plugin's work runs in, where its lines of the log have rules of their own.

use tracing::Span;

/// The target of these spans; the log knows them by it.
pub const SCOPE_TARGET: &str = "suiro::scope";

/// A span for work with its own `@log_level`; `silent`: its lines never become log events, because it handles them.
/// Work without either has no span, which costs nothing.
pub fn scope(log_level: Option<&str>, silent: bool) -> Span {
    match (log_level, silent) {
        (None, false) => Span::none(),
        (level, silent) => tracing::error_span!(target: SCOPE_TARGET, "plugin", log_level = level, silent),
    }
}
