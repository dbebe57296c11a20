//! YAML events as a tree of nodes with places. Anchors, merges (`<<`) and `!include` are resolved on the way.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use crate::config::session::Session;
use crate::config::span::{Source, Span};

/// How deep lists and maps may nest.
const MAX_DEPTH: usize = 64;
/// The most events of one file.
const MAX_EVENTS: usize = 500_000;

/// A node and where it stands. Aliases share nodes.
#[derive(Debug)]
pub(super) struct Node {
    pub data: Data,
    pub tag: Option<String>,
    pub span: Span,
}

#[derive(Debug)]
pub(super) enum Data {
    Scalar {
        text: String,
        /// Written without quotes: the text decides on the type.
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    /// In the order written; each key once.
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Rc<Node>,
}

impl Node {
    pub(super) fn kind(&self) -> &'static str {
        match self.data {
            Data::Scalar { .. } => "a single value",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }
}

/// Reads the first document of a file; `None` if it is empty or at fault.
pub(super) fn read(source: &Arc<Source>, base: &Path, session: &mut Session<'_>) -> Option<Rc<Node>> {
    let mut reader = Reader {
        parser: Parser::new_from_str(source.text()),
        places: Places::new(source),
        base,
        session,
        anchors: HashMap::new(),
        events: 0,
    };
    loop {
        match reader.next()?.0 {
            Event::DocumentStart(_) => {
                let first = reader.next()?;
                return reader.node(first, 0);
            }
            Event::StreamEnd => return None,
            _ => {}
        }
    }
}

struct Reader<'a, 's> {
    parser: Parser<'a, StrInput<'a>>,
    places: Places,
    base: &'a Path,
    session: &'a mut Session<'s>,
    anchors: HashMap<usize, Rc<Node>>,
    events: usize,
}

impl<'a> Reader<'a, '_> {
    /// The next event; `None` after a fault.
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        self.events += 1;
        match self.parser.next_event()? {
            Ok((event, span)) if self.events <= MAX_EVENTS => {
                let span = self.places.span(&span.start, &span.end);
                Some((event, span))
            }
            Ok((_, span)) => self.fail(format!("the file has more than {MAX_EVENTS} parts"), &span.start),
            Err(error) => self.scan_error(&error),
        }
    }

    fn scan_error<T>(&mut self, error: &ScanError) -> Option<T> {
        self.fail(format!("invalid YAML: {}", error.info()), error.marker())
    }

    fn fail<T>(&mut self, message: String, at: &Marker) -> Option<T> {
        let span = self.places.span(at, at);
        self.session.faults.error(message, &span);
        None
    }

    fn node(&mut self, (event, span): (Event<'a>, Span), depth: usize) -> Option<Rc<Node>> {
        if depth > MAX_DEPTH {
            self.session.faults.error(format!("lists and maps are nested deeper than {MAX_DEPTH}"), &span);
            return None;
        }
        match event {
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => Some(Rc::clone(node)),
                None => {
                    self.session.faults.error("an alias stands inside what it means", &span);
                    None
                }
            },
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(text.into_owned(), style, tag.as_deref(), span)?;
                self.remember(anchor, node)
            }
            Event::SequenceStart(anchor, tag) => {
                let mut items = Vec::new();
                let mut end = span.clone();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, last) => {
                            end = end.to(&last);
                            break;
                        }
                        event => items.push(self.node(event, depth + 1)?),
                    }
                }
                let node = Node { data: Data::List(items), tag: tag_text(tag.as_deref()), span: end };
                self.remember(anchor, Rc::new(node))
            }
            Event::MappingStart(anchor, tag) => {
                let map = self.map(depth)?;
                let node = Node { data: Data::Map(map), tag: tag_text(tag.as_deref()), span };
                self.remember(anchor, Rc::new(node))
            }
            _ => {
                self.session.faults.error("invalid YAML: a value is missing", &span);
                None
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "it ends the arms that can fail")]
    fn remember(&mut self, anchor: usize, node: Rc<Node>) -> Option<Rc<Node>> {
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Some(node)
    }

    fn map(&mut self, depth: usize) -> Option<Vec<Entry>> {
        let mut map = Map::default();
        loop {
            let (event, key_span) = self.next()?;
            if event == Event::MappingEnd {
                return Some(map.entries);
            }
            let key = self.node((event, key_span.clone()), depth + 1)?;
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            match &key.data {
                Data::Scalar { text, plain: true } if text == "<<" => self.merge(&mut map, &value),
                Data::Scalar { text, .. } => map.insert(Entry { key: text.clone(), key_span, value }),
                _ => self.session.faults.error(format!("{} can't be the name of a parameter", key.kind()), &key.span),
            }
        }
    }

    /// `<<: *anchor`, or a list of them, of which the first one counts.
    fn merge(&mut self, map: &mut Map, value: &Node) {
        match &value.data {
            Data::Map(entries) => entries.iter().cloned().for_each(|entry| map.insert(entry)),
            Data::List(nodes) => {
                for node in nodes.iter().rev() {
                    match &node.data {
                        Data::Map(entries) => entries.iter().cloned().for_each(|entry| map.insert(entry)),
                        _ => self.session.faults.error(format!("'<<' needs maps, not {}", node.kind()), &node.span),
                    }
                }
            }
            Data::Scalar { .. } => self.session.faults.error("'<<' needs a map, such as an alias of one", &value.span),
        }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Option<Rc<Node>> {
        let tag = tag_text(tag);
        if tag.as_deref() == Some("include") {
            return Some(self.include(&text, span));
        }
        let data = Data::Scalar { text, plain: style == ScalarStyle::Plain };
        Some(Rc::new(Node { data, tag, span }))
    }

    /// The lists of all files one after the other; a single file may hold a map.
    fn include(&mut self, target: &str, span: Span) -> Rc<Node> {
        let mut items = Vec::new();
        for path in self.session.expand(target, self.base, &span) {
            let Some(node) = self.include_file(&path, &span) else {
                continue;
            };
            match &node.data {
                Data::List(more) => items.extend(more.iter().cloned()),
                Data::Map(_) if items.is_empty() => return node,
                _ => self
                    .session
                    .faults
                    .error(format!("an included file must hold a list, not {}", node.kind()), &node.span),
            }
        }
        Rc::new(Node { data: Data::List(items), tag: None, span })
    }

    fn include_file(&mut self, path: &Path, blame: &Span) -> Option<Rc<Node>> {
        if !self.session.open(path, blame) {
            return None;
        }
        let source = self.session.read(path, blame);
        let node = source.and_then(|source| read(&source, path.parent().unwrap_or(Path::new("")), self.session));
        self.session.close();
        node
    }
}

#[derive(Default)]
struct Map {
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
}

impl Map {
    fn insert(&mut self, entry: Entry) {
        match self.places.get(&entry.key) {
            Some(at) => self.entries[*at] = entry,
            None => {
                self.places.insert(entry.key.clone(), self.entries.len());
                self.entries.push(entry);
            }
        }
    }
}

/// `fluent/s`, `include`, or `str` for the `!!str` of YAML itself.
fn tag_text(tag: Option<&Tag>) -> Option<String> {
    let tag = tag?;
    Some(if tag.is_yaml_core_schema() || tag.handle == "!" { tag.suffix.clone() } else { tag.to_string() })
}

/// The parser counts characters, spans count bytes.
struct Places {
    source: Arc<Source>,
    /// The byte of each character; `None` if all are ASCII.
    bytes: Option<Vec<usize>>,
}

impl Places {
    fn new(source: &Arc<Source>) -> Self {
        let text = source.text();
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Self { source: Arc::clone(source), bytes }
    }

    fn span(&self, start: &Marker, end: &Marker) -> Span {
        Span::new(&self.source, self.range(start.index(), end.index()))
    }

    fn range(&self, start: usize, end: usize) -> Range<usize> {
        let len = self.source.text().len();
        let byte = |at: usize| match &self.bytes {
            Some(bytes) => bytes.get(at).copied().unwrap_or(len),
            None => at.min(len),
        };
        byte(start)..byte(end)
    }
}
