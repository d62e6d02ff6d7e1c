//! The notices of servers that are cut off from Redis; see [`crate::store::notice`].

use super::connect::Connection;
use super::failure::Fault;
use crate::base::clock::UnixTime;
use crate::store::columns::integer;
use crate::store::{Notice, StoreError};

const POST: &str = "INSERT INTO notice (node, number, changes, until) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (node) DO UPDATE SET number = $2, changes = $3, until = $4";
const WITHDRAW: &str = "DELETE FROM notice WHERE node = $1";
const READ: &str = "SELECT node, number, changes, until FROM notice LIMIT 1000";

pub(super) async fn post(connection: &Connection, notice: &Notice) -> Result<(), Fault> {
    let (number, until) = (integer(notice.number)?, integer(notice.until.0)?);
    let changes = notice.changes.as_ref().map(|_| notice.to_text());
    let statement = connection.prepare(POST).await?;
    connection
        .client
        .execute(&statement, &[&&*notice.node, &number, &changes, &until])
        .await?;
    Ok(())
}

pub(super) async fn withdraw(connection: &Connection, node: &str) -> Result<(), Fault> {
    let statement = connection.prepare(WITHDRAW).await?;
    connection.client.execute(&statement, &[&node]).await?;
    Ok(())
}

pub(super) async fn read(connection: &Connection) -> Result<Vec<Notice>, Fault> {
    let statement = connection.prepare(READ).await?;
    let rows = connection.client.query(&statement, &[]).await?;
    let mut notices = Vec::with_capacity(rows.len());
    for row in &rows {
        let node: &str = row.try_get(0)?;
        let corrupt = |reason: &str| StoreError::Corrupt {
            name: format!("notice of {node}"),
            reason: reason.into(),
        };
        let positive =
            |number: i64| u64::try_from(number).map_err(|_| corrupt("a negative number"));
        let changes: Option<&str> = row.try_get(2)?;
        let changes = changes.map(|text| {
            Notice::read_text(text).ok_or_else(|| corrupt("its changes are no names and versions"))
        });
        notices.push(Notice {
            node: node.into(),
            number: positive(row.try_get(1)?)?,
            changes: changes.transpose()?,
            until: UnixTime(positive(row.try_get(3)?)?),
        });
    }
    Ok(notices)
}
