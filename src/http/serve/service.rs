//! The requests of one connection, between hyper and the [`Site`].

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use axum::body::Bytes;
use axum::http::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use axum::http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::Service;
use tokio::time::timeout;

use super::ServeLimits;
use super::activity::{Activity, EndsRequest, ResponseBody};
use super::content::Content;
use super::site::{Answer, Call, Client, Site};

/// Answers the requests of a connection.
pub(super) struct Requests {
    pub(super) site: Arc<dyn Site>,
    pub(super) client: Client,
    pub(super) limits: ServeLimits,
    pub(super) activity: Arc<Activity>,
}

/// The response, or the wait for it.
pub(super) enum Answering {
    Now(Option<Response<ResponseBody>>),
    Later(Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>>),
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        if request.version() < Version::HTTP_2 {
            self.activity.note_http1();
        }
        let call = Call::new(&self.client, &self.activity);
        match self.site.answer(request, &call) {
            Answer::Now(response) => {
                let end = EndsRequest::answered(Arc::clone(&self.activity));
                Answering::Now(Some(response.map(|body| ResponseBody::new(body, end))))
            }
            Answer::Later(response) => {
                let end = call.in_flight().guard();
                let patience = self.limits.answer_timeout;
                Answering::Later(Box::pin(async move {
                    let response = timeout(patience, response).await;
                    let response = response.unwrap_or_else(|_| overdue());
                    response.map(|body| ResponseBody::new(body, end))
                }))
            }
        }
    }
}

impl Future for Answering {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            // hyper polls no future again that is ready.
            Self::Now(response) => response
                .take()
                .map_or(Poll::Pending, |r| Poll::Ready(Ok(r))),
            Self::Later(response) => response.as_mut().poll(cx).map(Ok),
        }
    }
}

/// The response of last resort: each part has shorter time limits of its own, with better messages.
fn overdue() -> Response<Content> {
    tracing::error!("a request took too long to answer");
    let mut response = Response::new(Content::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Runs the streams of HTTP/2. Most of them end when they are polled for the first time, because their responses are
/// ready and small; only the others become tasks.
#[derive(Clone, Copy)]
pub(super) struct Streams;

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut stream = Box::pin(stream);
        // The task polls it again, with its own waker.
        let mut context = Context::from_waker(Waker::noop());
        if stream.as_mut().poll(&mut context).is_pending() {
            tokio::spawn(stream);
        }
    }
}
