//! Failures: what the SDK's errors mean to a caller of the store, and what became of each attempt.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_dynamodb::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, ProvideErrorMetadata, SdkError};

use super::table::Table;
use crate::store::StoreError;

/// The longest text of a failure in characters. It contains text from outside and goes into a log line. The list
/// of all places without credentials just fits.
const MAX_TEXT: usize = 800;

/// The error codes of throttling. DynamoDB has done nothing then.
const THROTTLED: &[&str] = &[
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "TooManyRequestsException",
    "LimitExceededException",
];

/// The error of a call that failed after the SDK's own retries.
pub(super) fn store_error<E>(table: &Table, error: &SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::TimeoutError(_) => StoreError::DeadlineExceeded,
        SdkError::DispatchFailure(_) if is_connect(error) => {
            StoreError::Unreachable(format!("{table}: {}", text(error)))
        }
        SdkError::DispatchFailure(failure) if failure.is_timeout() => StoreError::DeadlineExceeded,
        SdkError::ServiceError(_) if is_throttled(error) => throttled(table, &text(error)),
        SdkError::ServiceError(service) if service.raw().status().is_client_error() => {
            StoreError::Refused(format!("{table}: {}", text(error)))
        }
        _ => StoreError::Unavailable(format!("{table}: {}", text(error))),
    }
}

/// The error of a call if the table has no capacity left.
pub(super) fn throttled(table: &Table, reason: &str) -> StoreError {
    StoreError::Throttled(format!(
        "{table} is at the limit of its capacity ({reason}); if this lasts, raise its read and write \
         capacity, or make it an on-demand table"
    ))
}

/// Whether no connection was made, so that nothing was sent.
fn is_connect(error: &(dyn Error + 'static)) -> bool {
    client_error(error).is_some_and(hyper_util::client::legacy::Error::is_connect)
}

/// The error of the HTTP client, if it is the cause.
fn client_error<'a>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a hyper_util::client::legacy::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(client) = error.downcast_ref() {
            return Some(client);
        }
        next = error.source();
    }
    None
}

/// Whether DynamoDB throttles.
fn is_throttled<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    let SdkError::ServiceError(service) = error else {
        return false;
    };
    let code = service.err().code().unwrap_or_default();
    THROTTLED.contains(&code) || service.raw().status().as_u16() == 429
}

/// Whether the same call may succeed later: true for everything but a refusal.
pub(super) fn may_pass<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::ServiceError(service) => {
            is_throttled(error) || service.raw().status().as_u16() >= 500
        }
        _ => true,
    }
}

/// Whether a call at the start may succeed later. True also for what an operator has to put right outside of the
/// configuration, such as credentials and rights: meanwhile the server answers what it can. False if the request itself is
/// wrong, which only another configuration changes.
pub(super) fn may_pass_at_start<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::ServiceError(service) => service.err().code() != Some("ValidationException"),
        _ => true,
    }
}

/// An error in one line: DynamoDB's code and message, or the chain of causes down to the one that an operator can
/// act on.
pub(super) fn text<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let text = match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().unwrap_or("no error code");
            match service.err().message() {
                Some(message) => format!("{code}: {message}"),
                None => format!("{code} (HTTP status {status})"),
            }
        }
        other => chain(other),
    };
    one_line(&text)
}

/// An error and its causes, each once.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// The text in one line, without the line breaks that the SDK's texts have, and with escapes for control
/// characters, which a reply may contain.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line = String::new();
    for c in words.join(" ").chars().take(MAX_TEXT) {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// The error of a write that failed. It is certain only if each attempt certainly did nothing, not only the last
/// one.
pub(super) fn write_error<E>(table: &Table, error: &SdkError<E>, attempts: &Attempts) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let failure = store_error(table, error);
    match (failure.is_certain(), attempts.may_have_been_done()) {
        (true, true) => StoreError::Unavailable(format!(
            "{failure}; whether an earlier attempt was carried out is not known"
        )),
        // The time was up between attempts, and all attempts were refused or never sent.
        (false, false) if attempts.refused() => throttled(table, &text(error)),
        (false, false) => StoreError::Unreachable(format!("{table}: {}", text(error))),
        _ => failure,
    }
}

/// Records the attempts of one call.
///
/// A write whose reply is lost is sent again, and may then find its own first attempt. Only a call that was sent
/// more than once may take an item for its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU32,
    /// Attempts that were sent and that DynamoDB may have carried out.
    open: AtomicU32,
    /// Attempts that DynamoDB refused.
    refused: AtomicU32,
}

impl Attempts {
    /// Whether the call was sent more than once.
    pub(super) fn repeated(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed) > 1
    }

    /// Whether DynamoDB may have carried out one of the attempts.
    fn may_have_been_done(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) > 0
    }

    /// Whether DynamoDB refused an attempt. The SDK repeats only refusals by throttling.
    fn refused(&self) -> bool {
        self.0.refused.load(Ordering::Relaxed) > 0
    }
}

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "attempts"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let status = context.response().map(|reply| reply.status());
        let has_done_nothing = match (status, context.output_or_error()) {
            (Some(status), _) => status.is_client_error(),
            (None, Some(Err(error))) => error
                .as_connector_error()
                .is_some_and(|error| is_connect(error)),
            (None, _) => false,
        };
        if has_done_nothing {
            // It was sent: otherwise there would be an error of the connection.
            self.0.open.fetch_sub(1, Ordering::Relaxed);
        }
        if status.is_some_and(|status| status.is_client_error()) {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
