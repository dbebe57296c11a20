//! What a `<buffer>` section and an output's defaults come to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::params::{BufferParams, Compress};
use super::retry::RetryPolicy;
use super::sink::FlushParams;
use crate::buffer::{BufferConfig, BufferKind, ChunkKeys, FieldKey, TimeKey};
use crate::config::{Diagnostic, Diagnostics, Section, from_section, permission};
use crate::event::Packing;
use crate::event::RecordPath;
use crate::event::timefmt::Zone;
use crate::plugin::{BufferDefaults, Process, chunk_key_names, directory_of, home};

/// Chunk and total size of a memory buffer, in bytes: Fluentd's.
const MEMORY_LIMITS: (u64, u64) = (8 << 20, 512 << 20);
/// Chunk and total size of a file buffer, in bytes: Fluentd's.
const FILE_LIMITS: (u64, u64) = (256 << 20, 64 << 30);
/// `flush_interval` where neither the section nor the output says anything.
const FLUSH_INTERVAL: Duration = Duration::from_secs(60);
/// Most writes at once of one output.
const MAX_FLUSH_THREADS: usize = 256;
/// Where memory chunks are set aside when there is no `root_dir`: Fluentd's place.
const BACKUP_WITHOUT_ROOT: &str = "/tmp/fluent/backup";

/// How an output is buffered, flushed and retried.
pub struct BufferPlan {
    /// The buffer; none where events are written as they come.
    pub buffer: Option<BufferConfig>,
    /// Flush parameters.
    pub flush: FlushParams,
    /// Retry schedule.
    pub retry: RetryPolicy,
}

/// Reads the `<buffer>` section of an output. Faults go to `diagnostics`; then there is no plan.
pub fn plan(
    section: &Section,
    defaults: &BufferDefaults,
    process: &Process,
    id: &str,
    has_secondary: bool,
    diagnostics: &mut Diagnostics,
) -> Option<BufferPlan> {
    let child = section.child("buffer");
    let empty = Section::new("buffer", section.span.clone());
    let written = child.unwrap_or(&empty);
    let options = process.strictness();
    let outcome = from_section::<BufferParams>(written, options);
    diagnostics.extend(outcome.faults);
    let params = outcome.value?;
    for (name, why) in params.without_effect() {
        let message = format!("{name} has no effect here: {why}");
        diagnostics.push(Diagnostic::warning(message, written.span_of(name)));
    }
    let plan = Planner { section: written, defaults, process, id, params: &params };
    let buffered = child.is_some() || defaults.buffered;
    let buffer = match buffered.then(|| plan.buffer(diagnostics)) {
        None => None,
        Some(Ok(buffer)) => Some(buffer),
        Some(Err(fault)) => {
            diagnostics.push(fault);
            return None;
        }
    };
    Some(BufferPlan { buffer, flush: plan.flush(), retry: params.retry(has_secondary) })
}

struct Planner<'a> {
    section: &'a Section,
    defaults: &'a BufferDefaults,
    process: &'a Process,
    id: &'a str,
    params: &'a BufferParams,
}

impl Planner<'_> {
    fn fault(&self, parameter: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message, self.section.span_of(parameter))
    }

    fn flush(&self) -> FlushParams {
        FlushParams {
            threads: self.params.flush_thread_count.or(self.defaults.flush_threads).unwrap_or(1).min(MAX_FLUSH_THREADS),
            slow_after: self.params.slow_flush_log_threshold.duration(),
            drop_given_up: self.params.disable_chunk_backup,
        }
    }

    fn buffer(&self, diagnostics: &mut Diagnostics) -> Result<BufferConfig, Diagnostic> {
        let params = self.params;
        let kind = self.kind()?;
        let keys = self.keys()?;
        let memory = kind == BufferKind::Memory;
        let (chunk, total) = self.defaults.limits.unwrap_or(if memory { MEMORY_LIMITS } else { FILE_LIMITS });
        let flush_mode = params.mode(keys.time.is_some() && !self.defaults.by_interval);
        if params.flush_interval.is_some() && flush_mode != crate::buffer::FlushMode::Interval {
            diagnostics.push(Diagnostic::warning(
                format!("'flush_interval' is ignored because 'flush_mode' is not 'interval': '{flush_mode:?}'"),
                self.section.span_of("flush_interval"),
            ));
        }
        let (files, directories) = self.process.buffer_modes();
        let interval = params.flush_interval.map(|i| i.duration()).or(self.defaults.flush_interval);
        Ok(BufferConfig {
            id: self.id.to_owned(),
            kind,
            keys,
            chunk_limit_size: params.chunk_limit_size.map_or(chunk, |s| s.bytes()),
            chunk_limit_records: params.chunk_limit_records.or(self.defaults.chunk_limit_records),
            total_limit_size: params.total_limit_size.map_or(total, |s| s.bytes()),
            queue_limit_length: params.queue_limit_length,
            queued_chunks_limit_size: params.queued_chunks_limit_size,
            chunk_full_threshold: params.chunk_full_threshold,
            compress: match params.compress {
                Compress::Text => Packing::Plain,
                Compress::Gzip => Packing::Gzip,
                Compress::Zstd => Packing::Zstd,
            },
            flush_mode,
            flush_interval: interval.unwrap_or(FLUSH_INTERVAL),
            timekey_wait: params.timekey_wait.duration(),
            overflow: params.overflow(),
            file_mode: self.octal("file_permission", params.file_permission.as_deref(), files)?,
            dir_mode: self.octal("dir_permission", params.dir_permission.as_deref(), directories)?,
            flush_at_shutdown: params.flush_at_shutdown.unwrap_or(memory),
            backup_dir: self.backup_dir(),
        })
    }

    fn octal(&self, name: &str, text: Option<&str>, default: u32) -> Result<u32, Diagnostic> {
        text.map_or(Ok(default), permission).map_err(|e| self.fault(name, e))
    }

    fn kind(&self) -> Result<BufferKind, Diagnostic> {
        let default = if self.defaults.file || self.defaults.path.is_some() { "file" } else { "memory" };
        match self.section.plugin_type().unwrap_or(default) {
            "memory" => Ok(BufferKind::Memory),
            "file" | "file_single" => Ok(BufferKind::File { dir: self.directory()? }),
            other => {
                let message = format!("Unknown buffer plugin '{other}'. There are memory, file and file_single");
                Err(self.fault("@type", message))
            }
        }
    }

    fn directory(&self) -> Result<PathBuf, Diagnostic> {
        if let Some(path) = &self.params.path {
            return Ok(directory_of(path));
        }
        if let Some(path) = &self.defaults.path {
            return Ok(path.clone());
        }
        match &self.process.root_dir {
            Some(root) if !self.id.starts_with("object:") => Ok(home(root, self.process, self.id).join("buffer")),
            _ => Err(self.fault("@type", "a file buffer needs 'path', or 'root_dir' in <system> and an '@id'")),
        }
    }

    fn backup_dir(&self) -> PathBuf {
        let root = self.process.root_dir.as_deref().map(|r| r.join("backup"));
        let root = root.unwrap_or_else(|| PathBuf::from(BACKUP_WITHOUT_ROOT));
        root.join(format!("worker{}", self.process.worker_id)).join(self.id.replace([':', '/'], "_"))
    }

    fn keys(&self) -> Result<ChunkKeys, Diagnostic> {
        let names = chunk_key_names(Some(self.section), self.defaults.keys);
        let mut keys = ChunkKeys { tag: false, time: None, fields: Vec::new() };
        for name in names {
            match name.as_str() {
                "tag" => keys.tag = true,
                "time" => keys.time = Some(self.time_key()?),
                _ => keys.fields.push(self.field_key(&name)?),
            }
        }
        Ok(keys)
    }

    fn field_key(&self, name: &str) -> Result<FieldKey, Diagnostic> {
        let path = RecordPath::parse(name).map_err(|e| {
            Diagnostic::error(format!("chunk key {name:?} is no record accessor: {e}"), &self.section.args.span)
        })?;
        Ok(FieldKey { name: Arc::from(name), path: Arc::new(path) })
    }

    fn time_key(&self) -> Result<TimeKey, Diagnostic> {
        let length = self.params.timekey.map(|t| t.duration()).or(self.defaults.timekey);
        let Some(length) = length.filter(|l| l.as_secs() > 0) else {
            return Err(self.fault("timekey", "<buffer ...> argument includes 'time', but timekey is not configured"));
        };
        let use_utc = self.params.timekey_use_utc.unwrap_or(self.defaults.utc && self.params.timekey_zone.is_none());
        let zone = Zone::of_timekey(use_utc, self.params.timekey_zone.as_deref())
            .map_err(|e| self.fault("timekey_zone", e))?;
        Ok(TimeKey { seconds: length.as_secs(), zone: Arc::new(zone) })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn patterns_of_buffer_files_become_directories() {
        assert_eq!(directory_of(Path::new("/buf/app.*.log")), Path::new("/buf/app"));
        assert_eq!(directory_of(Path::new("/buf/*")), Path::new("/buf"));
        assert_eq!(directory_of(Path::new("/buf/app")), Path::new("/buf/app"));
    }
}
