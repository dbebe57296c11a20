//! The parameters of `tail`, and what they come to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::charset::Charset;
use super::group::{GroupParams, Groups};
use super::paths::{GlobPolicy, Paths, has_braces, has_wildcard};
use crate::config::{Diagnostic, Size, SizeLimit, TimeSpan};
use crate::event::Tag;
use crate::event::timefmt::Zone;
use crate::plugin::{BuildContext, Parser};

/// Smallest `read_bytes_limit_per_second`, in bytes: Fluentd's block.
const MIN_BYTES_PER_SECOND: u64 = 64 * 1024;
/// Characters that can't separate paths.
const RESERVED: &[&str] = &["/", "*", "%"];

/// Parameters of `tail`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct TailParams {
    /// The files: paths and patterns, several between `path_delimiter`; `%Y%m%d` is the present time.
    path: Option<String>,
    /// What separates paths.
    path_delimiter: String,
    /// Which paths are patterns: `backward_compatible` (those with `*`), `extended` (`?` and `[]` too), `always` (`{}` too).
    glob_policy: GlobPolicy,
    /// Zone of time directives in paths.
    path_timezone: Option<String>,
    /// Paths and patterns that are not read.
    exclude_path: Vec<String>,
    /// The tag; `*` is the file's path with dots.
    tag: Option<String>,
    /// Where positions are kept.
    pos_file: Option<PathBuf>,
    /// How often lines of files that are gone are taken out of the position file.
    pos_file_compaction_interval: Option<TimeSpan>,
    /// Files that are there at the start are read from their head.
    read_from_head: bool,
    /// How often paths are looked up again.
    refresh_interval: TimeSpan,
    /// How long a file is read on after it was rotated.
    rotate_wait: TimeSpan,
    /// Positions belong to inodes, not to paths.
    follow_inodes: bool,
    /// Most lines of a batch. Where it is not written a batch has as many as a block holds.
    read_lines_limit: Option<i64>,
    /// Most bytes read from one file per second.
    read_bytes_limit_per_second: SizeLimit,
    /// Longest line in bytes; longer ones are left out.
    max_line_size: Option<Size>,
    /// After this time without a new line the event collected so far is taken as whole.
    multiline_flush_interval: Option<TimeSpan>,
    /// Lines that do not match become events with the field `unmatched_line`.
    emit_unmatched_lines: bool,
    /// Charset of the files.
    encoding: Option<String>,
    /// Charset of the files, where `encoding` says what they become.
    from_encoding: Option<String>,
    /// Field for the file's path.
    path_key: Option<String>,
    /// Files are closed after each read.
    open_on_every_update: bool,
    /// Files matching a pattern that were not changed for this long are left out.
    limit_recently_modified: Option<TimeSpan>,
    /// Paths are looked up for the first time after `refresh_interval`.
    skip_refresh_on_startup: bool,
    /// Files are looked at each second.
    enable_watch_timer: bool,
    /// The kernel tells of changes (inotify).
    enable_stat_watcher: bool,
    /// Files that may not be read are warned of once.
    ignore_repeated_permission_error: bool,
    /// Rate limits by group of files.
    group: Option<GroupParams>,
}

impl Default for TailParams {
    fn default() -> Self {
        TailParams {
            path: None,
            path_delimiter: ",".into(),
            glob_policy: GlobPolicy::default(),
            path_timezone: None,
            exclude_path: Vec::new(),
            tag: None,
            pos_file: None,
            pos_file_compaction_interval: None,
            read_from_head: false,
            refresh_interval: TimeSpan::secs(60.0),
            rotate_wait: TimeSpan::secs(5.0),
            follow_inodes: false,
            read_lines_limit: None,
            read_bytes_limit_per_second: SizeLimit(None),
            max_line_size: None,
            multiline_flush_interval: None,
            emit_unmatched_lines: false,
            encoding: None,
            from_encoding: None,
            path_key: None,
            open_on_every_update: false,
            limit_recently_modified: None,
            skip_refresh_on_startup: false,
            enable_watch_timer: true,
            enable_stat_watcher: true,
            ignore_repeated_permission_error: false,
            group: None,
        }
    }
}

/// What readers and discovery go by.
pub(super) struct Settings {
    pub(super) tag: TagRule,
    pub(super) path_key: Option<String>,
    pub(super) parser: Arc<dyn Parser>,
    pub(super) emit_unmatched: bool,
    pub(super) charset: Charset,
    pub(super) pos_file: Option<PathBuf>,
    pub(super) compaction: Option<Duration>,
    pub(super) read_from_head: bool,
    pub(super) refresh_interval: Duration,
    pub(super) rotate_wait: Duration,
    pub(super) follow_inodes: bool,
    pub(super) lines_per_batch: u32,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) max_line: Option<u64>,
    pub(super) multiline: Multiline,
    pub(super) multiline_flush: Option<Duration>,
    pub(super) open_on_every_update: bool,
    pub(super) skip_refresh_on_startup: bool,
    pub(super) watch_timer: bool,
    pub(super) stat_watcher: bool,
    pub(super) complain_once: bool,
    pub(super) groups: Option<Groups>,
}

/// How lines become texts for the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Multiline {
    /// Each line is a text.
    No,
    /// A line that the parser's pattern matches begins a text.
    FirstLine,
    /// Lines are collected until the text parses.
    Collect,
}

impl Settings {
    /// Checks parameters, in Fluentd's words where it has some.
    pub(super) fn new(params: TailParams, cx: &mut BuildContext<'_>) -> Result<(Settings, Paths), Diagnostic> {
        if cx.section.child("parse").is_none() {
            return Err(cx.fault("@type", "<parse> section is required."));
        }
        let parser = cx.parser(None).and_then(|p| cx.timed(p))?;
        let paths = params.paths(cx)?;
        params.check(cx)?;
        let tag = params.tag.as_deref().ok_or_else(|| cx.fault("tag", "'tag' parameter is required"))?;
        let charset = Charset::new(params.encoding.as_deref(), params.from_encoding.as_deref());
        let charset =
            charset.map_err(|e| cx.fault(if params.encoding.is_some() { "encoding" } else { "from_encoding" }, e))?;
        if params.encoding.is_some() && params.encoding == params.from_encoding {
            cx.warn("from_encoding", "'encoding' and 'from_encoding' are same encoding. No effect");
        }
        let groups = params.group.as_ref().map(Groups::new).transpose();
        let groups = groups.map_err(|(name, e)| cx.fault("group", format!("<group> {name}: {e}")))?;
        let span = |time: Option<TimeSpan>| time.map(TimeSpan::duration);
        let settings = Settings {
            tag: TagRule::new(tag),
            multiline: multiline(&*parser),
            parser,
            charset,
            groups,
            bytes_per_second: params.bytes_per_second(cx),
            compaction: span(params.pos_file_compaction_interval).filter(|t| !t.is_zero()),
            refresh_interval: params.refresh_interval.duration().max(Duration::from_secs(1)),
            rotate_wait: params.rotate_wait.duration(),
            lines_per_batch: params.read_lines_limit.map_or(u32::MAX, |n| u32::try_from(n.max(1)).unwrap_or(u32::MAX)),
            max_line: params.max_line_size.map(Size::bytes),
            multiline_flush: span(params.multiline_flush_interval),
            path_key: params.path_key,
            emit_unmatched: params.emit_unmatched_lines,
            pos_file: params.pos_file,
            read_from_head: params.read_from_head,
            follow_inodes: params.follow_inodes,
            open_on_every_update: params.open_on_every_update,
            skip_refresh_on_startup: params.skip_refresh_on_startup,
            watch_timer: params.enable_watch_timer,
            stat_watcher: params.enable_stat_watcher,
            complain_once: params.ignore_repeated_permission_error,
        };
        Ok((settings, paths))
    }
}

fn multiline(parser: &dyn Parser) -> Multiline {
    match parser.lines().map(|rule| rule.begins(b"")) {
        None => Multiline::No,
        Some(Some(_)) => Multiline::FirstLine,
        Some(None) => Multiline::Collect,
    }
}

impl TailParams {
    fn paths(&self, cx: &BuildContext<'_>) -> Result<Paths, Diagnostic> {
        let required = || cx.fault("path", "tail: 'path' parameter is required on tail input");
        let path = self.path.as_deref().ok_or_else(required)?;
        let delimiter = self.path_delimiter.as_str();
        if RESERVED.contains(&delimiter) || delimiter.is_empty() {
            return Err(cx.fault("path_delimiter", format!("/, *, % are reserved words: {delimiter}")));
        }
        if self.glob_policy == GlobPolicy::Always && delimiter == "," {
            return Err(
                cx.fault("glob_policy", "cannot use glob_policy as always with the default path_delimiter: `,\"")
            );
        }
        if self.glob_policy == GlobPolicy::Extended && has_braces(path) && has_wildcard(path) {
            let why =
                format!("cannot include curly braces with glob patterns in `{path}\". Use glob_policy always instead.");
            return Err(cx.fault("path", why));
        }
        let mut include: Vec<String> = Vec::new();
        for text in path.split(delimiter).map(str::trim).filter(|text| !text.is_empty()) {
            if !include.iter().any(|known| known == text) {
                include.push(text.to_owned());
            }
        }
        if include.is_empty() {
            return Err(required());
        }
        let zone = self.path_timezone.as_deref().map_or(Ok(Zone::local()), Zone::parse);
        let zone = zone.map_err(|e| cx.fault("path_timezone", e.to_string()))?;
        let recently = self.limit_recently_modified.map(TimeSpan::duration);
        Ok(Paths::new(&include, &self.exclude_path, self.glob_policy, &zone, recently))
    }

    fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        if !self.enable_watch_timer && !self.enable_stat_watcher {
            let why = "either of enable_watch_timer or enable_stat_watcher must be true";
            return Err(cx.fault("enable_watch_timer", why));
        }
        if self.pos_file.is_none() && self.follow_inodes {
            return Err(cx.fault("follow_inodes", "Can't follow inodes without pos_file configuration parameter"));
        }
        if self.pos_file.is_none() {
            cx.warn(
                "pos_file",
                "'pos_file PATH' parameter is not set to a 'tail' source. \
                 this parameter is highly recommended to save the position to resume tailing.",
            );
        }
        if self.read_bytes_limit_per_second.0.is_some() && !self.enable_watch_timer {
            return Err(cx.fault("enable_watch_timer", "Need to enable watch timer when using log throttling feature"));
        }
        Ok(())
    }

    fn bytes_per_second(&self, cx: &mut BuildContext<'_>) -> Option<u64> {
        let limit = self.read_bytes_limit_per_second.0.filter(|limit| *limit > 0)?;
        if limit < MIN_BYTES_PER_SECOND {
            let why = format!(
                "Should specify greater equal than {MIN_BYTES_PER_SECOND}. \
                 Use {MIN_BYTES_PER_SECOND} for read_bytes_limit_per_second"
            );
            cx.warn("read_bytes_limit_per_second", why);
        }
        Some(limit.max(MIN_BYTES_PER_SECOND))
    }
}

/// `tag`, where `*` is the path.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TagRule {
    Fixed(Tag),
    Around(String, String),
}

impl TagRule {
    /// Only the first `*` counts, and what follows a second one is left out, as in Fluentd.
    pub(super) fn new(text: &str) -> TagRule {
        let mut parts = text.split('*');
        let prefix = parts.next().unwrap_or("");
        match parts.next() {
            Some(suffix) => TagRule::Around(prefix.to_owned(), suffix.to_owned()),
            None => TagRule::Fixed(Tag::from(text)),
        }
    }

    /// The tag of a file.
    pub(super) fn tag(&self, path: &Path) -> Tag {
        match self {
            TagRule::Fixed(tag) => tag.clone(),
            TagRule::Around(prefix, suffix) => Tag::from(format!("{prefix}{}{suffix}", dotted(path))),
        }
    }
}

/// `/var/log/a.log` as `var.log.a.log`: slashes are dots, several in a row are one, none in front.
fn dotted(path: &Path) -> String {
    let mut tag = String::new();
    for c in path.to_string_lossy().chars() {
        let c = if c == '/' { '.' } else { c };
        if c != '.' || !(tag.is_empty() || tag.ends_with('.')) {
            tag.push(c);
        }
    }
    tag
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::input::tail::Tail;
    use crate::input::wire::testing::{build, faults};

    const REST: &str = "pos_file /tmp/x.pos\n<parse>\n@type none\n</parse>";

    fn settings(text: &str) -> Settings {
        build::<Tail>(&format!("@type tail\npath /x\ntag t\n{text}\n{REST}")).settings
    }

    fn fault(text: &str) -> String {
        faults::<Tail>(&format!("@type tail\n{text}\n{REST}"))
    }

    fn tag(rule: &str, path: &str) -> String {
        TagRule::new(rule).tag(Path::new(path)).to_string()
    }

    #[test]
    fn a_star_in_the_tag_is_the_path_with_dots() {
        assert_eq!(tag("pre.*.post", "/var//log/a.log"), "pre.var.log.a.log.post");
        assert_eq!(tag("*", "logs/../x..y"), "logs.x.y");
        assert_eq!(tag("a.*.b.*.c", "/x"), "a.x.b.");
        assert_eq!(tag("fixed", "/x"), "fixed");
    }

    #[test]
    fn defaults_are_fluentds() {
        let settings = settings("");
        assert!(!settings.read_from_head && !settings.follow_inodes && !settings.emit_unmatched);
        assert!(settings.watch_timer && settings.stat_watcher);
        assert_eq!(settings.refresh_interval, Duration::from_secs(60));
        assert_eq!(settings.rotate_wait, Duration::from_secs(5));
        assert_eq!((settings.bytes_per_second, settings.max_line, settings.multiline_flush), (None, None, None));
        assert_eq!(settings.multiline, Multiline::No);
    }

    #[test]
    fn every_parameter_is_read() {
        let settings = settings(
            "read_from_head true\nrefresh_interval 1s\nrotate_wait 2s\nfollow_inodes true\nread_lines_limit 10\n\
             read_bytes_limit_per_second 1m\nmax_line_size 1k\nmultiline_flush_interval 3s\nemit_unmatched_lines true\n\
             encoding utf-8\nfrom_encoding iso-8859-1\npath_key p\nopen_on_every_update true\n\
             limit_recently_modified 1d\nskip_refresh_on_startup true\nenable_watch_timer true\n\
             enable_stat_watcher false\nignore_repeated_permission_error true\npath_timezone Asia/Tokyo\n\
             pos_file_compaction_interval 1h\nexclude_path [\"/y\", \"/z\"]\npath_delimiter |\nglob_policy always\n\
             <group>\n<rule>\nlimit 5\n</rule>\n</group>",
        );
        assert_eq!((settings.lines_per_batch, settings.bytes_per_second), (10, Some(1 << 20)));
        assert_eq!((settings.max_line, settings.compaction), (Some(1024), Some(Duration::from_secs(3600))));
        assert!(settings.groups.is_some() && settings.complain_once && settings.skip_refresh_on_startup);
    }

    #[test]
    fn the_parser_says_how_lines_are_put_together() {
        let of = |parse: &str| {
            let text =
                format!("@type tail\npath /x\ntag t\npos_file /tmp/x.pos\n<parse>\n@type multiline\n{parse}\n</parse>");
            build::<Tail>(&text).settings.multiline
        };
        assert_eq!(of("format1 /(?<a>.*)/"), Multiline::Collect);
        assert_eq!(of("format_firstline /^\\d/\nformat1 /(?<a>.*)/"), Multiline::FirstLine);
    }

    #[test]
    fn faults_are_told_in_fluentds_words() {
        assert!(fault("tag t").contains("'path' parameter is required"));
        assert!(fault("path /x").contains("'tag' parameter is required"));
        assert!(fault("tag t\npath ,").contains("'path' parameter is required"));
        assert!(fault("tag t\npath /x\npath_delimiter *").contains("reserved words"));
        assert!(fault("tag t\npath /x\nglob_policy always").contains("default path_delimiter"));
        assert!(fault("tag t\npath /{a,b}*\nglob_policy extended").contains("cannot include curly braces"));
        assert!(fault("tag t\npath /x\nenable_watch_timer false\nenable_stat_watcher false").contains("either of"));
        let limited = "tag t\npath /x\nenable_watch_timer false\nread_bytes_limit_per_second 1m";
        assert!(fault(limited).contains("Need to enable watch timer"));
        assert!(fault("tag t\npath /x\nencoding utf-9").contains("unknown encoding name - utf-9"));
        assert!(fault("tag t\npath /x\npath_timezone Nowhere/At_All").contains("path_timezone"));
        let without_parse = faults::<Tail>("@type tail\npath /x\ntag t\npos_file /tmp/x.pos");
        assert!(without_parse.contains("<parse> section is required"));
        let without_positions = "@type tail\npath /x\ntag t\nfollow_inodes true\n<parse>\n@type none\n</parse>";
        assert!(faults::<Tail>(without_positions).contains("Can't follow inodes without pos_file"));
    }
}
