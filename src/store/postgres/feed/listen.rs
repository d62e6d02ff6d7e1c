//! Listening: a connection that only waits for notifications.

use std::time::Duration;

use super::super::Inner;
use super::super::migrations::{CHANGES, SERVERS};

/// The pause before a connection that was lost is made again.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is checked whether the connection leads to the right server.
const CHECK: Duration = Duration::from_secs(2);

const NOTIFY: &str = "SELECT pg_notify('tinyns_change', '')::text";

/// Notifies all servers of the changes by this one, for ever: once for all that are committed meanwhile. The caller ends it.
pub(in super::super) async fn notify(inner: &Inner) {
    loop {
        inner.news.own.notified().await;
        let sent = inner.call(&inner.feeds, |connection| async move {
            let statement = connection.prepare(NOTIFY).await?;
            connection.client.execute(&statement, &[]).await?;
            Ok(())
        });
        if let Err(error) = Box::pin(sent).await {
            // The readers look once in a while in any case.
            tracing::debug!(%error, "cannot notify other servers of changes");
        }
    }
}

/// Listens for ever. The caller ends it.
pub(in super::super) async fn listen(inner: &Inner) {
    loop {
        if let Err(error) = Box::pin(listen_once(inner)).await {
            tracing::debug!(%error, "cannot listen for changes; retrying");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Listens until the connection ends, or other connections than those of its generation are made.
async fn listen_once(inner: &Inner) -> Result<(), String> {
    let generation = inner.pool.generation();
    let connection = inner.pool.connector.connect(Some(&inner.news)).await;
    let connection = connection.map_err(|error| error.to_string())?;
    let sql = format!("LISTEN {CHANGES}; LISTEN {SERVERS}");
    let listening = connection.client.batch_execute(&sql).await;
    listening.map_err(|error| error.to_string())?;
    inner.news.note_all();
    while !connection.client.is_closed() && inner.pool.generation() == generation {
        tokio::time::sleep(CHECK).await;
    }
    Ok(())
}
