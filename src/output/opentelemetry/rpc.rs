//! Requests over gRPC, and what their statuses lead to (OTLP specification, "OTLP/gRPC response").

use std::sync::OnceLock;
use std::time::Duration;

use hyper::header::HeaderMap;
use url::Url;

use crate::event::{Packing, pack};
use crate::net::grpc::code::{
    ABORTED, CANCELLED, DATA_LOSS, DEADLINE_EXCEEDED, INVALID_ARGUMENT, OK, OUT_OF_RANGE, PERMISSION_DENIED,
    RESOURCE_EXHAUSTED, UNAUTHENTICATED, UNAVAILABLE, UNIMPLEMENTED,
};
use crate::net::grpc::{Client, Reply};
use crate::net::http::ClientOptions;
use crate::net::otlp::{Partial, Status, partial_of};
use crate::net::tls::ClientSettings;
use crate::output::service::{Fate, Pause, patience, unanswered};
use crate::plugin::WriteError;
use crate::plugin::web::{excerpt, opened, place};

/// A server.
pub(super) struct Rpc {
    url: Url,
    headers: HeaderMap,
    options: ClientOptions,
    tls: Option<ClientSettings>,
    gzip: bool,
    client: OnceLock<Client>,
    pause: Pause,
}

/// What became of a request.
pub(super) enum Called {
    /// The server has it, but for what it says.
    Taken(Partial),
    /// It has not.
    Not(Fate),
}

impl Rpc {
    /// Nothing is opened. `gzip`: whether messages are packed.
    pub(super) fn new(
        url: Url,
        headers: HeaderMap,
        options: ClientOptions,
        tls: Option<ClientSettings>,
        gzip: bool,
    ) -> Rpc {
        Rpc { url, headers, options, tls, gzip, client: OnceLock::new(), pause: Pause::default() }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Reads certificates; called once, before the first request.
    pub(super) fn open(&self) -> std::io::Result<()> {
        // Started once; a second client would only replace an unused one.
        let _ = self.client.set(Client::new(opened(&self.options, self.tls.as_ref())?));
        Ok(())
    }

    /// Closes what is idle.
    pub(super) fn close(&self) {
        if let Some(client) = self.client.get() {
            client.close();
        }
    }

    /// How long one exchange may take.
    pub(super) fn patience(&self) -> Duration {
        patience(&self.options)
    }

    /// Sends a request. Waits before it while the server has asked for a pause.
    ///
    /// Errors: no answer, or one after which the chunk comes again, or is set aside.
    pub(super) async fn call(&self, request: Vec<u8>) -> Result<Called, WriteError> {
        let Some(client) = self.client.get() else {
            return Err(WriteError::Retry("the output was not started".into()));
        };
        self.pause.over().await.map_err(WriteError::Retry)?;
        let (message, packed) = match self.gzip {
            true => (pack::deflate(&request, Packing::Gzip)?, Some("gzip")),
            false => (request, None),
        };
        match client.call(&self.url, self.headers.clone(), &message, packed).await {
            Ok(reply) if reply.code == OK => partial_of(&reply.message).map(Called::Taken).map_err(|_| {
                self.again("its answer can't be read", "look at endpoint: is this an OpenTelemetry server?")
            }),
            Ok(reply) => self.refused(&reply).map(Called::Not),
            Err(e) => Err(unanswered(&self.url, &e)),
        }
    }

    fn again(&self, said: &str, help: &str) -> WriteError {
        WriteError::Retry(format!("{}: {said}. What helps: {help}", place(&self.url)))
    }

    fn refused(&self, reply: &Reply) -> Result<Fate, WriteError> {
        let said = format!("status {} {}", reply.code, excerpt(&reply.why));
        let retry = Status::read(&reply.details).ok().and_then(|status| status.retry);
        self.pause.ask(retry);
        match reply.code {
            CANCELLED | DEADLINE_EXCEEDED | ABORTED | OUT_OF_RANGE | UNAVAILABLE | DATA_LOSS => {
                Err(WriteError::Retry(format!("{}: {said}", place(&self.url))))
            }
            // Without a time after which to come again it is the request that is too much.
            RESOURCE_EXHAUSTED if retry.is_none() => Ok(Fate::TooLarge(said)),
            RESOURCE_EXHAUSTED => Err(WriteError::Retry(format!("{}: {said}", place(&self.url)))),
            INVALID_ARGUMENT => Ok(Fate::Bad(None, said)),
            UNAUTHENTICATED | PERMISSION_DENIED => {
                Err(self.again(&said, "look at headers of <grpc>, and at <transport>"))
            }
            UNIMPLEMENTED => Err(self.again(&said, "look at endpoint: this server takes no logs over gRPC")),
            _ => Err(WriteError::Refused { why: format!("{}: {said}", place(&self.url)), response: said }),
        }
    }
}
