//! Making links: all creations that wait at the same time are one statement.
//!
//! The statement reads the live links of the names, and puts the new ones, with their entries of the audit log. A row that
//! another transaction has put in the meantime is met by the unique index; the statement waits for that transaction, and
//! then puts nothing over a live link. Such a name is asked about again.
//!
//! A new link gets a version above that of the row that it replaces, above the tombstone of its name, and above the version
//! floor. If a deletion was committed while the statement waited for it, the statement has not seen that tombstone. Then the
//! trigger ends the statement, and it is sent again.
//!
//! Names are put in their order, so that two batches with the same names wait for each other and do not end in a deadlock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tokio_postgres::types::ToSql;

use super::audit::Log;
use super::connect::Connection;
use super::failure::Fault;
use super::link_columns::{LinkColumns, Written};
use super::row::{decode_at, link_columns};
use crate::link::{Link, LinkName, Version};
use crate::store::audit::{Action, Facts};
use crate::store::columns::integer;
use crate::store::{Created, NewLink, StoreError, seconds};

/// How many creations go into one statement.
pub(super) const MAX_BATCH: usize = 256;
/// How often names are tried that others change at the same time.
const MAX_ROUNDS: usize = 20;

/// `$1` to `$13` are the columns of the new links, each as an array; `$14` says whether there is an audit log, and `$15` to
/// `$19` are the columns of its entries. `IS TRUE` keeps the planner from making a join of `IN`, which would compare each name
/// with each other one: sessions have no hash joins, so that plans are good for tables of any size.
const CREATE: &str = concat!(
    "WITH new AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], \
       $6::bigint[], $7::int[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[], \
       $13::text[], $15::bigint[], $16::text[], $17::text[], $18::text[]) AS n \
       (origin, code, url, created_at, created_by, expires_at, ttl, now, title, tags, note, withheld, \
        destinations, at, address, request_id, facts)), \
     put AS (INSERT INTO link AS l \
       (origin, code, url, created_at, created_by, expires_at, ttl, version, title, tags, note, withheld, \
        destinations) \
       SELECT n.origin, n.code, n.url, n.created_at, n.created_by, n.expires_at, n.ttl, \
         greatest(n.now, s.version_floor + 1, t.version + 1, o.version + 1), n.title, n.tags::jsonb, n.note, n.withheld, \
         n.destinations \
       FROM new n CROSS JOIN store s \
       LEFT JOIN tombstone t ON t.origin = n.origin AND t.code = n.code \
       LEFT JOIN link o ON o.origin = n.origin AND o.code = n.code \
       WHERE o.code IS NULL OR o.expires_at <= n.created_at \
       ORDER BY n.origin, n.code \
       ON CONFLICT (origin, code) DO UPDATE SET url = excluded.url, created_at = excluded.created_at, \
         created_by = excluded.created_by, expires_at = excluded.expires_at, ttl = excluded.ttl, \
         version = greatest(excluded.version, l.version + 1), title = excluded.title, tags = excluded.tags, \
         note = excluded.note, withheld = excluded.withheld, destinations = excluded.destinations \
         WHERE l.expires_at <= excluded.created_at \
       RETURNING ",
    link_columns!(),
    "), entered AS (INSERT INTO audit (at, actor, address, request_id, action, zone, code, after) \
       SELECT n.at, n.created_by, n.address, n.request_id, $19, n.origin, n.code, n.facts FROM new n \
       WHERE $14 AND ((n.origin, n.code) IN (SELECT p.origin, p.code FROM put p)) IS TRUE) \
     SELECT true, p.origin, p.code, p.url, p.created_at, p.created_by, p.expires_at, p.ttl, p.version, p.title, p.tags, \
       p.note, p.withheld, p.destinations FROM put p \
     UNION ALL SELECT false, ",
    link_columns!(),
    " FROM new n JOIN link l ON l.origin = n.origin AND l.code = n.code \
     WHERE l.expires_at IS NULL OR l.expires_at > n.created_at"
);

/// A creation that waits.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) new: NewLink,
    pub(super) now_micros: u64,
}

/// Makes links, each as [`crate::store::Store::create`] does; the results are in their order.
///
/// # Errors
/// A fault is one of all of them. If it is not certain, any of them may have been made.
pub(super) async fn create(
    connection: &Connection,
    log: Log,
    wanted: &[Wanted],
) -> Result<Vec<Result<Created, StoreError>>, Fault> {
    let mut results: Vec<Option<Result<Created, StoreError>>> = vec![None; wanted.len()];
    for _ in 0..MAX_ROUNDS {
        // Of several that want the same name, the first one is first.
        let mut round: HashMap<&LinkName, usize> = HashMap::new();
        for (i, result) in results.iter().enumerate() {
            if result.is_none()
                && let Entry::Vacant(free) = round.entry(&wanted[i].new.name)
            {
                free.insert(i);
            }
        }
        if round.is_empty() {
            break;
        }
        let mut chosen: Vec<usize> = round.values().copied().collect();
        chosen.sort_unstable();
        let batch: Vec<&Wanted> = chosen.iter().map(|i| &wanted[*i]).collect();
        let found = put(connection, log, &batch).await?;
        for (i, result) in results.iter_mut().enumerate() {
            if result.is_none() {
                *result = outcome(
                    &wanted[i],
                    found.get(&wanted[i].new.name),
                    round.get(&wanted[i].new.name) == Some(&i),
                );
            }
        }
    }
    let contended = || {
        let text = "other programs change the same link all the time";
        Err(StoreError::Throttled(text.into()))
    };
    let results = results.into_iter();
    Ok(results
        .map(|result| result.unwrap_or_else(contended))
        .collect())
}

/// What has become of a creation; none if it has to be tried again. `is_put` says whether it was in the statement.
fn outcome(
    wanted: &Wanted,
    found: Option<&Result<(bool, Link), StoreError>>,
    is_put: bool,
) -> Option<Result<Created, StoreError>> {
    match found? {
        Err(error) => Some(Err(error.clone())),
        Ok((true, link)) if is_put => Some(Ok(Created::New(link.clone()))),
        Ok((_, link)) if link.is_expired(seconds(wanted.now_micros)) => None,
        Ok((_, link)) if link.leads_to(&wanted.new.target, wanted.new.destinations.as_deref()) => {
            Some(Ok(Created::Same(link.clone())))
        }
        Ok((_, link)) => Some(Ok(Created::Taken(link.clone()))),
    }
}

/// One statement for links of different names. Returns the link of each name, and whether it was made now.
async fn put(
    connection: &Connection,
    log: Log,
    batch: &[&Wanted],
) -> Result<HashMap<LinkName, Result<(bool, Link), StoreError>>, Fault> {
    let mut columns = Columns::default();
    for wanted in batch {
        columns.push(wanted, log)?;
    }
    let statement = connection.prepare(CREATE).await?;
    let (is_kept, action) = (log.is_kept(), Action::LinkCreated.name());
    let mut parameters = columns.links.parameters().to_vec();
    let entries: [&(dyn ToSql + Sync); 6] = [
        &is_kept,
        &columns.at,
        &columns.address,
        &columns.request_id,
        &columns.facts,
        &action,
    ];
    parameters.extend(entries);
    let rows = connection.client.query(&statement, &parameters).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let is_new: bool = row.try_get(0)?;
        match decode_at(row, 1) {
            Ok(link) => drop(found.insert(link.name.clone(), Ok((is_new, link)))),
            Err(bad) => {
                if let Some(name) = bad.name.clone() {
                    found.insert(name, Err(bad.into()));
                }
            }
        }
    }
    Ok(found)
}

/// The new links and their entries, column by column.
#[derive(Default)]
struct Columns<'a> {
    links: LinkColumns<'a>,
    at: Vec<i64>,
    address: Vec<Option<String>>,
    request_id: Vec<Option<&'a str>>,
    facts: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, wanted: &'a Wanted, log: Log) -> Result<(), StoreError> {
        let Wanted { new, now_micros } = wanted;
        let version = Version::next(None, *now_micros).0;
        self.links.push(Written::new(new, version, *now_micros))?;
        self.at.push(integer(now_micros / 1_000)?);
        let by = &new.created_by;
        self.address
            .push(by.address.map(|address| address.to_string()));
        self.request_id.push(by.request_id.as_deref());
        let facts = log.is_kept().then(|| facts(new, *now_micros));
        self.facts.push(facts);
        Ok(())
    }
}

/// The state of a new link for the audit log.
fn facts(new: &NewLink, now_micros: u64) -> String {
    let link = Link {
        name: new.name.clone(),
        target: new.target.clone(),
        destinations: new.destinations.clone(),
        created_at: seconds(now_micros),
        created_by: new.created_by.name.clone(),
        expires_at: new.expires_at,
        ttl: new.ttl,
        about: new.about.clone(),
        withheld: new.withheld.clone(),
        version: Version(0),
    };
    Facts::of_link(&link).as_str().to_owned()
}
