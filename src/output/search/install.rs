//! What has to be there before documents are written: templates, lifecycle policies, rollover aliases, data streams; and
//! which version the target is.
//!
//! Everything is asked for first and made only where it is missing, or where the configuration says to overwrite it. What
//! can't be made keeps the chunk waiting, with the reason; it is tried again with the chunk.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use serde_json::{Map, Value as Json, json};

use super::hosts::{Cluster, shown};
use super::names::Names;
use super::params::Family;
use super::send::encoded;

/// First version without types.
const UNTYPED: u32 = 7;
/// Things that are remembered as made; when there are more, all is forgotten and asked for again.
const MAX_KNOWN: usize = 10_000;
/// Largest file of a template, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// Priority of the template that a policy of OpenSearch brings with it.
const ISM_PRIORITY: u32 = 100;

/// Indices that roll over behind an alias.
#[derive(Debug)]
pub struct Rollover {
    /// Date expression in the first index's name; may be empty.
    pub date_pattern: String,
    /// What stands between the parts of a name.
    pub separator: String,
    /// Whether a lifecycle policy does it.
    pub by_policy: bool,
}

/// A data stream.
#[derive(Debug)]
pub struct Stream {
    /// Whether names that begin like the stream's get its template.
    pub wildcard: bool,
}

/// What is to be made.
#[derive(Debug)]
pub struct Plan {
    /// Whose interface it is.
    pub family: Family,
    /// Whether the target is asked for its version.
    pub verifies: bool,
    /// The version where it does not say.
    pub default_version: u32,
    /// Whether documents have no types, whatever the version.
    pub untyped: bool,
    /// File of the template that has a name of its own.
    pub template_file: Option<PathBuf>,
    /// Names of templates and their files.
    pub templates: Vec<(String, PathBuf)>,
    /// Whether templates that are there are replaced.
    pub overwrites: bool,
    /// Whether they are of the old kind.
    pub is_legacy: bool,
    /// See there.
    pub rollover: Option<Rollover>,
    /// Policies by name; one that is not named here is the usual one.
    pub policies: Vec<(String, Json)>,
    /// Whether policies that are there are replaced.
    pub overwrites_policies: bool,
    /// See there.
    pub stream: Option<Stream>,
    /// How long what was made is remembered.
    pub forget_after: Option<Duration>,
}

/// Why the first question came to nothing.
#[derive(Debug)]
pub enum Greeting {
    /// Nobody answers.
    Absent(String),
    /// The configuration is at fault.
    Refused(String),
}

/// Files of templates as they were read.
#[derive(Debug, Default)]
struct Texts {
    own: Option<String>,
    others: Vec<(String, Json)>,
}

/// Makes what is missing.
pub struct Installer {
    plan: Plan,
    texts: OnceLock<Texts>,
    version: AtomicU32,
    known: Mutex<(Instant, HashSet<String>)>,
    /// One at a time: writes side by side would make the same things.
    busy: tokio::sync::Mutex<()>,
}

type Outcome = Result<(), String>;

impl Installer {
    /// Nothing is read or asked.
    pub fn new(plan: Plan) -> Installer {
        let known = Mutex::new((Instant::now(), HashSet::new()));
        Installer { plan, texts: OnceLock::new(), version: AtomicU32::new(0), known, busy: tokio::sync::Mutex::new(()) }
    }

    /// Reads the files, and asks for the version.
    pub async fn greet(&self, cluster: &Cluster) -> Result<(), Greeting> {
        let texts = self.read().map_err(Greeting::Refused)?;
        // Read once; the second time they are the same.
        let _ = self.texts.set(texts);
        self.ask_version(cluster).await
    }

    fn read(&self) -> Result<Texts, String> {
        let text = |parameter: &str, path: &PathBuf| {
            let fault = |e: &dyn std::fmt::Display| format!("{parameter} {}: {e}", path.display());
            let size = std::fs::metadata(path).map_err(|e| fault(&e))?.len();
            if size > MAX_FILE {
                return Err(fault(&format!("it has {size} bytes, more than {MAX_FILE}")));
            }
            std::fs::read_to_string(path).map_err(|e| fault(&e))
        };
        let own = self.plan.template_file.as_ref().map(|path| text("template_file", path)).transpose()?;
        let others = self.plan.templates.iter().map(|(name, path)| {
            let json = serde_json::from_str(&text("templates", path)?);
            Ok((name.clone(), json.map_err(|e| format!("templates {}: {e}", path.display()))?))
        });
        Ok(Texts { own, others: others.collect::<Result<_, String>>()? })
    }

    async fn ask_version(&self, cluster: &Cluster) -> Result<(), Greeting> {
        if !self.plan.verifies {
            self.version.store(self.plan.default_version.max(1), Relaxed);
            return Ok(());
        }
        let (status, answer) = cluster.call(Method::GET, "/", None).await.map_err(Greeting::Absent)?;
        match status {
            StatusCode::UNAUTHORIZED => {
                let said = shown(&answer.to_string());
                let help = "look at user and password, or api_key";
                return Err(Greeting::Refused(format!("{status} {said}. What helps: {help}")));
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Greeting::Absent(format!("{status} {}", shown(&answer.to_string()))));
            }
            _ => {}
        }
        let number = answer["version"]["number"].as_str().and_then(|v| v.split('.').next()?.parse().ok());
        self.version.store(number.unwrap_or(self.plan.default_version).max(1), Relaxed);
        Ok(())
    }

    /// Whether documents have types.
    pub fn is_typed(&self) -> bool {
        !self.plan.untyped && self.plan.family == Family::Elasticsearch && self.version.load(Relaxed) < UNTYPED
    }

    fn known(&self) -> MutexGuard<'_, (Instant, HashSet<String>)> {
        // Every change under the lock is whole by itself.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = self.plan.forget_after.is_some_and(|after| known.0.elapsed() >= after);
        if is_old || known.1.len() > MAX_KNOWN {
            *known = (Instant::now(), HashSet::new());
        }
        known
    }

    fn is_known(&self, what: &str) -> bool {
        self.known().1.contains(what)
    }

    fn learn(&self, what: String) {
        self.known().1.insert(what);
    }

    /// Makes what documents of these names need. `indices`: those of the documents, where they are known by now.
    ///
    /// Errors: what could not be made, and why; to be tried again.
    pub async fn prepare(&self, cluster: &Cluster, names: &Names, indices: Option<&HashSet<Arc<str>>>) -> Outcome {
        if self.version.load(Relaxed) == 0 {
            self.ask_version(cluster).await.map_err(|(Greeting::Absent(why) | Greeting::Refused(why))| why)?;
        }
        let wanted = self.wanted(names, indices);
        if wanted.iter().all(|target| self.is_known(&target.key())) {
            return Ok(());
        }
        let _alone = self.busy.lock().await;
        for target in wanted {
            if !self.is_known(&target.key()) {
                self.make(cluster, names, &target).await?;
                self.learn(target.key());
            }
        }
        Ok(())
    }

    fn wanted(&self, names: &Names, indices: Option<&HashSet<Arc<str>>>) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        if !self.plan.templates.is_empty() {
            wanted.push(Wanted::Templates);
        }
        if self.plan.stream.is_some() {
            wanted.push(Wanted::Stream(names.index.to_string()));
        } else if let Some(rollover) = &self.plan.rollover {
            match &names.dated {
                None => wanted.push(Wanted::Alias(first_index(names, rollover))),
                Some(dated) => {
                    let day = |index: &str| index.strip_prefix(&dated.prefix.to_lowercase()).map(str::to_owned);
                    for index in indices.into_iter().flatten() {
                        let Some(day) = day(index) else { continue };
                        let (application, separator) = (&names.application, &rollover.separator);
                        let target = format!("{}{application}{separator}{day}", dated.prefix).to_lowercase();
                        let first = format!("<{target}-000001>");
                        wanted.push(Wanted::Alias(First { alias: index.to_string(), target, first }));
                    }
                }
            }
        } else if names.template.is_some() {
            wanted.push(Wanted::Template(names.template.clone().unwrap_or_default()));
        }
        if self.plan.family == Family::Opensearch && names.policy.is_some() {
            wanted.push(Wanted::Ism(names.policy.clone().unwrap_or_default()));
        }
        wanted
    }

    async fn make(&self, cluster: &Cluster, names: &Names, wanted: &Wanted) -> Outcome {
        let put = Put { installer: self, cluster, names };
        match wanted {
            Wanted::Templates => {
                for (name, body) in self.texts.get().map_or(&[][..], |texts| &texts.others) {
                    put.template(name, body.clone()).await?;
                }
                Ok(())
            }
            Wanted::Template(name) => put.template(name, put.own_template()?).await,
            Wanted::Alias(first) => put.alias(first).await,
            Wanted::Stream(name) if self.plan.family == Family::Elasticsearch => put.stream(name).await,
            Wanted::Stream(name) => put.stream_template(name).await,
            Wanted::Ism(id) => put.ism(id).await,
        }
    }
}

/// The first index behind an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
struct First {
    alias: String,
    /// What names of its indices begin with.
    target: String,
    /// Its name, with the date as an expression.
    first: String,
}

/// Something to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Templates,
    Template(String),
    Alias(First),
    Stream(String),
    Ism(String),
}

impl Wanted {
    fn key(&self) -> String {
        match self {
            Wanted::Templates => "templates".into(),
            Wanted::Template(name) => format!("template {name}"),
            Wanted::Alias(First { alias, .. }) => format!("alias {alias}"),
            Wanted::Stream(name) => format!("stream {name}"),
            Wanted::Ism(id) => format!("policy {id}"),
        }
    }
}

fn first_index(names: &Names, Rollover { date_pattern, separator, .. }: &Rollover) -> First {
    let (target, application) = (names.index.to_string(), names.application.to_lowercase());
    let date = if date_pattern.is_empty() { String::new() } else { format!("-{{{date_pattern}}}") };
    let first = format!("<{target}{separator}{application}{date}-000001>");
    First { alias: names.alias.clone().unwrap_or_else(|| target.clone()), target, first }
}

/// Requests that make things.
struct Put<'a> {
    installer: &'a Installer,
    cluster: &'a Cluster,
    names: &'a Names,
}

impl Put<'_> {
    fn plan(&self) -> &Plan {
        &self.installer.plan
    }

    async fn exists(&self, path: &str) -> Result<bool, String> {
        let (status, answer) = self.cluster.call(Method::GET, path, None).await?;
        match status {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(format!("GET {path}: {status} {}", shown(&answer.to_string()))),
        }
    }

    async fn put(&self, path: &str, body: Option<&Json>) -> Outcome {
        let (status, answer) = self.cluster.call(Method::PUT, path, body).await?;
        let text = answer.to_string();
        // Somebody else was faster.
        let is_there = text.contains("resource_already_exists_exception");
        match status.is_success() || is_there {
            true => {
                tracing::info!("{}: made {path}", self.cluster.place());
                Ok(())
            }
            false => Err(format!("PUT {path}: {status} {}", shown(&text))),
        }
    }

    /// The template of `template_file`, with what `customize_template` puts into it.
    fn own_template(&self) -> Result<Json, String> {
        let text = self.installer.texts.get().and_then(|texts| texts.own.clone()).unwrap_or_default();
        let text = self.names.customize.iter().fold(text, |text, (from, to)| text.replace(from, &to.to_lowercase()));
        serde_json::from_str(&text).map_err(|e| format!("template_file is no JSON: {e}"))
    }

    async fn template(&self, name: &str, body: Json) -> Outcome {
        let kind = if self.plan().is_legacy { "_template" } else { "_index_template" };
        let path = format!("/{kind}/{}", encoded(name));
        if !self.plan().overwrites && self.exists(&path).await? {
            return Ok(());
        }
        self.put(&path, Some(&body)).await
    }

    /// An alias and the first index behind it, with the policy and the template that its lifecycle needs.
    async fn alias(&self, first: &First) -> Outcome {
        let by_policy = self.plan().rollover.as_ref().is_some_and(|rollover| rollover.by_policy);
        let policy = self.names.policy.as_deref().filter(|_| by_policy);
        if let Some(policy) = policy {
            self.policy(policy).await?;
        }
        match (policy, &self.names.template) {
            (Some(policy), Some(_)) => {
                let template = self.with_lifecycle(self.own_template()?, policy, first);
                self.template(&first.alias, template).await?;
            }
            (None, Some(name)) => self.template(name, self.own_template()?).await?,
            (_, None) => {}
        }
        if self.exists(&format!("/_alias/{}", encoded(&first.alias))).await? {
            return Ok(());
        }
        let body = json!({ "aliases": { &first.alias: { "is_write_index": true } } });
        self.put(&format!("/{}", encoded(&first.first)), Some(&body)).await
    }

    fn with_lifecycle(&self, mut template: Json, policy: &str, first: &First) -> Json {
        let rollover = self.plan().rollover.as_ref();
        let separator = rollover.map_or("-", |rollover| rollover.separator.as_str());
        let depth = if separator.is_empty() { 0 } else { first.target.matches(separator).count() as u64 };
        if !template.is_object() {
            template = Json::Object(Map::new());
        }
        template["index_patterns"] = json!([format!("{}{separator}*", first.target)]);
        let (rank, usual) = if self.plan().is_legacy { ("order", 50) } else { ("priority", 100) };
        template[rank] = (template[rank].as_u64().unwrap_or(usual) + depth + 1).into();
        let holder = match self.plan().is_legacy {
            true => {
                template.as_object_mut().map(|template| template.remove("template"));
                &mut template
            }
            false => &mut template["template"],
        };
        holder["settings"]["index.lifecycle.name"] = policy.into();
        holder["settings"]["index.lifecycle.rollover_alias"] = first.alias.as_str().into();
        template
    }

    async fn policy(&self, id: &str) -> Outcome {
        let path = format!("/_ilm/policy/{}", encoded(id));
        if !self.plan().overwrites_policies && self.exists(&path).await? {
            return Ok(());
        }
        let written = self.plan().policies.iter().find(|(name, _)| name == id || name.is_empty());
        let body = written.map_or_else(usual_policy, |(_, policy)| policy.clone());
        self.put(&path, Some(&body)).await
    }

    async fn stream(&self, name: &str) -> Outcome {
        let stream = format!("/_data_stream/{}", encoded(name));
        let is_there = self.exists(&stream).await?;
        if let Some(policy) = &self.names.policy
            && (self.plan().overwrites_policies || !is_there)
        {
            self.policy(policy).await?;
        }
        if is_there {
            return Ok(());
        }
        self.stream_template(name).await?;
        self.put(&stream, None).await
    }

    /// The template by which a data stream is made.
    async fn stream_template(&self, name: &str) -> Outcome {
        let template = self.names.template.clone().unwrap_or_else(|| format!("{name}_template"));
        let path = format!("/_index_template/{}", encoded(&template));
        let stream = format!("/_data_stream/{}", encoded(name));
        let has_file = self.plan().template_file.is_some();
        if !(self.plan().overwrites && has_file) && (self.exists(&stream).await? || self.exists(&path).await?) {
            return Ok(());
        }
        let body = match has_file {
            true => self.own_template()?,
            false => {
                let wildcard = self.plan().stream.as_ref().is_some_and(|stream| stream.wildcard);
                let pattern = format!("{name}{}", if wildcard { "*" } else { "" });
                let mut body = json!({ "index_patterns": [pattern], "data_stream": {} });
                if let (Family::Elasticsearch, Some(policy)) = (self.plan().family, &self.names.policy) {
                    body["template"] = json!({ "settings": { "index.lifecycle.name": policy } });
                }
                body
            }
        };
        self.put(&path, Some(&body)).await
    }

    /// A policy of OpenSearch's index state management; it takes indices by a pattern of its own.
    async fn ism(&self, id: &str) -> Outcome {
        let path = format!("/_plugins/_ism/policies/{}", encoded(id));
        if self.exists(&path).await? {
            return Ok(());
        }
        let written = self.plan().policies.iter().find(|(name, _)| name == id || name.is_empty());
        let mut body = written.map(|(_, policy)| policy.clone()).unwrap_or_default();
        if body["policy"]["ism_template"].is_null() {
            let start = self.names.dated.as_ref().map_or(&*self.names.index, |dated| dated.prefix.as_str());
            let pattern = format!("{start}*").to_lowercase();
            body["policy"]["ism_template"] = json!([{ "index_patterns": [pattern], "priority": ISM_PRIORITY }]);
        }
        self.put(&path, Some(&body)).await
    }
}

/// The lifecycle where none is written: that of fluent-plugin-elasticsearch.
fn usual_policy() -> Json {
    json!({ "policy": { "phases": { "hot": { "actions": { "rollover": { "max_size": "50gb", "max_age": "30d" } } } } } })
}
