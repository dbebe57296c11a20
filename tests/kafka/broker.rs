//! A real Kafka broker (KRaft, one node) that a test starts, kills and asks, and a proxy before it that cuts connections.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use tempfile::TempDir;

use super::{free_port, skip};
use crate::daemon::wait_at_most;
use crate::databases::cutter::Cutter;

/// Longest start.
const START: Duration = Duration::from_secs(60);
/// Name of the cluster.
const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";
/// A small and quick virtual machine.
const JAVA: [&str; 5] = [
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

/// The broker. It ends with its owner.
pub struct Broker {
    /// Where it listens.
    pub port: u16,
    /// Before a listener of its own.
    pub proxy: Cutter,
    libraries: PathBuf,
    dir: TempDir,
    child: Mutex<Option<Child>>,
}

/// A message as a test wants to see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub key: Option<String>,
    pub text: String,
    pub headers: Vec<(String, String)>,
    pub millis: Option<i64>,
}

/// The broker's jars.
fn libraries() -> Option<PathBuf> {
    let dir = Path::new(&std::env::var_os("SUIRO_SERVERS")?).join("kafka/lib");
    dir.is_dir().then_some(dir)
}

impl Broker {
    /// A new broker; `None` where there is none, which is said.
    pub fn start() -> Option<Broker> {
        Broker::with("")
    }

    /// The same with more properties.
    pub fn with(more: &str) -> Option<Broker> {
        let help = "no jars in SUIRO_SERVERS/kafka/lib: mvn -q -B -f tests/kafka/pom.xml dependency:copy-dependencies \
                    -DincludeScope=runtime -DoutputDirectory=$SUIRO_SERVERS/kafka/lib";
        let Some(libraries) = libraries() else {
            skip("Kafka", help);
            return None;
        };
        if Command::new("java").arg("-version").output().is_err() {
            skip("Kafka", "no java: apt-get install openjdk-17-jre-headless");
            return None;
        }
        let (port, behind) = (free_port(), free_port());
        let proxy = Cutter::before(behind);
        let broker = Broker { port, proxy, libraries, dir: TempDir::new().unwrap(), child: Mutex::default() };
        broker.configure(behind, free_port(), more);
        let properties = broker.dir.path().join("server.properties");
        let made =
            broker.java("kafka.tools.StorageTool").args(["format", "-t", CLUSTER, "-c"]).arg(properties).output();
        match made {
            Ok(made) if made.status.success() => {}
            other => {
                skip("Kafka", &format!("its storage can't be made: {other:?}"));
                return None;
            }
        }
        match broker.up() {
            Ok(()) => Some(broker),
            Err(why) => {
                skip("Kafka", &format!("does not start: {why}"));
                None
            }
        }
    }

    fn configure(&self, behind: u16, controller: u16, more: &str) {
        let (dir, port) = (self.dir.path().display(), self.port);
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},BEHIND://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port},BEHIND://127.0.0.1:{}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,BEHIND:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\nlog.dirs={dir}/logs\n\
             num.partitions=1\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.num.partitions=1\n\
             transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\nnum.network.threads=1\n\
             num.io.threads=2\nlog.cleaner.dedupe.buffer.size=8388608\ngroup.min.session.timeout.ms=1000\n{more}\n",
            self.proxy.port
        );
        fs::write(self.dir.path().join("server.properties"), text).unwrap();
    }

    fn java(&self, class: &str) -> Command {
        let mut java = Command::new("java");
        java.args(JAVA).arg("-cp").arg(self.libraries.join("*")).arg(class).stdin(Stdio::null());
        java
    }

    /// Starts it, again after a kill.
    pub fn up(&self) -> Result<(), String> {
        let log = self.dir.path().join("log");
        let out = File::create(&log).unwrap();
        let mut java = self.java("kafka.Kafka");
        java.arg(self.dir.path().join("server.properties")).stdout(out.try_clone().unwrap()).stderr(out);
        let mut child = java.spawn().map_err(|e| e.to_string())?;
        let up = wait_at_most(START, || {
            let ended = child.try_wait().unwrap().is_some();
            (ended || TcpStream::connect(("127.0.0.1", self.port)).is_ok()).then_some(!ended)
        });
        *self.child.lock().unwrap() = Some(child);
        if up == Some(true) {
            return Ok(());
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        Err(said.lines().rev().take(3).collect::<Vec<_>>().join("; "))
    }

    /// Ends it with SIGKILL.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            // Both fail where it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{}", self.port));
        config
    }

    /// Makes a topic.
    pub fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let made = runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Deletes a topic.
    pub fn delete(&self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let gone = runtime.block_on(admin.delete_topics(&[topic], &AdminOptions::new())).unwrap();
        assert!(gone.iter().all(Result::is_ok), "{gone:?}");
    }

    /// Puts messages into a topic, a key and a text each, and waits until they are there.
    pub fn put(&self, topic: &str, messages: impl IntoIterator<Item = (Option<String>, Option<String>)>) {
        let producer: BaseProducer = self.config().set("linger.ms", "5").create().unwrap();
        for (key, text) in messages {
            let mut record: BaseRecord<'_, String, String> = BaseRecord::to(topic);
            (record.key, record.payload) = (key.as_ref(), text.as_ref());
            while let Err((_, back)) = producer.send(record) {
                record = back;
                producer.poll(Duration::from_millis(10));
            }
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }

    /// All committed messages of a topic, each partition in order. Nothing where the topic is not there, or the broker.
    pub fn messages(&self, topic: &str) -> Vec<Seen> {
        self.look(topic).unwrap_or_default()
    }

    fn look(&self, topic: &str) -> Result<Vec<Seen>, KafkaError> {
        let mut config = self.config();
        config.set("group.id", "look").set("enable.partition.eof", "true").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(5))?;
        let partitions = metadata.topics()[0].partitions().len() as i32;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        let (mut seen, mut ended) = (Vec::new(), 0);
        let deadline = Instant::now() + Duration::from_secs(20);
        while ended < partitions && Instant::now() < deadline {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => seen.push(shown(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(e)) => return Err(e),
                None => {}
            }
        }
        Ok(seen)
    }

    /// The numbers in the field `id` of a topic's committed messages.
    pub fn ids(&self, topic: &str) -> Vec<u64> {
        self.messages(topic).iter().filter_map(|seen| id(&seen.text)).collect()
    }
}

/// The number in the field `id`.
pub fn id(json: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(json).ok()?.get("id")?.as_u64()
}

fn shown(message: &BorrowedMessage<'_>) -> Seen {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().map(|headers| {
        headers.iter().map(|h| (h.key.to_owned(), h.value.map(text).unwrap_or_default())).collect::<Vec<_>>()
    });
    Seen {
        partition: message.partition(),
        key: message.key().map(text),
        text: message.payload().map(text).unwrap_or_default(),
        headers: headers.unwrap_or_default(),
        millis: message.timestamp().to_millis(),
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
