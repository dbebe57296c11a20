//! The tree that every front-end produces: sections with ordered parameters, each with its place in a file.
//!
//! It is typeless on purpose. Fluentd decides what `64k` means only once it knows which parameter it belongs to, so a
//! value stays text until a plugin's own struct asks for it (see [`super::de`]).

use super::span::Span;

/// How a value was written. It matters for printing it again, and for `nil` and default values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Plain text to the end of the line, or a YAML or TOML string.
    Bare,
    /// `'...'`.
    SingleQuoted,
    /// `"..."`, after escapes and embedded code.
    DoubleQuoted,
    /// A JSON array or object; the text is compact JSON. Also arrays and maps of YAML and TOML.
    Json,
    /// A YAML or TOML integer; the text is decimal.
    Integer,
    /// A YAML or TOML float.
    Float,
    /// A YAML or TOML boolean; the text is `true` or `false`.
    Bool,
    /// `"#{use_nil}"` or a YAML null: the parameter is set to nothing, whatever its default.
    Nil,
    /// `"#{use_default}"`: as if the parameter were not written.
    Default,
}

/// The text of a value after quotes, escapes and embedded code are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    text: String,
    kind: ValueKind,
}

impl Value {
    /// A value of `kind`; for [`ValueKind::Nil`] and [`ValueKind::Default`] the text does not count.
    pub fn new(text: impl Into<String>, kind: ValueKind) -> Self {
        Self { text: text.into(), kind }
    }

    /// Plain text.
    pub fn bare(text: impl Into<String>) -> Self {
        Self::new(text, ValueKind::Bare)
    }

    /// Nothing: the parameter is set, but has no value.
    pub fn nil() -> Self {
        Self::new("", ValueKind::Nil)
    }

    /// The text, unless the value is nil or the default.
    pub fn text(&self) -> Option<&str> {
        match self.kind {
            ValueKind::Nil | ValueKind::Default => None,
            _ => Some(&self.text),
        }
    }

    /// How it was written.
    pub fn kind(&self) -> ValueKind {
        self.kind
    }

    /// Whether two values mean the same, however they were quoted.
    fn same_as(&self, other: &Value) -> bool {
        self.text() == other.text() && (self.kind == ValueKind::Nil) == (other.kind == ValueKind::Nil)
    }
}

/// One `name value` line.
#[derive(Debug, Clone)]
pub struct Param {
    /// The name as written.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// The value.
    pub value: Value,
    /// Where the value stands; the end of the name if there is none.
    pub value_span: Span,
}

/// What follows a section's name: the pattern of `<match a.**>`, the keys of `<buffer tag,time>`.
#[derive(Debug, Clone)]
pub struct Argument {
    /// The argument's text; empty if there is none.
    pub value: Value,
    /// Where it stands; the section's name if there is none.
    pub span: Span,
}

/// `<name args> params and children </name>`. The root section is named `ROOT`.
#[derive(Debug, Clone)]
pub struct Section {
    /// `source`, `match`, `buffer`, ...
    pub name: String,
    /// What follows the name.
    pub args: Argument,
    /// Parameters in the order of the file; a name stands here once, the last value written counts.
    pub params: Vec<Param>,
    /// Child sections in the order of the file.
    pub children: Vec<Section>,
    /// Where the opening tag stands.
    pub span: Span,
}

/// The most parameters of one section: names are looked up one by one.
pub(super) const MAX_PARAMS: usize = 10_000;

/// The name of the root section, as in Fluentd's configuration dump.
pub const ROOT: &str = "ROOT";

impl Section {
    /// An empty section without an argument.
    pub fn new(name: impl Into<String>, span: Span) -> Self {
        let args = Argument { value: Value::bare(""), span: span.clone() };
        Self { name: name.into(), args, params: Vec::new(), children: Vec::new(), span }
    }

    /// An empty root.
    pub fn root() -> Self {
        Self::new(ROOT, Span::nowhere())
    }

    /// The parameter `name`, if it is written and not `use_default`.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name && param.value.kind != ValueKind::Default)
    }

    /// The text of the parameter `name`, unless it is missing or nil.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.value.text()
    }

    /// Whether the parameter `name` is written (even as nil).
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The argument's text; empty if there is none.
    pub fn arg(&self) -> &str {
        self.args.value.text().unwrap_or("")
    }

    /// All child sections called `name`, in order.
    pub fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Section> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first child section called `name`.
    pub fn child(&self, name: &str) -> Option<&Section> {
        self.children.iter().find(|child| child.name == name)
    }

    /// `@type`, or `type` as old configurations write it.
    pub fn plugin_type(&self) -> Option<&str> {
        self.reserved("@type", "type")
    }

    /// `@id`, or the old `id`.
    pub fn id(&self) -> Option<&str> {
        self.reserved("@id", "id")
    }

    /// `@label`.
    pub fn label(&self) -> Option<&str> {
        self.text("@label")
    }

    /// `@log_level`, or the old `log_level`.
    pub fn log_level(&self) -> Option<&str> {
        self.reserved("@log_level", "log_level")
    }

    /// Sets a parameter: a name that is there keeps its place and takes the new value, as a Ruby hash does.
    /// Returns the parameter that was replaced.
    pub fn set(&mut self, param: Param) -> Option<Param> {
        match self.params.iter_mut().find(|old| old.name == param.name) {
            Some(old) => Some(std::mem::replace(old, param)),
            None => {
                self.params.push(param);
                None
            }
        }
    }

    /// Sets a parameter that no file holds, at the section's own place.
    pub fn set_text(&mut self, name: &str, text: impl Into<String>) {
        let span = self.span.clone();
        self.set(Param { name: name.into(), name_span: span.clone(), value: Value::bare(text), value_span: span });
    }

    /// As [`set_text`](Self::set_text), where the section does not have the parameter.
    pub fn set_default(&mut self, name: &str, text: impl Into<String>) {
        if !self.has(name) {
            self.set_text(name, text);
        }
    }

    /// Sets the argument, at the section's own place.
    pub fn set_arg(&mut self, text: impl Into<String>) {
        self.args = Argument { value: Value::bare(text), span: self.span.clone() };
    }

    /// Where the parameter `name` has its value, else where the section opens: the place to blame.
    pub fn span_of(&self, name: &str) -> &Span {
        self.get(name).map_or(&self.span, |param| &param.value_span)
    }

    /// `<match a.**>`: the section as the operator wrote it, for messages.
    pub fn tag(&self) -> String {
        match self.arg() {
            "" => format!("<{}>", self.name),
            arg => format!("<{} {arg}>", self.name),
        }
    }

    /// Whether both trees mean the same: names, arguments, values and the order of sections. Places, quotes and the order of
    /// parameters do not count. A reload uses it to tell which plugins may go on as they are.
    pub fn same_as(&self, other: &Section) -> bool {
        self.name == other.name
            && self.args.value.same_as(&other.args.value)
            && self.same_params(other)
            && self.children.len() == other.children.len()
            && self.children.iter().zip(&other.children).all(|(a, b)| a.same_as(b))
    }

    fn same_params(&self, other: &Section) -> bool {
        let written = |section: &Section| section.params.iter().filter(|p| p.value.kind != ValueKind::Default).count();
        written(self) == written(other)
            && self
                .params
                .iter()
                .filter(|p| p.value.kind != ValueKind::Default)
                .all(|param| other.get(&param.name).is_some_and(|theirs| param.value.same_as(&theirs.value)))
    }

    fn reserved(&self, name: &str, old_name: &str) -> Option<&str> {
        self.text(name).or_else(|| self.text(old_name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(params: &[(&str, Value)]) -> Section {
        let mut section = Section::new("match", Span::nowhere());
        for (name, value) in params {
            section.set(Param {
                name: (*name).into(),
                name_span: Span::nowhere(),
                value: value.clone(),
                value_span: Span::nowhere(),
            });
        }
        section
    }

    #[test]
    fn the_last_value_of_a_name_counts_and_keeps_its_place() {
        let section = section(&[("a", Value::bare("1")), ("b", Value::bare("2")), ("a", Value::bare("3"))]);
        assert_eq!(section.text("a"), Some("3"));
        assert_eq!(section.params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn old_names_of_type_and_id_still_work() {
        let old = section(&[("type", Value::bare("file")), ("id", Value::bare("x"))]);
        assert_eq!((old.plugin_type(), old.id()), (Some("file"), Some("x")));
    }

    #[test]
    fn nil_is_written_but_has_no_text_and_default_is_not_written() {
        let section = section(&[("a", Value::nil()), ("b", Value::new("", ValueKind::Default))]);
        assert!(section.has("a") && section.text("a").is_none());
        assert!(!section.has("b"));
    }

    #[test]
    fn sameness_ignores_quotes_and_parameter_order_but_not_section_order() {
        let a = section(&[("x", Value::bare("1")), ("y", Value::bare("2"))]);
        let b = section(&[("y", Value::bare("2")), ("x", Value::new("1", ValueKind::DoubleQuoted))]);
        assert!(a.same_as(&b));
        let (mut one, mut two) = (Section::root(), Section::root());
        one.children = vec![a.clone(), section(&[])];
        two.children = vec![section(&[]), a.clone()];
        assert!(!one.same_as(&two));
        assert!(!a.same_as(&section(&[("x", Value::bare("1"))])));
        assert!(!section(&[("x", Value::nil())]).same_as(&section(&[("x", Value::bare(""))])));
    }
}
