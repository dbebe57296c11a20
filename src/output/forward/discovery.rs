//! Which servers there are: those of the configuration, and those of files that others write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use saphyr_parser::{Event, Parser};
use serde::Deserialize;

use super::server::Server;
use super::srv::Srv;
use crate::config::Secret;

/// Largest discovery file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where servers are listed.
#[derive(Clone, Debug, Default)]
pub(super) struct Discovery {
    /// Those of the configuration.
    pub(super) fixed: Vec<Server>,
    /// Files that list more.
    pub(super) files: Vec<PathBuf>,
    /// Names whose SRV records list more.
    pub(super) names: Vec<Srv>,
}

impl Discovery {
    /// Every server listed now.
    ///
    /// Errors: a file that can't be read or understood, a name that can't be asked for.
    pub(super) async fn servers(&self) -> Result<Vec<Server>, String> {
        let mut servers = self.fixed.clone();
        servers.extend(self.in_files().map_err(|e| format!("sd_file: {e}"))?);
        for name in &self.names {
            servers.extend(name.servers().await.map_err(|e| format!("sd_srv: {e}"))?);
        }
        Ok(servers)
    }

    fn in_files(&self) -> Result<Vec<Server>, String> {
        let lists: Result<Vec<_>, _> = self.files.iter().map(|path| read(path)).collect();
        Ok(lists?.into_iter().flatten().collect())
    }

    /// Something that tells of changes from now on.
    pub(super) fn watcher(self) -> Watcher {
        let named = self.names.iter().map(|_| Named { servers: Vec::new(), next: Instant::now() }).collect();
        Watcher { discovery: self, seen: None, in_files: Vec::new(), named, last: Vec::new() }
    }
}

/// Tells of changes to the list.
pub(super) struct Watcher {
    discovery: Discovery,
    /// Times and sizes of the files when they were last read.
    seen: Option<Vec<Mark>>,
    in_files: Vec<Server>,
    named: Vec<Named>,
    last: Vec<Server>,
}

type Mark = Option<(SystemTime, u64)>;

/// What a name led to, and when it is asked for again.
struct Named {
    servers: Vec<Server>,
    next: Instant,
}

impl Watcher {
    /// The list, where it is another than before: a glance at each file, which are small and read when they change, and a
    /// question for each name whose time has come. What can't be read is logged, and its part of the list stays as it was.
    pub(super) async fn changed(&mut self) -> Option<Vec<Server>> {
        if self.discovery.files.is_empty() && self.discovery.names.is_empty() {
            return None;
        }
        self.look_at_files();
        self.ask_for_names().await;
        let named = self.named.iter().flat_map(|n| &n.servers);
        let servers: Vec<Server> = self.discovery.fixed.iter().chain(&self.in_files).chain(named).cloned().collect();
        // A part that was never read leaves what there was at the start.
        let whole = self.discovery.files.is_empty() || !self.in_files.is_empty();
        if !whole || self.named.iter().any(|n| n.servers.is_empty()) || servers == self.last {
            return None;
        }
        self.last.clone_from(&servers);
        Some(servers)
    }

    fn look_at_files(&mut self) {
        let mut marks = Vec::with_capacity(self.discovery.files.len());
        for path in &self.discovery.files {
            let found = std::fs::metadata(path).ok();
            marks.push(found.and_then(|m| Some((m.modified().ok()?, m.len()))));
        }
        if self.seen.as_ref() == Some(&marks) {
            return;
        }
        self.seen = Some(marks);
        match self.discovery.in_files() {
            Ok(servers) => self.in_files = servers,
            Err(e) => tracing::error!("sd_file: {e}. The servers stay as they were"),
        }
    }

    async fn ask_for_names(&mut self) {
        for (name, known) in self.discovery.names.iter().zip(&mut self.named) {
            if Instant::now() < known.next {
                continue;
            }
            match name.servers().await {
                Ok(servers) if servers.is_empty() => {}
                Ok(servers) => known.servers = servers,
                Err(e) => tracing::error!("sd_srv: {e}. The servers stay as they were"),
            }
            known.next = Instant::now() + name.interval;
        }
    }
}

fn read(path: &Path) -> Result<Vec<Server>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("path={} {e}", path.display());
    let size = std::fs::metadata(path).map_err(|e| failed(&e))?.len();
    if size > MAX_FILE_BYTES {
        return Err(failed(&format!("has {size} bytes, more than {MAX_FILE_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_json = name.split_once('.').is_some_and(|(_, extension)| extension == "json");
    let servers = if is_json { from_json(&text) } else { from_yaml(&text) }.map_err(|e| failed(&e))?;
    // A file that is being written anew is empty for a moment.
    if servers.is_empty() { Err(failed(&"lists no server")) } else { Ok(servers) }
}

/// A server as a file has it; names of fields and what may be missing are those of Fluentd's `sd_file`.
#[derive(Deserialize)]
struct Entry {
    host: Option<String>,
    port: Option<Port>,
    name: Option<String>,
    weight: Option<u32>,
    standby: Option<bool>,
    username: Option<String>,
    password: Option<String>,
    shared_key: Option<String>,
}

/// A port, with or without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

impl Entry {
    fn server(self) -> Result<Server, String> {
        let port = match self.port {
            Some(Port::Number(port)) => Some(port),
            Some(Port::Text(text)) => Some(text.parse().map_err(|_| format!("{text:?} is no port"))?),
            None => None,
        };
        let (Some(host), Some(port)) = (self.host, port) else {
            return Err("Service must have `host` and `port`".into());
        };
        let plain = Server::at(&host, port);
        Ok(Server {
            name: self.name,
            weight: self.weight.unwrap_or(plain.weight),
            standby: self.standby.unwrap_or(false),
            username: self.username.unwrap_or_default(),
            password: self.password.map(Secret::new).unwrap_or_default(),
            shared_key: self.shared_key.map(Secret::new),
            ..plain
        })
    }
}

fn from_json(text: &str) -> Result<Vec<Server>, String> {
    let entries: Vec<Entry> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    entries.into_iter().map(Entry::server).collect()
}

fn from_yaml(text: &str) -> Result<Vec<Server>, String> {
    yaml_maps(text)?.into_iter().map(|map| entry_of(map)?.server()).collect()
}

/// A YAML list of maps of scalars; that is all such a file holds.
fn yaml_maps(text: &str) -> Result<Vec<BTreeMap<String, String>>, String> {
    let (mut maps, mut map, mut key): (Vec<_>, Option<BTreeMap<String, String>>, Option<String>) = Default::default();
    let mut in_list = false;
    let odd = || "the file must be a list of servers, each with host and port".to_owned();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|e| e.to_string())?;
        match event {
            Event::SequenceStart(..) if !in_list => in_list = true,
            Event::SequenceEnd => in_list = false,
            Event::MappingStart(..) if in_list && map.is_none() => map = Some(BTreeMap::new()),
            Event::MappingEnd => maps.extend(map.take()),
            Event::Scalar(text, ..) => match (&mut map, key.take()) {
                (Some(map), Some(key)) => drop(map.insert(key, text.into_owned())),
                (Some(_), None) => key = Some(text.into_owned()),
                (None, _) => return Err(odd()),
            },
            Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(_) => return Err(odd()),
            _ => {}
        }
    }
    Ok(maps)
}

fn entry_of(mut map: BTreeMap<String, String>) -> Result<Entry, String> {
    let mut text = |key: &str| map.remove(key).filter(|v| !matches!(v.as_str(), "" | "~" | "null"));
    let weight = text("weight").map(|w| w.parse().map_err(|_| format!("{w:?} is no weight"))).transpose()?;
    Ok(Entry {
        host: text("host"),
        port: text("port").map(Port::Text),
        name: text("name"),
        weight,
        standby: text("standby").map(|s| s == "true"),
        username: text("username"),
        password: text("password"),
        shared_key: text("shared_key"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const YAML: &str = "- 'host': 127.0.0.1\n  'port': 24224\n  'weight': 1\n  'name': 'a'\n- host: b.example\n  port: '24225'\n  standby: true\n  shared_key: k\n";

    #[test]
    fn yaml_and_json_files_list_the_same_servers() {
        let yaml = from_yaml(YAML).unwrap();
        let json = r#"[{"host":"127.0.0.1","port":24224,"weight":1,"name":"a"},
            {"host":"b.example","port":"24225","standby":true,"shared_key":"k"}]"#;
        assert_eq!(yaml, from_json(json).unwrap());
        assert_eq!((yaml[0].weight, yaml[1].weight), (1, 60));
        assert!(yaml[1].standby);
        assert_eq!(from_yaml(json).unwrap(), yaml, "JSON is YAML");
    }

    #[test]
    fn files_that_list_no_servers_are_refused() {
        for text in ["host: a", "- a", "- host: a", "- [1]", "- host: a\n  port: x", "- host: {a: b}", "[", "{}"] {
            assert!(from_yaml(text).is_err(), "{text}");
        }
        assert!(from_json("{}").is_err());
        assert!(from_json(r#"[{"host":"a"}]"#).unwrap_err().contains("`host` and `port`"));
    }

    #[tokio::test]
    async fn names_are_asked_for_when_their_time_comes() {
        let own = crate::net::dns::tests::server(vec![(1, 0, 7), (2, 5, 8)], false).await;
        let name = Srv::at("_s._tcp.example", &own);
        let discovery = Discovery { names: vec![name], ..Discovery::default() };
        assert_eq!(discovery.servers().await.unwrap().len(), 2);
        let mut watcher = discovery.watcher();
        let got = watcher.changed().await.unwrap();
        let shown: Vec<_> =
            got.iter().map(|s| (s.host.as_str(), s.port, s.weight, s.name.as_deref().unwrap())).collect();
        assert_eq!(shown, [("127.0.0.1", 7, 1, "h7.example"), ("127.0.0.1", 8, 5, "h8.example")]);
        assert!(watcher.changed().await.is_none());
    }

    #[tokio::test]
    async fn a_watcher_tells_of_changes_and_keeps_the_list_when_a_file_breaks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sd.json");
        std::fs::write(&path, r#"[{"host":"a","port":1}]"#).unwrap();
        let discovery =
            Discovery { fixed: vec![Server::at("fixed", 9)], files: vec![path.clone()], ..Discovery::default() };
        let mut watcher = discovery.watcher();
        assert_eq!(watcher.changed().await.unwrap().len(), 2);
        assert!(watcher.changed().await.is_none());
        std::fs::write(&path, r#"[{"host":"a","port":1},{"host":"b","port":2}]"#).unwrap();
        assert_eq!(watcher.changed().await.unwrap()[2].host, "b");
        std::fs::write(&path, "broken").unwrap();
        assert!(watcher.changed().await.is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(watcher.changed().await.is_none());
    }
}
