//! Configurations run no code (checklist 28, 30).

use std::fs;

use crate::daemon::{suiro, text};

#[test]
fn code_in_a_configuration_is_refused_and_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let (path, canary) = (dir.path().join("c.conf"), dir.path().join("canary"));
    let touch = format!("touch {}", canary.display());
    let code = [
        format!("`{touch}`"),
        format!("system('{touch}')"),
        format!("%x({touch})"),
        format!("exec('{touch}')"),
        format!("File.write('{}', '')", canary.display()),
        format!("IO.popen('{touch}').read"),
        "File.delete('/tmp/x')".to_owned(),
        format!("Kernel.system('{touch}')"),
        format!("eval(\"system('{touch}')\")"),
        "Object.const_get(:File)".to_owned(),
        format!("open('|{touch}')"),
        "require 'open3'; Open3.capture2('id')".to_owned(),
        format!("send(:system, '{touch}')"),
        format!("ENV['A'].instance_eval {{ `{touch}` }}"),
    ];
    for code in code {
        fs::write(
            &path,
            format!("<source>\n@type forward\ntag \"#{{{code}}}\"\n</source>\n<match **>\n@type null\n</match>\n"),
        )
        .unwrap();
        let output = suiro().arg("check").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{code}: {}", text(&output));
        fs::write(&path, format!("<filter **>\n@type record_transformer\nenable_ruby true\n<record>\na ${{{code}}}\n</record>\n</filter>\n<match **>\n@type null\n</match>\n")).unwrap();
        let output = suiro().arg("check").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{code}: {}", text(&output));
    }
    assert!(!canary.exists());
}

#[test]
fn no_variable_makes_a_parser_build_objects_or_run_code() {
    let dir = tempfile::tempdir().unwrap();
    let (path, canary) = (dir.path().join("c.conf"), dir.path().join("canary"));
    fs::write(&path, "<match **>\n@type null\n</match>\n").unwrap();
    let output = suiro()
        .arg("--dry-run")
        .arg("-c")
        .arg(&path)
        .env("FLUENT_OJ_OPTION_MODE", "object")
        .env("FLUENT_OJ_OPTION_BIGDECIMAL_LOAD", "ruby")
        .env("RUBYOPT", "-rcanary")
        .env("RUBYLIB", dir.path())
        .env("LD_BIND_NOW", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(!canary.exists());
    // The YAML form knows no tags that make objects.
    let yaml = dir.path().join("c.yaml");
    fs::write(&yaml, "config:\n  - match:\n      $tag: '**'\n      $type: !ruby/object:Kernel {}\n").unwrap();
    let output = suiro().arg("check").arg(&yaml).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

#[test]
fn facilities_that_run_code_for_whoever_connects_do_not_exist() {
    let listed = text(&suiro().arg("plugins").output().unwrap());
    for name in ["debug_agent", "drb", "exec_filter_ruby"] {
        assert!(!listed.contains(name), "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.conf");
    fs::write(&path, "<source>\n@type debug_agent\n</source>\n<match **>\n@type null\n</match>\n").unwrap();
    assert_eq!(suiro().arg("check").arg(&path).output().unwrap().status.code(), Some(1));
}
