//! No option is taken and silently ignored: it is obeyed, or warned of by name with the reason. And suiro's own log as events.
#![allow(clippy::unwrap_used)]

use std::fs;

use tempfile::TempDir;

use crate::cli::written;
use crate::daemon::{Daemon, suiro, text, wait_for};

/// What the check says of a configuration.
fn checked(config: &str) -> String {
    let dir = TempDir::new().unwrap();
    let path = written(&dir, "t.conf", config);
    text(&suiro().args(["check", &path]).output().unwrap())
}

#[test]
fn what_has_no_effect_is_warned_of_by_name_and_reason() {
    let buffer = "path_suffix .x\nflush_thread_interval 1\nflush_thread_burst_interval 1\ndelayed_commit_timeout 9\n\
                  calc_num_records true\nchunk_format text\n";
    let config = format!(
        "<system>\nenable_jit true\n</system>\n\
         <source>\n@type udp\ntag t\nbind 127.0.0.1\n<parse>\n@type json\njson_parser oj\nstream_buffer_size 1k\n\
         timeout 3\n</parse>\n</source>\n\
         <source>\n@type udp\nport 5161\ntag t\nbind 127.0.0.1\n<parse>\n@type csv\nkeys a\n</parse>\n</source>\n\
         <source>\n@type sample\ntag t\nreuse_record true\n</source>\n\
         <source>\n@type tcp\ntag t\nbind 127.0.0.1\n<transport tcp>\nlinger_timeout 1\n</transport>\n<parse>\n@type none\n</parse>\n</source>\n\
         <match **>\n@type file\npath /tmp/x\nrecompress false\n<format>\n@type json\njson_parser oj\n</format>\n\
         <buffer time>\n{buffer}</buffer>\n</match>\n"
    );
    let said = checked(&config);
    let names = [
        "enable_jit",
        "json_parser",
        "stream_buffer_size",
        "timeout",
        "reuse_record",
        "linger_timeout",
        "recompress",
        "path_suffix",
        "flush_thread_interval",
        "flush_thread_burst_interval",
        "delayed_commit_timeout",
        "calc_num_records",
        "chunk_format",
    ];
    for name in names {
        let line = said.lines().find(|l| l.contains(&format!("{name} ")) && l.contains("has no effect here"));
        assert!(line.is_some(), "{name}: {said}");
    }
    assert!(!said.contains("error:"), "{said}");
}

#[test]
fn a_level_that_is_none_is_a_fault() {
    let said = checked("<match **>\n@type null\n@log_level loud\n</match>\n");
    assert!(said.contains("Unknown log level: loud"), "{said}");
}

/// Lines of the files below `out`.
fn out(dir: &TempDir) -> String {
    let files = fs::read_dir(dir.path().join("out")).into_iter().flatten();
    files.map(|f| fs::read_to_string(f.unwrap().path()).unwrap_or_default()).collect()
}

fn log_to_file(dir: &TempDir) -> String {
    let out = dir.path().join("out/log");
    format!(
        "@type file\npath {}\nappend true\n<format>\n@type out_file\n</format>\n<buffer>\nflush_mode immediate\n</buffer>\n",
        out.display()
    )
}

#[test]
fn suiros_own_log_goes_to_its_label_with_fluentds_fields() {
    let dir = TempDir::new().unwrap();
    let config = format!("<label @FLUENT_LOG>\n<match fluent.*>\n{}</match>\n</label>\n", log_to_file(&dir));
    let mut daemon = Daemon::start(&config, dir.path());
    let line = "\tfluent.info\t{\"worker\":0,\"message\":\"suiro worker is now running worker=0\"}";
    wait_for("the log event", || out(&dir).contains(line).then_some(()));
    assert!(out(&dir).contains("starting suiro worker pid="), "{}", out(&dir));
    assert_eq!(daemon.end().code(), Some(0));
    assert!(!out(&dir).contains("stopping input"), "log events end before the plugins: {}", out(&dir));
}

#[test]
fn a_match_at_the_top_level_takes_the_log_and_is_called_old() {
    let dir = TempDir::new().unwrap();
    let mut daemon = Daemon::start(&format!("<match fluent.**>\n{}</match>\n", log_to_file(&dir)), dir.path());
    wait_for("the log event", || out(&dir).contains("\tfluent.info\t").then_some(()));
    let log = daemon.log();
    assert!(
        log.contains("to capture fluentd logs in top level is deprecated. Use <label @FLUENT_LOG> instead"),
        "{log}"
    );
    assert_eq!(daemon.end().code(), Some(0));
}

#[test]
fn a_target_of_log_events_that_fails_feeds_no_loop() {
    let dir = TempDir::new().unwrap();
    let config = "<label @FLUENT_LOG>\n<match **>\n@type exec\ncommand false\n<format>\n@type json\n</format>\n<buffer>\nflush_mode immediate\n\
                  retry_type periodic\nretry_wait 0.02\n</buffer>\n</match>\n</label>\n";
    let mut daemon = Daemon::start(config, dir.path());
    wait_for("failures", || (daemon.log().matches("failed to flush the buffer").count() > 10).then_some(()));
    let chunks: std::collections::HashSet<String> =
        daemon.log().split("chunk=\"").skip(1).filter_map(|t| t.split('"').next().map(str::to_owned)).collect();
    assert!(chunks.len() <= 8, "log events beget log events: {chunks:?}");
    daemon.kill();
}

#[test]
fn events_printed_by_the_logger_are_in_the_log_file() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("own.log");
    let config = format!(
        "<system>\n<log>\npath {}\ntime_format %Y\n</log>\n</system>\n<source>\n@type sample\ntag t\n</source>\n\
         <match t>\n@type stdout\n</match>\n",
        log.display()
    );
    let mut daemon = Daemon::launch(suiro(), &config, dir.path());
    let own = || fs::read_to_string(&log).unwrap_or_default();
    wait_for("an event", || own().contains(" t: {\"message\":\"sample\"}").then_some(()));
    let first = own().lines().next().unwrap_or_default().to_owned();
    assert!(first[4..].starts_with(" [info]: "), "{first}");
    assert_eq!(daemon.end().code(), Some(0));
}

#[test]
fn inputs_alone_collect_until_the_rest_is_started() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out/log");
    let config = format!(
        "<system>\nroot_dir {0}/root\n<source_only_buffer>\nflush_interval 0.1\n</source_only_buffer>\n</system>\n\
         <source>\n@type sample\ntag t\nrate 20\nauto_increment_key n\n@label @X\n</source>\n\
         <label @X>\n<match t>\n@type file\npath {1}\nappend true\n<format>\n@type json\n</format>\n<buffer>\n\
         flush_mode immediate\n</buffer>\n</match>\n</label>\n",
        dir.path().display(),
        out.display()
    );
    let mut command = suiro();
    command.arg("--with-source-only");
    let mut daemon = Daemon::launch(command, &config, dir.path());
    wait_for("events kept", || {
        let kept = fs::read_dir(dir.path().join("root/source-only-buffer/_X")).into_iter().flatten();
        let kept = kept.map(|f| f.unwrap()).filter(|f| f.path().extension().is_some_and(|e| e == "chunk"));
        kept.map(|f| f.metadata().map_or(0, |m| m.len())).any(|size| size > 200).then_some(())
    });
    assert!(self::out(&dir).is_empty());
    daemon.signal("WINCH");
    wait_for("the first events and later ones", || {
        let got = self::out(&dir);
        (got.contains("\"n\":0}") && got.contains("\"n\":40}")).then_some(())
    });
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let got = self::out(&dir);
    let mut numbers: Vec<u32> =
        got.lines().filter_map(|l| l.rsplit(':').next()?.trim_end_matches('}').parse().ok()).collect();
    numbers.sort_unstable();
    let all: Vec<u32> = (0..u32::try_from(numbers.len()).unwrap()).collect();
    assert_eq!(numbers, all, "each once: {}", daemon.log());
}

const FILE_BUFFER: &str = "<match file.**>\n@type file\npath /tmp/x/a\n</match>\n";

#[test]
fn an_input_that_acknowledges_what_only_memory_holds_is_named_and_is_no_fault() {
    let forward = "<source>\n@type forward\nbind 127.0.0.1\n</source>\n";
    let memory = "<match **>\n@type copy\n<store>\n@type relabel\n@label @X\n</store>\n<store>\n@type null\n</store>\n</match>\n\
                  <label @X>\n<match a.**>\n@type roundrobin\n<store>\n@type http\nendpoint http://127.0.0.1:1/\n</store>\n</match>\n</label>\n";
    let said = checked(&format!("{forward}{FILE_BUFFER}{memory}"));
    assert!(
        said.contains("note: forward acknowledges events that only memory holds, in the buffer of http (line"),
        "{said}"
    );
    assert!(said.contains("no fault, 1 note"), "{said}");
    let said = checked(&format!("{forward}{FILE_BUFFER}<match **>\n@type null\n</match>\n{memory}"));
    assert!(!said.contains("only memory"), "nothing comes past a match of everything: {said}");
    let tail = "<source>\n@type sample\ntag a\n@label @X\n</source>\n";
    assert!(!checked(&format!("{tail}{memory}")).contains("only memory"));
}

#[test]
fn an_unknown_type_hides_no_other_fault() {
    let said = checked(
        "<source>\n@type forwrd\n<parse>\n@type regexp\n</parse>\n</source>\n<filter **>\n@type nosuch\n<parse>\n@type jsn\n\
         </parse>\n</filter>\n<match **>\n@type elsewhere\n<format>\n@type csv\n</format>\n<buffer time>\nflush_mode odd\n\
         </buffer>\n<secondary>\n@type secondary_file\n</secondary>\n</match>\n",
    );
    let faults = [
        "Unknown input plugin 'forwrd'",
        "expression",
        "Unknown filter plugin 'nosuch'",
        "Unknown parser plugin 'jsn'",
        "Unknown output plugin 'elsewhere'",
        "'fields' parameter is required",
        "flush_mode",
        "'directory' parameter is required",
    ];
    for fault in faults {
        assert!(said.contains(fault), "{fault}: {said}");
    }
}

#[test]
fn strictness_of_values_and_of_names_are_two_things() {
    let dir = TempDir::new().unwrap();
    let path = written(
        &dir,
        "t.conf",
        "<match **>\n@type null\nodd 1\n</match>\n<source>\n@type sample\ntag t\nsize 1x\n</source>\n",
    );
    let with = |flags: &[&str]| suiro().arg("check").arg(&path).args(flags).output().unwrap().status.code();
    assert_eq!(with(&[]), Some(0));
    assert_eq!(with(&["--strict"]), Some(1));
    let dry = |flags: &[&str]| text(&suiro().args(["--dry-run", "-c", &path]).args(flags).output().unwrap());
    let said = dry(&["--strict-config-value"]);
    assert!(said.contains("config warning") && said.contains("'odd'") && said.contains("config error"), "{said}");
    let in_system = written(
        &dir,
        "s.conf",
        "<system>\nstrict_config_value true\n</system>\n<source>\n@type sample\ntag t\nsize 1x\n</source>\n",
    );
    assert_eq!(suiro().args(["check", &in_system]).output().unwrap().status.code(), Some(1));
}

#[test]
fn what_routes_do_not_know_is_warned_of_too() {
    let said = checked(
        "<match **>\n@type copy\ndeep_copy true\nodd 1\n<store>\n@type null\n@label @X\n</store>\n</match>\n\
         <label @X>\n<source>\n@type sample\ntag t\n</source>\n<match **>\n@type relabel\n@label @X\nodd 2\n</match>\n</label>\n",
    );
    for part in [
        "deep_copy has no effect here",
        "parameter 'odd'",
        "'@label' has no effect here",
        "section <source> is not used in <label @X>",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("5 warnings") && !said.contains("error"), "{said}");
}

#[test]
fn plugins_that_make_no_sense_here_say_why() {
    let said = checked(
        "<source>\n@type debug_agent\n</source>\n<source>\n@type windows_eventlog2\n</source>\n<match **>\n@type unix\n</match>\n",
    );
    for part in
        ["'debug_agent' is not here: it looks into Ruby", "'windows_eventlog2' is not here", "use @type forward"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn the_process_has_the_name_and_the_umask_that_the_system_section_gives() {
    let dir = TempDir::new().unwrap();
    let config = format!(
        "<system>\nprocess_name collector\numask 077\n<log>\npath {}/own.log\n</log>\n</system>\n<match **>\n@type null\n</match>\n",
        dir.path().display()
    );
    let log = dir.path().join("own.log");
    let mut daemon = Daemon::launch(suiro(), &config, dir.path());
    wait_for("the start", || fs::read_to_string(&log).ok()?.contains("is now running").then_some(()));
    let name = fs::read_to_string(format!("/proc/{}/comm", daemon.pid())).unwrap();
    assert_eq!(name.trim(), "collector");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&log).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(daemon.end().code(), Some(0));
}

#[test]
fn a_filter_keeps_the_events_time_where_the_present_is_not_to_be_taken() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out/log");
    // The first event of the label has time 5: it went through a command that says so.
    let config = format!(
        "<source>\n@type exec\ncommand printf '5\\t{{}}\\n'\ntag t\n<parse>\nkeys when,message\n</parse>\n\
         <extract>\ntime_key when\ntime_type unixtime\n</extract>\n</source>\n\
         <filter t>\n@type parser\nkey_name message\n<parse>\n@type json\nestimate_current_event false\n</parse>\n</filter>\n\
         <match t>\n@type file\npath {}\nappend true\n<format>\n@type out_file\ntime_type unixtime\n</format>\n\
         <buffer>\nflush_mode immediate\n</buffer>\n</match>\n",
        out.display()
    );
    let mut daemon = Daemon::start(&config, dir.path());
    wait_for("the event", || (!self::out(&dir).is_empty()).then_some(()));
    assert_eq!(self::out(&dir), "5\tt\t{}\n", "{}", daemon.log());
    assert_eq!(daemon.end().code(), Some(0));
}

#[test]
fn settings_at_fault_hide_no_other_fault_and_ruby_is_no_configuration() {
    let said = checked("<system>\nlog_rotate_age hourly\n</system>\n<match **>\n@type nul\n</match>\n");
    assert!(said.contains("daily, weekly, monthly") && said.contains("did you mean 'null'?"), "{said}");
    let dir = TempDir::new().unwrap();
    let path = written(&dir, "fluent.rb", "source { }");
    let output = suiro().args(["--dry-run", "-c", &path]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("Ruby is code"), "{}", text(&output));
}

#[test]
fn permissions_of_the_system_section_are_those_of_buffers_and_outputs() {
    let dir = TempDir::new().unwrap();
    let config = format!(
        "<system>\nfile_permission 0640\ndir_permission 0750\n</system>\n<source>\n@type sample\ntag t\n</source>\n\
         <match t>\n@type file\npath {0}/out/log\nappend true\n<buffer>\n@type file\npath {0}/buffer\nflush_mode immediate\n\
         </buffer>\n</match>\n",
        dir.path().display()
    );
    let mut daemon = Daemon::start(&config, dir.path());
    let mode = |path: &str| {
        let found = fs::metadata(dir.path().join(path)).ok()?;
        Some(std::os::unix::fs::MetadataExt::mode(&found) & 0o777)
    };
    let written = wait_for("the output", || {
        let name = fs::read_dir(dir.path().join("out")).ok()?.next()?.ok()?.file_name();
        mode(&format!("out/{}", name.display()))
    });
    assert_eq!(written, 0o640);
    assert_eq!((mode("out"), mode("buffer")), (Some(0o750), Some(0o750)));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}
