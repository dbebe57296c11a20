//! The connection of `object_store` to our own HTTP client: its TLS, its proxies, its limits and time-outs hold for
//! object stores too. Requests to S3 are signed here, because more headers are signed than the library knows.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Response};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use url::Url;

use super::extras::Extras;
use super::signer::Signer;
use crate::net::http::{Client, ClientError};

/// What sends the requests of one output.
#[derive(Clone)]
pub struct Service {
    client: Arc<Client>,
    extras: Arc<Extras>,
    signer: Option<Arc<Signer>>,
}

impl Service {
    /// Over a client; with a signer each request is signed.
    pub fn new(client: Arc<Client>, extras: Arc<Extras>, signer: Option<Arc<Signer>>) -> Service {
        Service { client, extras, signer }
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut head, body) = request.into_parts();
        let body = whole(body).await?;
        let invalid = |e: url::ParseError| HttpError::new(HttpErrorKind::Unknown, e);
        let url = Url::parse(&head.uri.to_string()).map_err(invalid)?;
        self.extras.add(&head.method, &url, &mut head.headers, &body);
        if let Some(signer) = &self.signer {
            let signed = signer.sign(&self.client, &head.method, &url, &mut head.headers, &body).await;
            signed.map_err(|why| HttpError::new(HttpErrorKind::Unknown, std::io::Error::other(why)))?;
        }
        let answer = self.client.send(head.method.clone(), &url, head.headers, body).await.map_err(failed)?;
        if let Some(signer) = &self.signer {
            signer.heed(answer.status).await;
        }
        // The body of an answer to HEAD is not sent, whatever its length says.
        let body = if head.method == Method::HEAD { Bytes::new() } else { answer.body };
        let body = HttpResponseBody::new(Full::new(body).map_err(|never| match never {}));
        let mut response = Response::new(body);
        (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
        Ok(response)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl HttpConnector for Service {
    fn connect(&self, _: &object_store::ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

type Answering<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Service {
    // What `async_trait` makes of the library's `async fn`.
    fn call<'life0, 'async_trait>(&'life0 self, request: HttpRequest) -> Answering<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.exchange(request))
    }
}

/// The body in one piece, without a copy where it is one already.
async fn whole(mut body: HttpRequestBody) -> Result<Bytes, HttpError> {
    if let Some(bytes) = body.as_bytes() {
        return Ok(bytes.clone());
    }
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        pieces.extend(frame?.into_data());
    }
    if pieces.len() == 1 {
        return Ok(pieces.swap_remove(0));
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    Ok(whole.freeze())
}

fn failed(e: ClientError) -> HttpError {
    let kind = match &e {
        ClientError::Connect(_) => HttpErrorKind::Connect,
        ClientError::Broken(_) => HttpErrorKind::Interrupted,
        ClientError::Request(_) | ClientError::TooLarge(_) => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, e)
}
