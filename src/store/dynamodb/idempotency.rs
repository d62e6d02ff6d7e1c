//! Idempotency keys in the table of links; see [`crate::store::idempotency`].
//!
//! | key | attributes |
//! |---|---|
//! | `tinyns:key:<digest of caller and key>` | `fingerprint` (B), `holder` (S), `lease` (N): epoch seconds, `outcome` (B) once there is one, `expiresAt` |
//! | `tinyns:keys:<digest of caller>:<day>` | `claimed` (N): the weight of the claims on that day, `expiresAt` |
//!
//! No link can have such a key. DynamoDB removes the items by their `expiresAt`, often late, so each read and condition
//! looks at it as well. A claim is one conditional put, and one addition if the key is new. Nothing is deleted, because a
//! role may lack that right.
//!
//! A call whose reply was lost and that the SDK sends again recognises its first attempt by the holder.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure as OnRefusal,
};

use super::failure::{Attempts, store_error, write_error};
use super::item::{EXPIRES_AT, Item, KEY, OWN, number, text};
use super::table::Table;
use crate::base::clock::UnixTime;
use crate::store::StoreError;
use crate::store::idempotency::{Claim, Claimed, DAY, KEPT_FOR, KeyId, LEASE, day, room_for};

const FINGERPRINT: &str = "fingerprint";
const HOLDER: &str = "holder";
const LEASE_END: &str = "lease";
const OUTCOME: &str = "outcome";

/// The key is free, or a request of the same payload has lost it or given it up.
const FREE: &str = "attribute_not_exists(miniUrl) OR expiresAt <= :now OR \
    (attribute_not_exists(outcome) AND lease <= :now AND fingerprint = :fingerprint)";
/// The holder still has the key.
const HELD: &str = "holder = :holder AND attribute_not_exists(outcome)";

fn item_key(id: KeyId) -> AttributeValue {
    text(&format!("{OWN}key:{}", hex(&id.0)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

fn shown(holder: u64) -> AttributeValue {
    text(&format!("{holder:016x}"))
}

/// See [`crate::store::Store::claim_key`].
pub(super) async fn claim(
    client: &Client,
    table: &Table,
    claim: &Claim,
    now: UnixTime,
) -> Result<Claimed, StoreError> {
    let is_new = match put(client, table, claim, now).await? {
        Put::Done { is_new } => is_new,
        Put::Refused(found) => return found_by(claim, &found),
    };
    if is_new && !count(client, table, claim, now).await? {
        give_back(client, table, claim).await?;
        return Ok(Claimed::TooMany);
    }
    Ok(Claimed::Yours)
}

/// The result of putting a claim.
enum Put {
    /// The claim has the key. It is new unless an earlier claim of the same payload has counted.
    Done {
        is_new: bool,
    },
    Refused(Item),
}

async fn put(
    client: &Client,
    table: &Table,
    claim: &Claim,
    now: UnixTime,
) -> Result<Put, StoreError> {
    let item = Item::from([
        (KEY.into(), item_key(claim.id)),
        (FINGERPRINT.into(), bytes(&claim.fingerprint)),
        (HOLDER.into(), shown(claim.holder)),
        (LEASE_END.into(), number(now.after(LEASE).0)),
        (EXPIRES_AT.into(), number(now.after(KEPT_FOR).0)),
    ]);
    let attempts = Attempts::default();
    let sent = client
        .put_item()
        .table_name(&table.name)
        .set_item(Some(item))
        .condition_expression(FREE)
        .expression_attribute_values(":now", number(now.0))
        .expression_attribute_values(":fingerprint", bytes(&claim.fingerprint))
        .return_values(ReturnValue::AllOld)
        .return_values_on_condition_check_failure(OnRefusal::AllOld)
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    let old = match sent {
        Ok(output) => {
            let old = output.attributes.unwrap_or_default();
            let end = whole(&old, EXPIRES_AT).unwrap_or(0);
            let is_new = end <= now.0;
            return Ok(Put::Done { is_new });
        }
        Err(SdkError::ServiceError(error))
            if error.err().is_conditional_check_failed_exception() =>
        {
            match error.into_err() {
                PutItemError::ConditionalCheckFailedException(refused) => refused.item,
                _ => None,
            }
        }
        Err(error) => return Err(write_error(table, &error, &attempts)),
    };
    // DynamoDB Local before 2.0 does not return the item.
    let old = match old {
        Some(old) => Some(old),
        None => read(client, table, claim.id).await?,
    };
    let Some(old) = old else {
        return Err(StoreError::Unavailable(format!(
            "{table}: an idempotency key was removed while it was claimed"
        )));
    };
    match attempts.repeated() && old.get(HOLDER) == Some(&shown(claim.holder)) {
        true => Ok(Put::Done { is_new: true }),
        false => Ok(Put::Refused(old)),
    }
}

/// What a claim finds that does not get the key.
fn found_by(claim: &Claim, found: &Item) -> Result<Claimed, StoreError> {
    let corrupt = |attribute: &str| StoreError::Corrupt {
        name: format!("{OWN}key:{}", hex(&claim.id.0)),
        reason: format!("the attribute {attribute} is missing or of another type"),
    };
    let fingerprint = found.get(FINGERPRINT).and_then(|value| value.as_b().ok());
    let fingerprint = fingerprint.ok_or_else(|| corrupt(FINGERPRINT))?;
    if fingerprint.as_ref() != claim.fingerprint {
        return Ok(Claimed::OtherPayload);
    }
    match found.get(OUTCOME) {
        None => Ok(Claimed::InWork),
        Some(AttributeValue::B(outcome)) => Ok(Claimed::Done(outcome.as_ref().to_vec())),
        Some(_) => Err(corrupt(OUTCOME)),
    }
}

/// Counts a new claim. False if the caller has claimed as much as it may. A call that the SDK sends again may count
/// twice.
async fn count(
    client: &Client,
    table: &Table,
    claim: &Claim,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let Some(room) = room_for(claim.weight) else {
        return Ok(false);
    };
    let day = day(now);
    let key = format!("{OWN}keys:{}:{day}", hex(&claim.caller));
    let end = day.saturating_add(2).saturating_mul(DAY);
    let attempts = Attempts::default();
    let sent = client
        .update_item()
        .table_name(&table.name)
        .key(KEY, text(&key))
        .update_expression("ADD claimed :weight SET expiresAt = :end")
        .condition_expression("attribute_not_exists(claimed) OR claimed <= :room")
        .expression_attribute_values(":weight", number(claim.weight.max(1).into()))
        .expression_attribute_values(":room", number(room.into()))
        .expression_attribute_values(":end", number(end))
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    match sent {
        Ok(_) => Ok(true),
        Err(SdkError::ServiceError(error))
            if error.err().is_conditional_check_failed_exception() =>
        {
            Ok(false)
        }
        Err(error) => Err(write_error(table, &error, &attempts)),
    }
}

/// Frees the key of a claim that is one too many.
async fn give_back(client: &Client, table: &Table, claim: &Claim) -> Result<(), StoreError> {
    // Long ago, so that DynamoDB removes the item soon.
    let values = [(":end", number(1))];
    let freed = update(
        client,
        table,
        (claim.id, claim.holder),
        "SET expiresAt = :end",
        &values,
    );
    freed.await.map(drop)
}

/// See [`crate::store::Store::extend_key`].
pub(super) async fn extend(
    client: &Client,
    table: &Table,
    id: KeyId,
    holder: u64,
    until: UnixTime,
) -> Result<bool, StoreError> {
    let values = [(":until", number(until.0))];
    update(client, table, (id, holder), "SET lease = :until", &values).await
}

/// See [`crate::store::Store::keep_outcome`].
pub(super) async fn keep(
    client: &Client,
    table: &Table,
    (id, holder): (KeyId, u64),
    outcome: Vec<u8>,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let values = [
        (":outcome", AttributeValue::B(Blob::new(outcome))),
        (":end", number(now.after(KEPT_FOR).0)),
    ];
    let change = "SET outcome = :outcome, expiresAt = :end";
    update(client, table, (id, holder), change, &values).await
}

/// Changes the item of a key that the holder still has. False if it does not.
async fn update(
    client: &Client,
    table: &Table,
    (id, holder): (KeyId, u64),
    change: &str,
    values: &[(&str, AttributeValue)],
) -> Result<bool, StoreError> {
    let attempts = Attempts::default();
    let mut request = client
        .update_item()
        .table_name(&table.name)
        .key(KEY, item_key(id))
        .update_expression(change)
        .condition_expression(HELD)
        .expression_attribute_values(":holder", shown(holder));
    for (name, value) in values {
        request = request.expression_attribute_values(*name, value.clone());
    }
    let sent = request.customize().interceptor(attempts.clone()).send();
    match sent.await {
        Ok(_) => return Ok(true),
        Err(SdkError::ServiceError(error))
            if error.err().is_conditional_check_failed_exception() => {}
        Err(error) => return Err(write_error(table, &error, &attempts)),
    }
    if !attempts.repeated() {
        return Ok(false);
    }
    // The first attempt may have kept the outcome. Only the holder can have done that.
    let found = read(client, table, id).await?.unwrap_or_default();
    Ok(found.get(HOLDER) == Some(&shown(holder)))
}

async fn read(client: &Client, table: &Table, id: KeyId) -> Result<Option<Item>, StoreError> {
    let get = client.get_item().table_name(&table.name);
    let get = get.key(KEY, item_key(id)).consistent_read(true);
    let output = get.send().await.map_err(|e| store_error(table, &e))?;
    Ok(output.item)
}

/// The value of an attribute that is a whole number.
fn whole(item: &Item, attribute: &str) -> Option<u64> {
    item.get(attribute)?.as_n().ok()?.parse().ok()
}
