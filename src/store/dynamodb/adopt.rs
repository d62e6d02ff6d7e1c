//! Links and entries of the audit log that are taken over from another store; see [`crate::store::transfer`].

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;

use super::failure::{Attempts, write_error};
use super::item::{self, Entry};
use super::table::Table;
use super::{audit, read};
use crate::link::Link;
use crate::store::audit::Entry as AuditEntry;
use crate::store::{Adopted, StoreError};

/// There is nothing of that name, or something older. An item without a version is of another program, and of unknown
/// age.
const OLDER: &str = "attribute_not_exists(miniUrl) OR version < :version";
/// There is no such entry.
const NEW: &str = "attribute_not_exists(#bucket)";
/// How many attempts are made while the item that prevents one disappears.
const MAX_TRIES: usize = 3;

/// See [`crate::store::Store::adopt`].
pub(super) async fn link(
    client: &Client,
    table: &Table,
    link: &Link,
) -> Result<Adopted, StoreError> {
    for _ in 0..MAX_TRIES {
        let attempts = Attempts::default();
        let sent = client
            .put_item()
            .table_name(&table.name)
            .set_item(Some(item::encode(link)))
            .condition_expression(OLDER)
            .expression_attribute_values(":version", item::number(link.version.0))
            .customize()
            .interceptor(attempts.clone())
            .send()
            .await;
        match sent {
            Ok(_) => return Ok(Adopted::Written),
            Err(SdkError::ServiceError(error))
                if error.err().is_conditional_check_failed_exception() => {}
            Err(error) => return Err(write_error(table, &error, &attempts)),
        }
        match read::entry(client, table, &link.name).await? {
            Some(Entry::Link(found)) if found == *link && attempts.repeated() => {
                return Ok(Adopted::Written);
            }
            Some(Entry::Link(found)) if found == *link => return Ok(Adopted::Same),
            Some(found) if found.version() >= link.version => return Ok(Adopted::Newer),
            // Of another program.
            Some(_) => return Ok(Adopted::Newer),
            None => {}
        }
    }
    let reason = format!(
        "{table}: other servers keep changing {}",
        link.name.as_str()
    );
    Err(StoreError::Refused(reason))
}

/// See [`crate::store::Store::adopt_entry`]. The number of an entry stays, so taking it over again finds it.
pub(super) async fn entry(
    client: &Client,
    log: &audit::Log,
    entry: &AuditEntry,
) -> Result<Adopted, StoreError> {
    let attempts = Attempts::default();
    let sent = client
        .put_item()
        .table_name(&log.table.name)
        .set_item(Some(audit::encode(entry.id, &entry.event, log.keep)))
        .condition_expression(NEW)
        .expression_attribute_names("#bucket", audit::BUCKET)
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    match sent {
        Ok(_) => return Ok(Adopted::Written),
        Err(SdkError::ServiceError(error))
            if error.err().is_conditional_check_failed_exception() => {}
        Err(error) => return Err(write_error(&log.table, &error, &attempts)),
    }
    let found = log.entry(client, entry.id).await?;
    Ok(match found.is_some_and(|event| event == entry.event) {
        true => Adopted::Same,
        false => Adopted::Newer,
    })
}
