//! What the operator wrote: three front-ends give one tree of sections whose values carry file, line and column.
//!
//! - `span`, `section`: the tree. `diagnostic`, `render`: faults, several per run, with place, text and remedy.
//! - `fluentd`, `json`, `ruby`, `session`: Fluentd's language, its embedded code (a safe subset), includes.
//! - `load`: files to trees. `compat`: flat parameters of old configurations into sections.
//! - `de`, `types`, `convert`, `regexp`, `secret`: sections to a plugin's own struct.
//! - `pattern`: match patterns. `settings`: the process's own settings, layered.
//!
//! Invariants: nothing here runs code of a configuration; a value keeps its place until a fault can no longer point at it.

mod compat;
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
mod types;

pub use compat::{PluginKind, normalize};
pub use de::{Options, Outcome, from_section};
pub use diagnostic::{Diagnostic, Diagnostics, nearest};
pub use load::{LoadOptions, Loaded, load_file, load_text};
pub use pattern::Patterns;
pub use regexp::{Flags as RegexpFlags, Regexp, RegexpError};
pub use secret::{Secret, looks_secret};
pub use section::{Param, Section, Value as ConfigValue};
pub use settings::{Settings, load as load_settings};
pub use span::Span;
pub use types::{Pairs, Size, SizeLimit, TimeSpan};
