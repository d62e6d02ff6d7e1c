//! The documents of a store that a copy can take along: tokens, and certificates.
//!
//! A document has no version that two stores could compare. So a copy leaves a record in the store that it fills: the hashes
//! of the contents that it has put there. A document that still has one of them was not changed since, and may be replaced;
//! any other is left alone.
//!
//! Not copied are the keys of sessions and of session tickets, and the lease and challenges of orders under way: all of them
//! are made anew, and what depends on them lasts half a day at most.

use std::collections::BTreeMap;

use anyhow::Context;
use ring::digest;
use serde::{Deserialize, Serialize};

use super::With;
use super::reads::insist;
use crate::access::{TOKEN_LIST, TOKEN_USES, Tokens};
use crate::certificates::acme;
use crate::config::Config;
use crate::link::Origin;
use crate::store::{Document, DocumentPut, Store, StoreError};

/// The key of the record.
const RECORD: &str = "store:copied";
/// How many hashes of a document are kept: that of the last copy, and that of the one before, which may have been interrupted.
const HASHES: usize = 2;

/// The contents that copies have put into a store: the hashes of each document, by its key.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Record {
    documents: BTreeMap<String, Vec<String>>,
}

/// A document that is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) key: String,
    /// Whether servers change it all the time, so that a difference says nothing.
    pub(super) changes_by_itself: bool,
}

/// What came of copying a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Copied,
    Same,
    /// There is none to copy.
    None,
    /// The other store has changed it.
    Kept,
}

/// The documents of this configuration that are wanted.
pub(super) fn wanted(config: &Config, with: With) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut add = |key: &str, changes_by_itself| {
        let key = key.to_owned();
        wanted.push(Wanted {
            key,
            changes_by_itself,
        });
    };
    if with.tokens {
        add(TOKEN_LIST, false);
        add(TOKEN_USES, true);
    }
    if with.certificates {
        let zones = config.zones.iter();
        let zones = zones.filter(|zone| zone.redirect_host.is_some());
        let origins: Vec<Origin> = zones
            .filter_map(|zone| Origin::parse(zone.origin.as_str()).ok())
            .collect();
        for key in acme::lasting_documents(&origins) {
            add(&key, false);
        }
    }
    wanted
}

/// Reads a document.
///
/// # Errors
/// The store fails for good.
pub(super) async fn read(store: &dyn Store, key: &str) -> Result<Option<Document>, StoreError> {
    insist(|| store.document(key)).await
}

/// Copies a document, unless the other store has changed its own.
///
/// # Errors
/// A store fails for good, or its record cannot be read.
pub(super) async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    wanted: &Wanted,
) -> anyhow::Result<Outcome> {
    let Some(source) = read(from, &wanted.key).await? else {
        return Ok(Outcome::None);
    };
    let there = read(to, &wanted.key).await?;
    let (kept, mut record) = read_record(to).await?;
    let hashes = record.documents.entry(wanted.key.clone()).or_default();
    let revision = match &there {
        None => None,
        Some(there) if there.content == source.content => return Ok(Outcome::Same),
        Some(there) if hashes.contains(&hash(&there.content)) => Some(there.revision),
        Some(_) => return Ok(Outcome::Kept),
    };
    // Before the document itself: a copy that is interrupted in between must know it again.
    hashes.push(hash(&source.content));
    let surplus = hashes.len().saturating_sub(HASHES);
    hashes.drain(..surplus);
    let text = serde_json::to_vec(&record).context("the record of the copy")?;
    let put = insist(|| to.put_document(RECORD, kept, text.clone())).await?;
    if let DocumentPut::Conflict(_) = put {
        anyhow::bail!("another command copies into the same store; let one of them end first");
    }
    let put = insist(|| to.put_document(&wanted.key, revision, source.content.clone())).await?;
    Ok(match put {
        DocumentPut::Written(_) => Outcome::Copied,
        // A reply was lost, and the first try has put it.
        DocumentPut::Conflict(Some(found)) if found.content == source.content => Outcome::Copied,
        DocumentPut::Conflict(_) => Outcome::Kept,
    })
}

/// Whether two stores have the same content in a document. Always, if servers change it all the time.
///
/// # Errors
/// A store fails for good, or its tokens cannot be read.
pub(super) async fn agree(
    first: &dyn Store,
    second: &dyn Store,
    wanted: &Wanted,
) -> Result<bool, StoreError> {
    if wanted.changes_by_itself {
        return Ok(true);
    }
    let (first, second) = (
        read(first, &wanted.key).await?,
        read(second, &wanted.key).await?,
    );
    let content = |document: Option<Document>| document.map(|document| document.content);
    let (first, second) = (content(first), content(second));
    if first == second || wanted.key != TOKEN_LIST {
        return Ok(first == second);
    }
    // A list without tokens is as good as none.
    let tokens = |content: Option<Vec<u8>>| match content {
        None => Ok(Vec::new()),
        Some(content) => Tokens::in_document(&content),
    };
    Ok(tokens(first)? == tokens(second)?)
}

async fn read_record(store: &dyn Store) -> anyhow::Result<(Option<u64>, Record)> {
    let Some(document) = read(store, RECORD).await? else {
        return Ok((None, Record::default()));
    };
    let record = serde_json::from_slice(&document.content)
        .with_context(|| format!("the document {RECORD} cannot be read; delete it"))?;
    Ok((Some(document.revision), record))
}

fn hash(content: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, content);
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
