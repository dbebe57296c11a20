//! The tables of plugins, and the erasure that lets one table hold all of a kind.
//!
//! Authors write concrete types and plain `async fn`; the boxes are made here, once.

use std::sync::Arc;
use std::time::Duration;

use super::context::BuildContext;
use super::contract::{Configure, Filter, Formatter, Input, InputError, Output, Parser, Settling, WriteError};
use super::emitter::{BoxFuture, Emitter};
use super::stop::Stop;
use crate::buffer::{Chunk, ChunkId};

/// One line of a table: the names that a configuration may use, the first being the usual one, and the constructor.
/// The constructor reports its faults through the context and gives `None` when there were any.
pub struct Plugin<T: ?Sized> {
    /// Names for `@type`.
    pub names: &'static [&'static str],
    /// Builds the plugin from the context's section.
    pub build: fn(&mut BuildContext<'_>) -> Option<Arc<T>>,
}

/// As [`Plugin`], for inputs, which are owned by their task.
pub struct InputPlugin {
    /// Names for `@type`.
    pub names: &'static [&'static str],
    /// Builds the plugin from the context's section.
    pub build: fn(&mut BuildContext<'_>) -> Option<Box<dyn DynInput>>,
}

/// All tables.
pub struct Registry {
    /// `<source>`
    pub inputs: &'static [InputPlugin],
    /// `<filter>`
    pub filters: &'static [Plugin<dyn Filter>],
    /// `<match>`, `<store>`, `<secondary>`
    pub outputs: &'static [Plugin<dyn DynOutput>],
    /// `<parse>`
    pub parsers: &'static [Plugin<dyn Parser>],
    /// `<format>`
    pub formatters: &'static [Plugin<dyn Formatter>],
}

/// [`Input`] with its type erased.
pub trait DynInput: Send {
    /// See [`Input::ACKNOWLEDGES`].
    fn acknowledges(&self) -> bool;
    /// See [`Input::open`].
    fn open(&mut self) -> BoxFuture<'_, Result<(), InputError>>;
    /// See [`Input::run`].
    fn run(self: Box<Self>, emit: Emitter, stop: Stop) -> BoxFuture<'static, Result<(), InputError>>;
}

impl<I: Input> DynInput for I {
    fn acknowledges(&self) -> bool {
        I::ACKNOWLEDGES
    }

    fn open(&mut self) -> BoxFuture<'_, Result<(), InputError>> {
        Box::pin(Input::open(self))
    }

    fn run(self: Box<Self>, emit: Emitter, stop: Stop) -> BoxFuture<'static, Result<(), InputError>> {
        Box::pin(Input::run(*self, emit, stop))
    }
}

/// [`Output`] with its type erased.
pub trait DynOutput: Send + Sync {
    /// See [`Output::emits`].
    fn emits(&self) -> bool;
    /// See [`Output::connect`].
    fn connect(&self, emit: Emitter);
    /// See [`Output::start`].
    fn start(&self, stop: Stop) -> BoxFuture<'_, Result<(), InputError>>;
    /// See [`Output::write`].
    fn write<'a>(&'a self, chunk: &'a Chunk) -> BoxFuture<'a, Result<(), WriteError>>;
    /// See [`Output::settling`].
    fn settling(&self, chunk: ChunkId) -> Option<Settling>;
    /// See [`Output::close`].
    fn close(&self) -> BoxFuture<'_, ()>;
    /// See [`Output::patience`].
    fn patience(&self) -> Duration;
    /// See [`Output::counts`].
    fn counts(&self) -> Vec<(&'static str, u64)>;
}

impl<O: Output> DynOutput for O {
    fn emits(&self) -> bool {
        Output::emits(self)
    }

    fn connect(&self, emit: Emitter) {
        Output::connect(self, emit);
    }

    fn start(&self, stop: Stop) -> BoxFuture<'_, Result<(), InputError>> {
        Box::pin(Output::start(self, stop))
    }

    fn write<'a>(&'a self, chunk: &'a Chunk) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(Output::write(self, chunk))
    }

    fn settling(&self, chunk: ChunkId) -> Option<Settling> {
        Output::settling(self, chunk)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(Output::close(self))
    }

    fn patience(&self) -> Duration {
        Output::patience(self)
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        Output::counts(self)
    }
}

/// A line of the table of inputs.
pub const fn input<I: Input + Configure>(names: &'static [&'static str]) -> InputPlugin {
    InputPlugin { names, build: |cx| Some(Box::new(cx.configure::<I>()?)) }
}

/// A line of the table of filters.
pub const fn filter<F: Filter + Configure>(names: &'static [&'static str]) -> Plugin<dyn Filter> {
    Plugin { names, build: |cx| Some(Arc::new(cx.configure::<F>()?)) }
}

/// A line of the table of outputs.
pub const fn output<O: Output + Configure>(names: &'static [&'static str]) -> Plugin<dyn DynOutput> {
    Plugin { names, build: |cx| Some(Arc::new(cx.configure::<O>()?)) }
}

/// A line of the table of parsers.
pub const fn parser<P: Parser + Configure>(names: &'static [&'static str]) -> Plugin<dyn Parser> {
    Plugin { names, build: |cx| Some(Arc::new(cx.configure::<P>()?)) }
}

/// A line of the table of formatters.
pub const fn formatter<F: Formatter + Configure>(names: &'static [&'static str]) -> Plugin<dyn Formatter> {
    Plugin { names, build: |cx| Some(Arc::new(cx.configure::<F>()?)) }
}
