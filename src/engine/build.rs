//! From the configuration's tree to the graph. Nothing is opened here; all faults are found in one go.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::buffering;
use super::chain::FilterNode;
use super::graph::Graph;
use super::pipeline::{Pipeline, Rule};
use super::sink::{Secondary, Sink};
use super::targets::ROUTES;
use super::ways::passage;
use super::workers;
use crate::config::{Diagnostic, Diagnostics, Part, Patterns, Section, check_system, exec_filter_parts, normalize};
use crate::plugin::{BufferDefaults, BuildContext, DynInput, DynOutput, Process, Registry, find, scope, unknown_type};

/// What `@log_level` may be.
const LOG_LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];

/// An input that is built and not yet open.
pub struct PlannedInput {
    /// `@id`, or one made up.
    pub id: String,
    /// Its section, to tell at a reload whether it changed.
    pub section: Section,
    /// `@label`
    pub label: Option<String>,
    /// The plugin; `None` where an input of a former plan goes on as it is.
    pub plugin: Option<Box<dyn DynInput>>,
}

/// A whole configuration, built.
pub struct Plan {
    /// Pipelines and sinks.
    pub graph: Graph,
    /// Inputs in order.
    pub inputs: Vec<PlannedInput>,
    /// Warnings.
    pub warnings: Diagnostics,
}

/// What of a running graph may go on as it is: what has the same id and the same section.
#[derive(Default)]
pub struct Reusable {
    /// Running sinks.
    pub sinks: Vec<Arc<Sink>>,
    /// Running inputs: id and section.
    pub inputs: Vec<(String, Section)>,
}

impl Reusable {
    fn sink(&self, id: &str, section: &Section) -> Option<Arc<Sink>> {
        self.sinks.iter().find(|s| s.id == id && s.section.same_as(section)).cloned()
    }

    fn input(&self, id: &str, section: &Section) -> bool {
        self.inputs.iter().any(|(i, s)| i == id && s.same_as(section))
    }
}

/// Builds the plan of a configuration.
///
/// Errors: every fault of every section.
pub fn build(
    root: &Section,
    registry: &Registry,
    process: &Arc<Process>,
    reusable: &Reusable,
) -> Result<Plan, Diagnostics> {
    let mut builder = Builder {
        passage: passage(root).unwrap_or_default(),
        registry,
        process,
        reusable,
        graph: Graph::default(),
        inputs: Vec::new(),
        diagnostics: Diagnostics::new(),
        ids: HashMap::new(),
        place: None,
    };
    builder.root(root);
    if builder.diagnostics.has_errors() {
        return Err(builder.diagnostics);
    }
    Ok(Plan { graph: builder.graph, inputs: builder.inputs, warnings: builder.diagnostics })
}

pub(super) struct Builder<'a> {
    /// What the configuration says of events on their way to rules.
    pub(super) passage: String,
    registry: &'a Registry,
    pub(super) process: &'a Arc<Process>,
    reusable: &'a Reusable,
    pub(super) graph: Graph,
    inputs: Vec<PlannedInput>,
    pub(super) diagnostics: Diagnostics,
    ids: HashMap<String, usize>,
    /// The label whose rules are built; none at the top level.
    pub(super) place: Option<String>,
}

impl Builder<'_> {
    fn root(&mut self, root: &Section) {
        self.diagnostics.extend(check_system(root, self.process.strictness()));
        self.diagnostics.extend(workers::faults(root, self.process.workers));
        let top: Vec<&Section> = root.children.iter().flat_map(flatten_worker).collect();
        let labels: Vec<&Section> = top.iter().copied().filter(|s| s.name == "label").collect();
        self.name_labels(&labels);
        let rules = self.rules(&top);
        self.graph.pipelines.push(Pipeline::new("@ROOT", rules));
        for label in labels {
            let children: Vec<&Section> = label.children.iter().collect();
            self.warn_of_odd(label);
            self.place = Some(label.arg().to_owned());
            let rules = self.rules(&children);
            self.graph.pipelines.push(Pipeline::new(label.arg(), rules));
        }
        self.place = None;
        for source in top.iter().filter(|s| s.name == "source") {
            self.input(source);
        }
        for other in top.iter().filter(|s| !KNOWN_AT_TOP.contains(&s.name.as_str())) {
            let message = format!("section <{}> is not used", other.name);
            self.diagnostics.push(Diagnostic::warning(message, &other.span));
        }
    }

    /// What stands in a `<label>` and is neither filter nor match.
    fn warn_of_odd(&mut self, label: &Section) {
        for child in label.children.iter().filter(|c| !["filter", "match"].contains(&c.name.as_str())) {
            let message = format!("section <{}> is not used in <label {}>", child.name, label.arg());
            self.diagnostics.push(Diagnostic::warning(message, &child.span));
        }
        for param in &label.params {
            let message = format!("parameter '{}' in {} is not used", param.name, label.tag());
            self.diagnostics.push(Diagnostic::warning(message, &param.name_span));
        }
    }

    fn name_labels(&mut self, labels: &[&Section]) {
        self.graph.labels.insert("@ROOT".into(), super::graph::ROOT);
        for (at, label) in labels.iter().enumerate() {
            let name = label.arg();
            if name.is_empty() {
                self.fault("Missing symbol argument on <label> directive", label);
            } else if name == "@ROOT" {
                self.fault("@ROOT for <label> is not permitted, reserved for getting root router", label);
            } else if self.graph.labels.insert(name.to_owned(), at + 1).is_some() {
                self.fault(&format!("Section <label {name}> appears twice"), label);
            }
        }
    }

    pub(super) fn fault(&mut self, message: &str, section: &Section) {
        self.diagnostics.push(Diagnostic::error(message, &section.span));
    }

    fn rules(&mut self, sections: &[&Section]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for section in sections {
            let rule = match section.name.as_str() {
                "match" => self.match_rule(section),
                "filter" => self.filter_rule(section),
                _ => None,
            };
            rules.extend(rule);
        }
        rules
    }

    /// The section with its old flat parameters turned into sections.
    pub(super) fn normal(&mut self, section: &Section, parts: &[Part]) -> Section {
        let mut section = section.clone();
        let parts = match section.plugin_type() {
            Some("exec_filter") => exec_filter_parts(&mut section),
            // `utc` and `delimiter` are its own, and it always wrote in one form of its own.
            Some("redshift") => &[Part::Buffer("")],
            _ => parts,
        };
        let used = normalize(&mut section, parts, &mut self.diagnostics);
        take_out(&mut section, &used);
        section
    }

    fn patterns(&mut self, section: &Section) -> Option<Patterns> {
        let text = if section.arg().is_empty() { "**" } else { section.arg() };
        Patterns::parse(text).map_err(|e| self.fault(&format!("bad pattern {text:?}: {e}"), section)).ok()
    }

    fn match_rule(&mut self, section: &Section) -> Option<Rule> {
        let patterns = self.patterns(section);
        let normal = self.normal(section, OUTPUT_PARTS);
        let target = self.target(&normal, 0);
        Some(Rule::Match(patterns?, Arc::new(target?)))
    }

    fn filter_rule(&mut self, section: &Section) -> Option<Rule> {
        let patterns = self.patterns(section);
        let section = self.normal(section, FILTER_PARTS);
        let kind = self.type_of(&section)?;
        let id = self.id(&section);
        let table = self.registry.filters;
        let Ok(plugin) = find(table, &kind, "filter", &section).map_err(|f| self.diagnostics.push(f)) else {
            self.check_inside(&section);
            return None;
        };
        let mut cx = BuildContext::new(&section, self.process, self.registry, &mut self.diagnostics);
        let filter = (plugin.build)(&mut cx)?;
        let (seen, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        let span = scope(section.log_level(), false);
        let node = Arc::new(FilterNode { id, kind, filter, span, seen, dropped });
        self.graph.filters.push(node.clone());
        Some(Rule::Filter(patterns?, node))
    }

    pub(super) fn type_of(&mut self, section: &Section) -> Option<String> {
        let kind = section.plugin_type().map(str::to_owned);
        if let Some(level) = section.log_level()
            && !LOG_LEVELS.contains(&level)
        {
            let message = format!("Unknown log level: {level}. There are {}", LOG_LEVELS.join(", "));
            let written = if section.has("@log_level") { "@log_level" } else { "log_level" };
            self.diagnostics.push(Diagnostic::error(message, section.span_of(written)));
        }
        if kind.is_none() {
            self.fault(&format!("Missing '@type' parameter on <{}> directive", section.name), section);
        }
        kind
    }

    /// `@id`, which must be unique, or a name that stays the same as long as the section does.
    pub(super) fn id(&mut self, section: &Section) -> String {
        if let Some(id) = section.id() {
            if self.ids.insert(id.to_owned(), 1).is_some() {
                self.fault(&format!("Duplicated plugin id `{id}`. Use another @id"), section);
            }
            return id.to_owned();
        }
        let mut hash = DefaultHasher::new();
        section.to_fluentd_text(&|_| false).hash(&mut hash);
        let base = format!("object:{:x}", hash.finish() & 0xffff_ffff);
        let times = self.ids.entry(base.clone()).or_insert(0);
        *times += 1;
        if *times == 1 { base } else { format!("{base}{:02x}", *times - 1) }
    }

    pub(super) fn sink(&mut self, section: &Section, kind: &str) -> Option<Arc<Sink>> {
        let id = self.id(section);
        let sink = match self.reusable.sink(&id, section) {
            Some(sink) => sink,
            None => Arc::new(self.new_sink(section, kind, id)?),
        };
        self.graph.sinks.push(sink.clone());
        Some(sink)
    }

    fn new_sink(&mut self, section: &Section, kind: &str, id: String) -> Option<Sink> {
        let table = self.registry.outputs;
        let Some(plugin) = table.iter().find(|p| p.names.contains(&kind)) else {
            let names = table.iter().map(|p| p.names).chain(ROUTES.iter().copied()).flatten().copied();
            self.diagnostics.push(unknown_type(kind, "output", names, section));
            self.check_inside(section);
            self.check_buffer(section, &id);
            return None;
        };
        let mut cx = BuildContext::new(section, self.process, self.registry, &mut self.diagnostics);
        let output = (plugin.build)(&mut cx);
        let defaults = cx.take_buffer_defaults().unwrap_or_default();
        let format = cx.default_format();
        let secondary = section.child("secondary").map(|s| self.secondary(s, section, format));
        let plan = buffering::plan(section, &defaults, self.process, &id, secondary.is_some(), &mut self.diagnostics);
        let plan = plan?;
        let mut sink = Sink::new(id, section.clone(), output?, plan.flush, plan.retry);
        sink.emits_to = self.emits_to(section, sink.output.emits());
        sink.buffered = plan.buffer;
        sink.secondary = match secondary {
            Some(built) => Some(built?),
            None => None,
        };
        Some(sink)
    }

    /// Faults of the sections inside one whose own type is unknown.
    fn check_inside(&mut self, section: &Section) {
        let mut cx = BuildContext::new(section, self.process, self.registry, &mut self.diagnostics);
        let typed = |name: &str| section.child(name).is_some_and(|s| s.plugin_type().is_some());
        let mut faults = Vec::new();
        if typed("parse") {
            faults.extend(cx.parser(None).err());
        }
        if typed("format") {
            faults.extend(cx.formatter("json").err());
        }
        faults.extend(cx.inject().err());
        faults.extend(cx.extract().err());
        self.diagnostics.extend(faults);
    }

    /// Faults of `<buffer>` and `<secondary>` of an output of unknown type, whose defaults nobody knows.
    fn check_buffer(&mut self, section: &Section, id: &str) {
        let defaults = BufferDefaults { buffered: true, path: Some(PathBuf::new()), ..BufferDefaults::default() };
        buffering::plan(section, &defaults, self.process, id, false, &mut self.diagnostics);
        if let Some(secondary) = section.child("secondary").filter(|s| s.plugin_type().is_some()) {
            self.secondary(secondary, section, None);
        }
    }

    /// Where an output that gives events out again gives them.
    fn emits_to(&mut self, section: &Section, emits: bool) -> Option<String> {
        let Some(label) = section.label() else { return self.place.clone().filter(|_| emits) };
        if emits {
            self.label_index(label, section);
        } else {
            let kind = section.plugin_type().unwrap_or_default();
            let message = format!("'@label' has no effect here: {kind} gives no events out again. Use @type relabel");
            self.diagnostics.push(Diagnostic::warning(message, section.span_of("@label")));
        }
        Some(label.to_owned()).filter(|_| emits)
    }

    /// The output of `<secondary>`; without a type it is that of the primary.
    fn secondary(&mut self, section: &Section, primary: &Section, format: Option<&'static str>) -> Option<Secondary> {
        let mut section = section.clone();
        if section.plugin_type().is_none() {
            section.set_text("@type", primary.plugin_type().unwrap_or_default());
        }
        let kind = self.type_of(&section)?;
        let table = self.registry.outputs;
        let plugin = find(table, &kind, "output", &section).map_err(|f| self.diagnostics.push(f)).ok()?;
        // A secondary writes the primary's chunks, so its placeholders are checked against the primary's chunk keys.
        if let Some(buffer) = primary.child("buffer") {
            section.children.retain(|c| c.name != "buffer");
            section.children.push(buffer.clone());
        }
        if kind == "secondary_file"
            && let Some(format) = format
        {
            copy_format(&mut section, primary, format);
        }
        let mut cx = BuildContext::new(&section, self.process, self.registry, &mut self.diagnostics);
        let output: Arc<dyn DynOutput> = (plugin.build)(&mut cx)?;
        Some(Secondary { output })
    }

    fn input(&mut self, section: &Section) {
        let section = self.normal(section, input_parts(section));
        let Some(kind) = self.type_of(&section) else { return };
        let id = self.id(&section);
        let label = section.label().map(str::to_owned);
        if let Some(label) = &label {
            self.label_index(label, &section);
        }
        let table = self.registry.inputs;
        let Some(found) = table.iter().find(|p| p.names.contains(&kind.as_str())) else {
            let names = table.iter().flat_map(|p| p.names.iter().copied());
            self.diagnostics.push(unknown_type(&kind, "input", names, &section));
            return self.check_inside(&section);
        };
        if self.reusable.input(&id, &section) {
            return self.inputs.push(PlannedInput { id, section, label, plugin: None });
        }
        let mut cx = BuildContext::new(&section, self.process, self.registry, &mut self.diagnostics);
        if let Some(plugin) = (found.build)(&mut cx) {
            self.inputs.push(PlannedInput { id, section, label, plugin: Some(plugin) });
        }
    }
}

/// A dump holds what the primary would have written: its format and injection.
fn copy_format(section: &mut Section, primary: &Section, default: &str) {
    for name in ["format", "inject"] {
        if let (None, Some(child)) = (section.child(name), primary.child(name)) {
            section.children.push(child.clone());
        }
    }
    if section.child("format").is_none() {
        let mut format = Section::new("format", section.span.clone());
        format.set_text("@type", default);
        section.children.push(format);
    }
}

/// Sections that flat parameters of old configurations may stand for, by kind of plugin.
const INPUT_PARTS: &[Part] = &[Part::Parse, Part::Extract];
const FILTER_PARTS: &[Part] = &[Part::Parse];
pub(super) const OUTPUT_PARTS: &[Part] = &[Part::Buffer(""), Part::Inject, Part::Format];

/// What flat parameters of an input stand for. Those from Kafka know some formats themselves, and a `time_format` beside one is
/// for the record's time.
fn input_parts(section: &Section) -> &'static [Part] {
    match (section.plugin_type(), section.text("format")) {
        (Some("kafka" | "kafka_group" | "rdkafka_group"), Some("json" | "text" | "ltsv" | "msgpack")) => &[],
        _ => INPUT_PARTS,
    }
}

/// Sections that may stand at the top level.
const KNOWN_AT_TOP: &[&str] = &["source", "match", "filter", "label", "system", "worker"];

/// Takes parameters out that stand for sections now. Those that the plugin reads itself stay, as the delimiter of a stream.
fn take_out(section: &mut Section, used: &[&str]) {
    let own = if matches!(section.plugin_type(), Some("tcp" | "syslog")) { "delimiter" } else { "" };
    section.params.retain(|p| p.name == own || !used.contains(&p.name.as_str()));
}

/// One process does the work of all workers, so what stands in `<worker N>` stands at the top level.
fn flatten_worker(section: &Section) -> Vec<&Section> {
    if section.name == "worker" { section.children.iter().collect() } else { vec![section] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LoadOptions, Surroundings, load_text};

    #[test]
    fn a_format_that_an_input_from_kafka_knows_stays_with_it() {
        for (format, stays) in [("text", true), ("json", true), ("nginx", false)] {
            let text = format!("<source>\n@type kafka_group\nformat {format}\ntime_format %s\n</source>\n");
            let loaded = load_text("t.conf", &text, &LoadOptions::new(Surroundings::default()));
            let Ok(loaded) = loaded else { panic!("{text}") };
            let mut section = loaded.root.children[0].clone();
            let parts = input_parts(&section);
            let used = normalize(&mut section, parts, &mut Diagnostics::new());
            take_out(&mut section, &used);
            let left = (section.has("format"), section.has("time_format"), section.child("parse").is_none());
            assert_eq!(left, (stays, stays, stays), "{format}");
        }
    }

    #[test]
    fn the_delimiter_of_a_stream_stays_with_its_input() {
        for (kind, stays) in [("tcp", true), ("syslog", true), ("http", false)] {
            let text = format!("<source>\n@type {kind}\ndelimiter \";\"\nformat none\n</source>\n");
            let loaded = load_text("t.conf", &text, &LoadOptions::new(Surroundings::default()));
            let Ok(loaded) = loaded else { panic!("{text}") };
            let mut section = loaded.root.children[0].clone();
            take_out(&mut section, &["delimiter", "format"]);
            assert_eq!((section.has("delimiter"), section.has("format")), (stays, false), "{kind}");
        }
    }
}
