//! What the operator wrote: three languages, one tree, typed structs.
//!
//! In the order in which a configuration passes through:
//!
//! 1. `load` picks a front-end, reads the files with all that they include, and bounds what that may cost.
//! 2. `fluentd`, `yaml` and `toml` are the front-ends. `ruby` interprets `#{...}` in them; nothing is ever run.
//! 3. `section` is the tree they all give. Every name, value and argument keeps its `span`.
//! 4. `compat` turns flat parameters of old configurations into the sections they stand for.
//! 5. `de` reads a section into a plugin's struct; `types`, `regexp`, `pattern` and `secret` are what its fields may
//!    be. After that nobody looks up a parameter by its name.
//!
//! What holds everywhere:
//! - A fault is a `diagnostic` with a place and a remedy, and a check finds all of them in one run.
//! - Bad input is refused, never a panic: nesting, sizes, counts and the cost of a pattern have named limits.
//! - A secret is never printed: not in the dump, not in an error, not by `Debug`.

mod compat;
mod compat_exec_filter;
mod convert;
mod de;
mod diagnostic;
mod dump;
mod fluentd;
mod json;
mod load;
mod pattern;
mod regexp;
mod render;
mod ruby;
mod secret;
mod section;
mod session;
mod settings;
mod span;
mod system;
#[cfg(test)]
mod testing;
mod toml;
mod types;
mod yaml;

pub use compat::{Part, normalize};
pub use compat_exec_filter::exec_filter_parts;
pub use convert::permission;
pub use de::{Options, Outcome, from_section};
pub use diagnostic::{Diagnostic, Diagnostics, nearest};
pub use load::{Language, LoadOptions, Loaded, load_all, load_text};
pub use pattern::Patterns;
pub use regexp::{Flags as RegexpFlags, Regexp, RegexpError};
pub use ruby::{Surroundings, hostname};
pub use secret::{Secret, looks_secret, shown};
pub use section::{Param, Section, Value};
pub use settings::{RotateAge, Settings, load as load_settings};
pub use span::Span;
pub use system::check_system;
pub use types::{Pair, Pairs, Size, SizeLimit, TimeSpan};
