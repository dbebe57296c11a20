//! For tests of outputs to services: an output from its parameters, and chunks from JSON.
#![allow(clippy::unwrap_used)]

use crate::buffer::{Chunk, ChunkKey};
use crate::config::{Diagnostics, LoadOptions, Surroundings, load_text};
use crate::event::{Arena, BatchBuilder, EventTime, Record, Tag, json};
pub(in crate::output) use crate::net::http::testing::{Asked, Reply, Service, yes};
use crate::plugin::testing::process;
use crate::plugin::{BuildContext, Configure, Output, Registry, Stopper, WriteError};

/// What a configuration of these tests may name.
pub(in crate::output) static REGISTRY: Registry = Registry {
    inputs: &[],
    filters: &[],
    outputs: crate::output::OUTPUTS,
    parsers: crate::parser::PARSERS,
    formatters: crate::formatter::FORMATTERS,
};

/// An output from a configuration with its `<match>`, and the warnings. `strict`: unknown parameters are faults.
pub(in crate::output) fn configured<O: Configure>(text: &str, strict: bool) -> Result<(O, Diagnostics), Diagnostics> {
    let loaded = load_text("test.conf", text, &LoadOptions::new(Surroundings::default()))?;
    let process = process(strict);
    let mut faults = Diagnostics::new();
    let section = loaded.root.child("match").unwrap();
    match BuildContext::new(section, &process, &REGISTRY, &mut faults).configure::<O>() {
        Some(output) => Ok((output, faults)),
        None => Err(faults),
    }
}

/// An output from its parameters; unknown ones are faults.
pub(in crate::output) fn build<O: Configure>(parameters: &str) -> Result<O, Diagnostics> {
    let text = format!("<match **>\n@type x\n{parameters}\n</match>\n");
    configured(&text, true).map(|(output, _)| output)
}

/// What is wrong with some parameters.
pub(in crate::output) fn fault<O: Configure>(parameters: &str) -> String {
    build::<O>(parameters).err().unwrap_or_else(|| panic!("no fault in {parameters}")).render()
}

/// An output that has been started.
pub(in crate::output) async fn start<O: Configure + Output>(parameters: &str) -> O {
    let output = build::<O>(parameters).unwrap_or_else(|faults| panic!("{}", faults.render()));
    output.start(Stopper::new().listener()).await.unwrap();
    output
}

/// Events with these records as JSON, a second apart from 1,700,000,000 s on.
pub(in crate::output) fn chunk(tag: &str, records: &[&str]) -> Chunk {
    let (arena, mut builder) = (Arena::new(), BatchBuilder::new());
    for (n, text) in records.iter().enumerate() {
        let mut record = Record::new();
        json::parse_object(text.as_bytes(), &arena, &mut record).unwrap();
        builder.push(EventTime::new(1_700_000_000 + n as i64, 5), &record);
    }
    let key = ChunkKey { tag: Some(Tag::from(tag)), ..ChunkKey::default() };
    Chunk::of(key, &builder.finish(Tag::from(tag)))
}

/// An outcome in one line.
pub(in crate::output) fn told(outcome: Result<(), WriteError>) -> String {
    match outcome {
        Ok(()) => "ok".into(),
        Err(WriteError::Retry(why)) => format!("retry {why}"),
        Err(WriteError::Reject(why)) => format!("reject {why}"),
        Err(WriteError::Refused { why, .. }) => format!("refused {why}"),
        Err(WriteError::Partial(events)) => {
            let each: Vec<String> = events.iter().map(|e| format!("{} {}", e.place, e.answer)).collect();
            format!("partial {}", each.join("; "))
        }
    }
}
