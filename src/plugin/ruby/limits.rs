//! What one expression may use. Configured code is trusted to mean well, but records are not: a short expression over a
//! hostile record must end soon and small.

/// Longest template text, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 64 * 1024;

/// Deepest expression, in nodes from the root to a leaf.
pub const MAX_HEIGHT: usize = 100;

/// Deepest nesting of expressions in the text; a pair of brackets takes two or three levels.
pub const MAX_NESTING: usize = 80;

/// Most variables of one expression.
pub const MAX_VARIABLES: usize = 256;

/// Steps that one evaluation may take. A step is a node, a call of a block, or 64 bytes or 4 elements looked at.
pub const MAX_STEPS: usize = 2_000_000;

/// Longest string that an expression may make, in bytes.
pub const MAX_TEXT_BYTES: usize = 16 << 20;

/// Most elements of an array or hash that an expression may make.
pub const MAX_ELEMENTS: usize = 1 << 18;

/// Most values, counted at every depth, of a record or a JSON text that an expression looks into.
pub const MAX_VALUES: usize = 1 << 20;

/// Most values looked at by one comparison or search through a structure; one that is linked to itself has no end.
pub const MAX_VISITS: usize = 1 << 20;

/// Memory that the expressions of one event may use together, in bytes.
pub const MAX_SCRATCH_BYTES: usize = 64 << 20;

/// Deepest structure that is printed, compared or written out.
pub const MAX_DEPTH: usize = crate::event::msgpack::MAX_DEPTH;
