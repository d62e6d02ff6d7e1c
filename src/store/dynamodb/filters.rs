//! The board of filters; see [`crate::store::filters`].
//!
//! | key | attributes |
//! |---|---|
//! | `tinyns:filters:<region>` | `lease:<server>` (N) and `posts:<server>` (N): the numbers |
//! | `tinyns:filter-names:<server>:<slot>` | `number` (N), `names` (S): a line for each; `expiresAt` |
//!
//! No link can have such a key. The region is that of AWS. The replicas of a global table are separate places here: each
//! region has filters of its own, and two regions that change one item at the same time would undo each other's changes.
//!
//! The register has no `expiresAt`, so DynamoDB keeps it. A number only grows, so a request that the network delivers late
//! sets nothing back. Nothing is deleted, because a role may lack that right.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;

use super::failure::store_error;
use super::item::{EXPIRES_AT, Item, KEY, OWN, number as numeric, text};
use super::table::Table;
use crate::link::LinkName;
use crate::store::StoreError;
use crate::store::filters::{FilterBoard, KEPT_POSTS, Register};

const LEASE: &str = "lease:";
const POSTS: &str = "posts:";
/// How long DynamoDB keeps a post at least, in seconds: far longer than any server may need it, whatever its clock says.
const POST_LIFE: u64 = 24 * 60 * 60;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Filters {
    pub(super) reads: Client,
    pub(super) writes: Client,
    pub(super) table: Table,
    /// The region of AWS.
    pub(super) region: String,
}

impl Filters {
    fn register_key(&self) -> String {
        format!("{OWN}filters:{}", self.region)
    }

    /// Changes an attribute of the register on a condition; it is no error if the condition does not hold.
    async fn update(
        &self,
        attribute: String,
        (expression, condition): (&str, &str),
        number: u64,
    ) -> Result<(), StoreError> {
        let update = self.writes.update_item().table_name(&self.table.name);
        let sent = update
            .key(KEY, text(&self.register_key()))
            .update_expression(expression)
            .condition_expression(condition)
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":n", numeric(number))
            .send();
        match sent.await {
            Err(SdkError::ServiceError(error))
                if error.err().is_conditional_check_failed_exception() =>
            {
                Ok(())
            }
            sent => sent.map(drop).map_err(|e| store_error(&self.table, &e)),
        }
    }

    async fn raise(&self, attribute: String, number: u64) -> Result<(), StoreError> {
        let change = ("SET #a = :n", "attribute_not_exists(#a) OR #a < :n");
        self.update(attribute, change, number).await
    }

    async fn remove(&self, attribute: String, number: u64) -> Result<(), StoreError> {
        self.update(attribute, ("REMOVE #a", "#a = :n"), number)
            .await
    }

    async fn read(&self, key: &str) -> Result<Option<Item>, StoreError> {
        let get = self.reads.get_item().table_name(&self.table.name);
        let sent = get.key(KEY, text(key)).consistent_read(true).send().await;
        Ok(sent.map_err(|e| store_error(&self.table, &e))?.item)
    }
}

fn post_key(id: &str, number: u64) -> String {
    format!("{OWN}filter-names:{id}:{}", number % KEPT_POSTS)
}

fn number_in(item: &Item, attribute: &str) -> Option<u64> {
    item.get(attribute)?.as_n().ok()?.parse().ok()
}

/// The register in an item.
fn decode(item: &Item) -> Register {
    let mut register = Register::default();
    for attribute in item.keys() {
        let Some(number) = number_in(item, attribute) else {
            continue;
        };
        if let Some(id) = attribute.strip_prefix(LEASE) {
            register.leases.push((id.into(), number));
        } else if let Some(id) = attribute.strip_prefix(POSTS) {
            register.posts.push((id.into(), number));
        }
    }
    register
}

/// The names of a post; none if it is another one, or cannot be read.
fn decode_post(item: &Item, number: u64) -> Option<Vec<LinkName>> {
    let names = item.get("names")?.as_s().ok()?;
    if number_in(item, "number")? != number {
        return None;
    }
    let names = names.lines().map(|line| LinkName::parse(line).ok());
    names.collect()
}

#[async_trait]
impl FilterBoard for Filters {
    async fn register(&self) -> Result<Register, StoreError> {
        let item = Box::pin(self.read(&self.register_key())).await?;
        Ok(item.as_ref().map(decode).unwrap_or_default())
    }

    async fn lease(&self, id: &str, number: u64) -> Result<(), StoreError> {
        Box::pin(self.raise(format!("{LEASE}{id}"), number)).await
    }

    async fn end_lease(&self, id: &str, number: u64) -> Result<(), StoreError> {
        Box::pin(self.remove(format!("{LEASE}{id}"), number)).await
    }

    async fn post(&self, id: &str, number: u64, names: &[LinkName]) -> Result<(), StoreError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let until = now.map_or(0, |now| now.as_secs()) + POST_LIFE;
        let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
        let item = Item::from([
            (KEY.into(), text(&post_key(id, number))),
            ("number".into(), numeric(number)),
            ("names".into(), text(&lines)),
            (EXPIRES_AT.into(), numeric(until)),
        ]);
        let put = self.writes.put_item().table_name(&self.table.name);
        let sent = Box::pin(put.set_item(Some(item)).send()).await;
        sent.map_err(|e| store_error(&self.table, &e))?;
        Box::pin(self.raise(format!("{POSTS}{id}"), number)).await
    }

    async fn posted(&self, id: &str, number: u64) -> Result<Option<Vec<LinkName>>, StoreError> {
        let item = Box::pin(self.read(&post_key(id, number))).await?;
        Ok(item.and_then(|item| decode_post(&item, number)))
    }

    async fn end_posts(&self, id: &str, number: u64) -> Result<(), StoreError> {
        Box::pin(self.remove(format!("{POSTS}{id}"), number)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_register_has_the_numbers_and_nothing_else_counts() {
        let item = Item::from([
            (KEY.into(), text("tinyns:filters:eu-central-1")),
            ("lease:a1".into(), numeric(7)),
            ("posts:b2".into(), numeric(3)),
            ("lease:c3".into(), text("x")),
            ("other".into(), numeric(1)),
        ]);
        let register = decode(&item);
        assert_eq!(register.leases, [("a1".into(), 7)]);
        assert_eq!(register.posts, [("b2".into(), 3)]);
    }

    #[test]
    fn a_post_is_read_only_under_its_own_number() {
        let item = |names: &str| {
            Item::from([
                ("number".into(), numeric(70)),
                ("names".into(), text(names)),
            ])
        };
        let names = ["a.s.example.com", "b.s.example.com"];
        let names: Vec<_> = names.map(|n| LinkName::parse(n).unwrap()).into();
        let written = item("a.s.example.com\nb.s.example.com\n");
        assert_eq!(decode_post(&written, 70), Some(names));
        assert_eq!(decode_post(&written, 6), None, "of the same slot");
        assert_eq!(decode_post(&item("a b\n"), 70), None);
        assert_eq!(post_key("x", 6), post_key("x", 70));
    }
}
