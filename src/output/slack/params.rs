//! Parameters of `slack`, and what is wrong with them.

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use url::Url;

use super::format::Format;
use super::message::Shape;
use crate::config::{Diagnostic, Secret};
use crate::net::http::{ClientOptions, Proxy};
use crate::net::tls::ClientSettings;
use crate::output::service::Web;
use crate::plugin::BuildContext;
use crate::plugin::web::address;

/// What the plugin puts into records where `<inject>` says nothing else.
const INJECT: &[(&str, &str)] =
    &[("tag_key", "tag"), ("time_key", "time"), ("time_type", "string"), ("time_format", "%H:%M:%S")];

/// Parameters of `slack`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct SlackParams {
    /// The address of the incoming webhook.
    webhook_url: Option<Secret>,
    /// Other ways into Slack, which are not taken.
    slackbot_url: Option<Secret>,
    token: Option<Secret>,
    auto_channels_create: bool,
    as_user: Option<bool>,
    /// The channel; webhooks of today have their own.
    channel: Option<String>,
    /// Fields for the `%s` in it.
    channel_keys: Vec<String>,
    /// The sender's name.
    username: Option<String>,
    /// Its picture.
    icon_emoji: Option<String>,
    icon_url: Option<String>,
    /// The colour of the attachment.
    color: Option<String>,
    /// A title for the messages of each tag.
    title: Option<String>,
    /// Fields for the `%s` in it.
    title_keys: Vec<String>,
    /// The message.
    message: String,
    /// Fields for the `%s` in it.
    message_keys: Vec<String>,
    /// Whether Slack's marks are obeyed.
    mrkdwn: bool,
    /// Whether names become links.
    link_names: bool,
    /// `none` or `full`.
    parse: Option<String>,
    /// Whether notifications show the messages beside the titles.
    verbose_fallback: bool,
    /// A proxy.
    https_proxy: Option<Secret>,
}

impl Default for SlackParams {
    fn default() -> SlackParams {
        SlackParams {
            webhook_url: None,
            slackbot_url: None,
            token: None,
            auto_channels_create: false,
            as_user: None,
            channel: None,
            channel_keys: Vec::new(),
            username: None,
            icon_emoji: None,
            icon_url: None,
            color: None,
            title: None,
            title_keys: Vec::new(),
            message: "%s".into(),
            message_keys: vec!["message".into()],
            mrkdwn: true,
            link_names: true,
            parse: None,
            verbose_fallback: false,
            https_proxy: None,
        }
    }
}

impl SlackParams {
    /// What contradicts itself or changes nothing.
    pub(super) fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        for (name, there) in [
            ("slackbot_url", self.slackbot_url.is_some()),
            ("token", self.token.is_some()),
            ("auto_channels_create", self.auto_channels_create),
        ] {
            if there {
                let why = format!("{name} is not supported: make an incoming webhook in Slack, and set webhook_url");
                return Err(cx.fault(name, why));
            }
        }
        cx.without_effect("as_user", "incoming webhooks do not know it");
        if self.icon_emoji.is_some() && self.icon_url.is_some() {
            return Err(cx.fault("icon_url", "either of `icon_emoji` or `icon_url` can be specified"));
        }
        if self.parse.as_deref().is_some_and(|parse| !matches!(parse, "none" | "full")) {
            return Err(cx.fault("parse", "`parse` must be either of `none` or `full`"));
        }
        if self.title.is_none() {
            cx.without_effect("verbose_fallback", "it is about titles, and there is none");
        }
        Ok(())
    }

    pub(super) fn address(&self, cx: &BuildContext<'_>) -> Result<Url, Diagnostic> {
        match self.webhook_url.as_ref().map(Secret::expose) {
            None => Err(cx.fault("webhook_url", "'webhook_url' parameter is required")),
            Some(url) => address(url, "webhook_url", cx),
        }
    }

    pub(super) fn web(&self, cx: &BuildContext<'_>) -> Result<Web, Diagnostic> {
        let proxy = self.https_proxy.as_ref().map(|proxy| Proxy::parse(proxy.expose())).transpose();
        let options =
            ClientOptions { proxy: proxy.map_err(|e| cx.fault("https_proxy", e))?, ..ClientOptions::default() };
        let tls = self.webhook_url.as_ref().is_some_and(|url| url.expose().starts_with("https://"));
        let settings = ClientSettings { system_roots: true, ..ClientSettings::default() };
        Ok(Web::new(options, tls.then_some(settings), false))
    }

    pub(super) fn shape(&self, cx: &mut BuildContext<'_>) -> Result<Shape, Diagnostic> {
        let formatted = |name: &str, text: &str, keys: &[String]| {
            Format::new(text, keys).map_err(|why| cx.fault(name, format!("{text:?} and {name}_keys: {why}")))
        };
        let optional = |name: &str, text: &Option<String>, keys: &[String]| match text {
            None => Ok(None),
            // Without keys a percent sign stands for itself.
            Some(text) if keys.is_empty() => Ok(Some(Format::fixed(text))),
            Some(text) => formatted(name, text, keys).map(Some),
        };
        let unescaped = |text: &String| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let channel =
            self.channel.as_ref().map(|text| if self.channel_keys.is_empty() { unescaped(text) } else { text.clone() });
        let (channel, title) =
            (optional("channel", &channel, &self.channel_keys)?, optional("title", &self.title, &self.title_keys)?);
        let text = formatted("message", &self.message, &self.message_keys)?;
        Ok(Shape {
            channel,
            title,
            text,
            common: self.common(),
            attachment: self.attachment(),
            colored: self.color.is_some(),
            verbose_fallback: self.verbose_fallback,
            inject: cx.inject_always(INJECT)?,
        })
    }

    fn common(&self) -> Map<String, Json> {
        let texts = [
            ("username", &self.username),
            ("icon_emoji", &self.icon_emoji),
            ("icon_url", &self.icon_url),
            ("parse", &self.parse),
        ];
        let flags = [("mrkdwn", self.mrkdwn), ("link_names", self.link_names)];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?))));
        let flags = flags.into_iter().filter(|(_, flag)| *flag).map(|(name, _)| (name.to_owned(), json!(true)));
        texts.chain(flags).collect()
    }

    fn attachment(&self) -> Map<String, Json> {
        let mut attachment = Map::new();
        if let Some(color) = &self.color {
            attachment.insert("color".into(), color.as_str().into());
        }
        if self.mrkdwn {
            attachment.insert("mrkdwn_in".into(), json!(["text", "fields"]));
        }
        attachment
    }
}
