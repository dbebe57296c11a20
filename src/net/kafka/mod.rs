//! How a Kafka cluster is reached, by librdkafka: parameters that inputs and outputs share, its log lines as our own, and
//! what its errors mean.

use std::fmt::Display;
use std::path::PathBuf;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};
use serde::Deserialize;

use crate::config::{Pairs, Secret};

/// Where a broker listens, where nothing is said.
const BROKERS: &str = "localhost:9092";
/// What brokers call us in their logs and quotas.
const CLIENT: &str = "suiro";
/// Whether librdkafka was built with OpenSSL, which TLS and SCRAM need.
const HAS_TLS: bool = cfg!(feature = "kafka-tls");

/// How bytes go over the wire, and who proves what to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// In the clear, nobody logs in.
    Plaintext,
    /// TLS.
    Ssl,
    /// In the clear, with a password.
    #[serde(rename = "sasl_plaintext")]
    SaslPlaintext,
    /// TLS, with a password.
    #[serde(rename = "sasl_ssl")]
    SaslSsl,
}

impl Security {
    fn word(self) -> &'static str {
        match self {
            Security::Plaintext => "plaintext",
            Security::Ssl => "ssl",
            Security::SaslPlaintext => "sasl_plaintext",
            Security::SaslSsl => "sasl_ssl",
        }
    }

    fn has_tls(self) -> bool {
        matches!(self, Security::Ssl | Security::SaslSsl)
    }
}

/// Digest of SCRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scram {
    /// SCRAM-SHA-256
    Sha256,
    /// SCRAM-SHA-512
    Sha512,
}

/// Parameters of a connection, with fluent-plugin-kafka's names.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct KafkaParams {
    /// Brokers to begin with, `host:port` between commas; the others are learned from them.
    pub brokers: Vec<String>,
    /// Name in the brokers' logs and quotas.
    pub client_id: String,
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`; else what the other parameters need.
    pub security_protocol: Option<Security>,
    /// Who logs in.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// `sha256` or `sha512`: the password itself is not sent then.
    pub scram_mechanism: Option<Scram>,
    /// Whether a password needs TLS around it.
    pub sasl_over_ssl: bool,
    /// Kerberos, which is not here.
    pub principal: Option<String>,
    /// Kerberos, which is not here.
    pub keytab: Option<String>,
    /// Kerberos, which is not here.
    pub service_name: Option<String>,
    /// Authorities to trust, one file.
    pub ssl_ca_cert: Vec<PathBuf>,
    /// The client's certificate.
    pub ssl_client_cert: Option<PathBuf>,
    /// Its private key.
    pub ssl_client_cert_key: Option<PathBuf>,
    /// The key's passphrase.
    pub ssl_client_cert_key_password: Option<Secret>,
    /// Whether to trust the system's authorities.
    pub ssl_ca_certs_from_system: bool,
    /// Whether the name in the broker's certificate is checked.
    pub ssl_verify_hostname: bool,
    /// Properties of librdkafka, which win over all other parameters but those that custody depends on.
    #[serde(alias = "kafka_configs")]
    pub rdkafka_options: Pairs,
    /// Whether librdkafka's lines of level info are in the log; else they are of level debug.
    pub get_kafka_client_log: bool,
}

impl Default for KafkaParams {
    fn default() -> KafkaParams {
        KafkaParams {
            brokers: vec![BROKERS.into()],
            client_id: CLIENT.into(),
            security_protocol: None,
            username: None,
            password: None,
            scram_mechanism: None,
            sasl_over_ssl: true,
            principal: None,
            keytab: None,
            service_name: None,
            ssl_ca_cert: Vec::new(),
            ssl_client_cert: None,
            ssl_client_cert_key: None,
            ssl_client_cert_key_password: None,
            ssl_ca_certs_from_system: false,
            ssl_verify_hostname: true,
            rdkafka_options: Pairs::default(),
            get_kafka_client_log: false,
        }
    }
}

/// A parameter and what is wrong with it.
pub type KafkaFault = (&'static str, String);

/// Settings of a client.
#[derive(Clone)]
pub struct Settings {
    config: ClientConfig,
    /// Names that the operator has set himself.
    own: Vec<String>,
    /// The brokers, for messages.
    pub place: String,
    /// Its lines of level info are shown.
    pub speaks: bool,
}

impl Settings {
    /// Sets a property, unless the operator has.
    pub fn default(&mut self, name: &str, value: impl Display) {
        if !self.own.iter().any(|own| own == name) {
            self.config.set(name, value.to_string());
        }
    }

    /// Sets a property that the operator must not set.
    ///
    /// Errors: he has, and otherwise.
    pub fn fixed(&mut self, name: &str, value: impl Display, why: &str) -> Result<(), KafkaFault> {
        let value = value.to_string();
        let other = self.own.iter().any(|own| own == name) && self.config.get(name) != Some(value.as_str());
        if other {
            return Err(("rdkafka_options", format!("{name} has to be {value} here: {why}")));
        }
        self.config.set(name, value);
        Ok(())
    }

    /// Sets a property, whatever the operator has set.
    pub fn override_with(&mut self, name: &str, value: impl Display) {
        self.config.set(name, value.to_string());
    }

    /// Nothing but errors in the log: of a client that stands beside another with the same settings.
    pub fn mute(&mut self) {
        self.config.set_log_level(RDKafkaLogLevel::Error);
    }

    /// The value of a property that was set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.config.get(name)
    }

    /// What a client is made of.
    pub fn client(&self) -> &ClientConfig {
        &self.config
    }

    /// Sees whether librdkafka takes each property. Opens nothing.
    ///
    /// Errors: the first that it does not.
    pub fn check(&self) -> Result<(), KafkaFault> {
        match self.config.create_native_config() {
            Ok(_) => Ok(()),
            Err(KafkaError::ClientConfig(_, why, name, value)) => {
                let why = why.trim_end_matches('.');
                Err(("rdkafka_options", format!("{name} {value}: librdkafka refuses it: {why}")))
            }
            Err(e) => Err(("rdkafka_options", e.to_string())),
        }
    }
}

fn place(brokers: &[String]) -> String {
    brokers.iter().map(|broker| broker.trim()).filter(|broker| !broker.is_empty()).collect::<Vec<_>>().join(",")
}

impl KafkaParams {
    /// The settings of a client.
    ///
    /// Errors: what contradicts itself, or can't be done by this build.
    pub fn settings(&self) -> Result<Settings, KafkaFault> {
        let mut settings = Settings {
            config: ClientConfig::new(),
            own: Vec::new(),
            place: place(&self.brokers),
            speaks: self.get_kafka_client_log,
        };
        if settings.place.is_empty() {
            return Err(("brokers", "'brokers' parameter is required: host:port, several between commas".into()));
        }
        let config = &mut settings.config;
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("bootstrap.servers", &settings.place);
        config.set("client.id", &self.client_id);
        // A broker that went away is found again soon, and a dead one is not asked all the time.
        config.set("reconnect.backoff.ms", "100").set("reconnect.backoff.max.ms", "5000");
        config.set("socket.keepalive.enable", "true");
        self.secure(config)?;
        for pair in self.rdkafka_options.iter() {
            if !HAS_TLS && pair.name.starts_with("ssl.") {
                return Err(("rdkafka_options", without_tls(&pair.name)));
            }
            config.set(&pair.name, pair.text());
            settings.own.push(pair.name.clone());
        }
        if let Some(brokers) = settings.config.get("bootstrap.servers").map(str::to_owned) {
            settings.place = brokers;
        }
        let wanted = settings.config.get("security.protocol").unwrap_or_default().to_ascii_lowercase();
        if !HAS_TLS && wanted.ends_with("ssl") {
            return Err(("rdkafka_options", without_tls(&format!("security.protocol {wanted}"))));
        }
        Ok(settings)
    }

    fn asks_for_tls(&self) -> Option<&'static str> {
        [
            ("ssl_ca_cert", !self.ssl_ca_cert.is_empty()),
            ("ssl_client_cert", self.ssl_client_cert.is_some()),
            ("ssl_client_cert_key", self.ssl_client_cert_key.is_some()),
            ("ssl_ca_certs_from_system", self.ssl_ca_certs_from_system),
        ]
        .into_iter()
        .find_map(|(name, set)| set.then_some(name))
    }

    /// What was asked for, or follows from certificates and passwords.
    fn security(&self) -> Result<(Security, &'static str), KafkaFault> {
        if let Some(security) = self.security_protocol {
            return Ok((security, "security_protocol"));
        }
        match (self.asks_for_tls(), self.username.is_some()) {
            (Some(name), true) => Ok((Security::SaslSsl, name)),
            (Some(name), false) => Ok((Security::Ssl, name)),
            (None, false) => Ok((Security::Plaintext, "security_protocol")),
            (None, true) if !self.sasl_over_ssl => Ok((Security::SaslPlaintext, "sasl_over_ssl")),
            (None, true) => {
                let remedy = "set ssl_ca_cert or ssl_ca_certs_from_system for TLS, or security_protocol sasl_plaintext (or \
                              sasl_over_ssl false) where the network may see it";
                Err(("password", format!("the password would go over the network in the clear: {remedy}")))
            }
        }
    }

    fn secure(&self, config: &mut ClientConfig) -> Result<(), KafkaFault> {
        for (name, value) in
            [("principal", &self.principal), ("keytab", &self.keytab), ("service_name", &self.service_name)]
        {
            if value.is_some() {
                let remedy = "log in with username and password, or by a client certificate";
                return Err((name, format!("Kerberos (GSSAPI) is not in this build: {remedy}")));
            }
        }
        if self.username.is_some() != self.password.is_some() {
            let name = if self.username.is_some() { "username" } else { "password" };
            return Err((name, "username and password belong together; give both or none".into()));
        }
        let (security, because) = self.security()?;
        if security.has_tls() && !HAS_TLS {
            return Err((because, without_tls(because)));
        }
        config.set("security.protocol", security.word());
        if security.has_tls() {
            self.certificates(config)?;
        } else if let Some(name) = self.asks_for_tls() {
            return Err((name, format!("{name} needs TLS, and security_protocol is {}", security.word())));
        }
        if matches!(security, Security::SaslPlaintext | Security::SaslSsl) {
            self.log_in(config)?;
        }
        Ok(())
    }

    fn log_in(&self, config: &mut ClientConfig) -> Result<(), KafkaFault> {
        let mechanism = match self.scram_mechanism {
            None => "PLAIN",
            Some(_) if !HAS_TLS => return Err(("scram_mechanism", without_tls("scram_mechanism"))),
            Some(Scram::Sha256) => "SCRAM-SHA-256",
            Some(Scram::Sha512) => "SCRAM-SHA-512",
        };
        config.set("sasl.mechanisms", mechanism);
        let (Some(user), Some(password)) = (&self.username, &self.password) else {
            // What else proves who we are is among the operator's own properties.
            return match self.rdkafka_options.get("sasl.username") {
                Some(_) => Ok(()),
                None => Err(("username", "security_protocol asks for a login: set username and password".into())),
            };
        };
        config.set("sasl.username", user).set("sasl.password", password.expose());
        Ok(())
    }

    fn certificates(&self, config: &mut ClientConfig) -> Result<(), KafkaFault> {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        match self.ssl_ca_cert.as_slice() {
            [] => {}
            [one] => {
                config.set("ssl.ca.location", text(one));
            }
            _ => return Err(("ssl_ca_cert", "write all authorities into one file, one after the other".into())),
        }
        if let Some(path) = &self.ssl_client_cert {
            config.set("ssl.certificate.location", text(path));
        }
        if let Some(path) = &self.ssl_client_cert_key {
            config.set("ssl.key.location", text(path));
        }
        if let Some(password) = &self.ssl_client_cert_key_password {
            config.set("ssl.key.password", password.expose());
        }
        let checked = if self.ssl_verify_hostname { "https" } else { "none" };
        config.set("ssl.endpoint.identification.algorithm", checked);
        Ok(())
    }
}

fn without_tls(what: &str) -> String {
    format!(
        "{what} needs OpenSSL, which this build does not have: build suiro with `cargo build --release --features kafka-tls` \
         (it needs OpenSSL's headers: libssl-dev)"
    )
}

/// librdkafka's lines.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Whether those of level info are shown.
    pub speaks: bool,
}

impl ClientContext for Lines {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!("kafka: {fac}: {text}")
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!("kafka: {fac}: {text}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info if self.speaks => tracing::info!("kafka: {fac}: {text}"),
            _ => tracing::debug!("kafka: {fac}: {text}"),
        }
    }

    // Each is in the answer of the call, or of the message, that it is about, or in a line of its own.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("kafka: {error}: {reason}");
    }
}

impl ConsumerContext for Lines {}

/// What an error code says, without the wrapping of the call that it came from.
pub fn said(e: &KafkaError) -> String {
    match e {
        KafkaError::Transaction(e) => e.string(),
        e => e.rdkafka_error_code().map_or_else(|| e.to_string(), told),
    }
}

/// A code in words, and its name in the protocol.
pub fn told(code: RDKafkaErrorCode) -> String {
    format!("{code} ({code:?})")
}

/// What helps against an error, where something does.
pub fn remedy(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve => {
            ". What helps: look whether the brokers run, and at brokers"
        }
        RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut => {
            ". What helps: look whether the brokers run and have their quorum; their addresses must be reachable from here as \
             they advertise them"
        }
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            ". What helps: look at username, password and scram_mechanism"
        }
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownPartition => {
            ". What helps: create the topic, or let the brokers create it (auto.create.topics.enable)"
        }
        RDKafkaErrorCode::TopicAuthorizationFailed => ". What helps: an ACL that lets this client use the topic",
        RDKafkaErrorCode::GroupAuthorizationFailed => ". What helps: an ACL that lets this client read with the group",
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
            ". What helps: an ACL that lets this client write under transactional_id"
        }
        RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch => {
            ". What helps: see that no other suiro uses the same transactional_id"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests;
