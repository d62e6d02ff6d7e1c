//! Work that blocks, such as reading files, on threads of its own.

/// Runs work that blocks on a thread of its own, so that the caller's task can be dropped meanwhile, for example
/// because of a signal. A panic of the work goes on in the caller.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the runtime ends, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}
