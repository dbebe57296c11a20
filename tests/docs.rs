//! What the documents and the shipped files say is true: configurations pass the check, the images' paths, ports and flags
//! exist, and the README names what is built in.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::daemon::{suiro, text};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn configurations() -> Vec<PathBuf> {
    let folders = ["conf", "benches/configurations"].map(|f| fs::read_dir(root().join(f)).unwrap());
    let entries = folders.into_iter().flatten().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "conf")).collect();
    found.sort();
    found
}

/// Faults of a check's output.
fn faults(output: &str) -> Vec<&str> {
    output.lines().filter(|line| line.contains("error:")).collect()
}

#[test]
fn every_shipped_configuration_passes_the_check() {
    let work = TempDir::new().unwrap();
    let files = configurations();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let output = suiro()
            .arg("check")
            .arg("--strict")
            .arg(&file)
            .env("SUIRO_WORK", work.path())
            .env("SUIRO_INPUT", "input.log")
            .output()
            .unwrap();
        let printed = text(&output);
        assert!(faults(&printed).is_empty(), "{}:\n{printed}", file.display());
        assert_eq!(output.status.success(), !printed.contains("error:"), "{}:\n{printed}", file.display());
    }
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0, "a check writes nothing");
}

#[test]
fn the_quickstart_names_files_that_are_there() {
    let script = read("scripts/quickstart.sh");
    for path in ["conf/quickstart.conf", "conf/samples/access.log"] {
        assert!(script.contains(path), "{path}");
        assert!(root().join(path).is_file(), "{path}");
    }
    let config = read("conf/quickstart.conf");
    for (name, parameter) in [("HTTP_PORT=", "port "), ("SYSLOG_PORT=", "port ")] {
        let port = digits_behind(&script, name);
        assert!(config.contains(&format!("{parameter}{port}")), "{name}{port} is no port of the configuration");
    }
}

fn digits_behind(text: &str, mark: &str) -> String {
    let (_, rest) = text.split_once(mark).unwrap_or_else(|| panic!("{mark} is missing"));
    rest.chars().take_while(char::is_ascii_digit).collect()
}

// ---- docker ----

/// Long flags of `suiro --help`.
fn flags() -> Vec<String> {
    let help = text(&suiro().arg("--help").output().unwrap());
    let words = help.split(|c: char| !(c.is_alphanumeric() || c == '-'));
    words.filter(|w| w.starts_with("--")).map(str::to_owned).collect()
}

/// Long flags in the exec forms (`["suiro", "--config", ...]`) that start or check suiro.
fn exec_flags(file: &str) -> Vec<String> {
    let forms = ["ENTRYPOINT [", "CMD [\"--", "command: [", "test: ["];
    let lines = file.lines().filter(|l| forms.iter().any(|form| l.trim_start().starts_with(form)));
    let words = lines.flat_map(|l| l.split('"').map(str::to_owned).collect::<Vec<_>>());
    words.filter(|w| w.starts_with("--")).collect()
}

#[test]
fn the_images_use_flags_that_exist() {
    let known = flags();
    assert!(known.iter().any(|f| f == "--config"), "{known:?}");
    for file in ["docker/Dockerfile", "docker/compose.yaml"] {
        let used = exec_flags(&read(file));
        let unknown: Vec<&String> = used.iter().filter(|f| !known.contains(f)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    assert!(
        exec_flags(&read("docker/Dockerfile")).contains(&"--config".to_owned()),
        "the image names its configuration"
    );
}

#[test]
fn the_image_copies_what_is_there() {
    let dockerfile = read("docker/Dockerfile");
    let copies = dockerfile.lines().filter(|l| l.starts_with("COPY ") && !l.contains("--from="));
    for line in copies {
        let words: Vec<&str> = line.split_whitespace().skip(1).filter(|w| !w.starts_with("--")).collect();
        let (_, sources) = words.split_last().unwrap();
        for source in sources {
            assert!(root().join(source).exists(), "{line}: {source}");
        }
    }
}

#[test]
fn compose_mounts_what_is_there() {
    let compose = read("docker/compose.yaml");
    let mounts = compose.lines().filter_map(|l| l.trim().strip_prefix("- ../"));
    let paths: Vec<&str> = mounts.map(|m| m.split(':').next().unwrap()).collect();
    assert!(!paths.is_empty(), "no configuration is mounted");
    for path in paths {
        assert!(root().join(path).is_file(), "{path}");
    }
}

#[test]
fn exposed_ports_are_ports_of_a_configuration() {
    let configs: String = configurations().iter().map(|p| fs::read_to_string(p).unwrap()).collect();
    let dockerfile = read("docker/Dockerfile");
    let exposed: Vec<&str> =
        dockerfile.lines().filter_map(|l| l.strip_prefix("EXPOSE ")).flat_map(str::split_whitespace).collect();
    assert!(!exposed.is_empty(), "no port is exposed");
    for port in exposed {
        let number = port.split('/').next().unwrap();
        assert!(configs.contains(&format!("port {number}\n")), "{port}");
    }
}

#[test]
fn the_health_check_asks_a_monitor_that_the_configurations_have() {
    let dockerfile = read("docker/Dockerfile");
    let port = digits_behind(&dockerfile, "/dev/tcp/127.0.0.1/");
    for config in ["conf/aggregator.conf", "conf/app-server.conf"] {
        let text = read(config);
        let (_, monitor) = text.split_once("@type monitor_agent").unwrap();
        let section = monitor.split("</source>").next().unwrap();
        assert!(section.contains(&format!("port {port}\n")), "{config}: {port}");
    }
}

// ---- README ----

#[test]
fn the_readme_names_what_is_built_in() {
    let readme = read("README.md");
    let listed = text(&suiro().arg("plugins").output().unwrap());
    let names = listed.lines().flat_map(|line| line.split_whitespace().skip(1)).flat_map(|names| names.split('|'));
    let missing: Vec<&str> = names.filter(|name| !readme.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "README.md does not name {missing:?}");
}

#[test]
fn what_the_readme_calls_built_in_is_built_in() {
    let readme = read("README.md");
    let listed = text(&suiro().arg("plugins").output().unwrap());
    for kind in ["input", "filter", "output", "parser", "formatter"] {
        let line = listed.lines().find(|line| line.starts_with(kind)).unwrap();
        let known: Vec<&str> = line.split([' ', '|']).collect();
        let row = readme.lines().find(|line| line.starts_with(&format!("| {kind} |"))).unwrap();
        let claimed = row.split('`').skip(1).step_by(2);
        let wrong: Vec<&str> = claimed.filter(|name| !known.contains(name)).collect();
        assert!(wrong.is_empty(), "no {kind} plugins: {wrong:?}");
    }
}

#[test]
fn the_readme_names_flags_that_exist() {
    let known = flags();
    let readme = read("README.md");
    let (_, part) = readme.split_once("## Command line").unwrap();
    let part = part.split("\n## ").next().unwrap();
    let words = part
        .split(|c: char| !(c.is_alphanumeric() || c == '-'))
        .filter(|w| w.starts_with("--") && !w.trim_matches('-').is_empty());
    let unknown: Vec<&str> = words.filter(|w| !known.iter().any(|f| f == w)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_files_that_documents_point_to_are_there() {
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = read(document);
        let quoted = text.split('`').skip(1).step_by(2);
        let starts = ["src/", "conf/", "docs/", "tests/", "scripts/", "docker/", "benches/", ".ci/"];
        let paths = quoted.filter(|p| starts.iter().any(|s| p.starts_with(s)) && !p.contains([' ', '*', '{']));
        for path in paths {
            assert!(root().join(path.trim_start_matches("./")).exists(), "{document}: {path}");
        }
    }
}

/// Rows `| `NAME`, `OTHER` | values | `file` | ...` of a table: each name and its file.
fn limits(text: &str) -> Vec<(&str, &str)> {
    let cells = text.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let rows = cells.filter(|c| c.len() == 6 && c[1].starts_with('`') && c[3].starts_with("`src/"));
    rows.flat_map(|c| c[1].split(", ").map(move |name| (name.trim_matches('`'), c[3].trim_matches('`')))).collect()
}

#[test]
fn the_limits_of_the_architecture_are_constants_of_the_source() {
    let text = read("ARCHITECTURE.md");
    let limits = limits(&text);
    assert!(limits.len() > 20, "{limits:?}");
    for (name, file) in limits {
        assert!(read(file).contains(&format!("const {name}: ")), "{file} has no {name}");
    }
}
