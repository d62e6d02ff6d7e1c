//! The engine's documents in the store: their keys, their encoding, and conditional puts.
//!
//! | document | content | sealed |
//! |---|---|---|
//! | `acme:account` | the accounts, one for each directory | yes |
//! | `acme:certificate:<origin>` | the certificate in use and its key | yes |
//! | `acme:order:<origin>` | the order under way and the key of its certificate; `null` if there is none | yes |
//! | `acme:challenge:<origin>` | the values of the challenge, and until when they are answered | no |
//! | `acme:state:<origin>` | attempts, the last failure, when the next attempt is due | no |
//! | `acme:lease` | which server orders, and until when | no |
//!
//! All of them are JSON. A put names the revision that it replaces, so a server that lost the lease without knowing
//! it overwrites nothing that its successor has put.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::failure::{Failure, FailureKind};
use super::seal::SealingKey;
use crate::link::Origin;
use crate::store::audit::Event;
use crate::store::{DocumentPut, Store, StoreError};

/// How long a call of the store may take.
const STORE_TIME: Duration = Duration::from_secs(10);

/// A kind of document, with its key and whether it is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    Account,
    Certificate(&'a Origin),
    Order(&'a Origin),
    State(&'a Origin),
    Lease,
}

impl Name<'_> {
    fn is_sealed(self) -> bool {
        match self {
            Self::Account | Self::Certificate(_) | Self::Order(_) => true,
            Self::State(_) | Self::Lease => false,
        }
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account => f.write_str("acme:account"),
            Self::Certificate(origin) => write!(f, "acme:certificate:{origin}"),
            Self::Order(origin) => write!(f, "acme:order:{origin}"),
            Self::State(origin) => write!(f, "acme:state:{origin}"),
            Self::Lease => f.write_str("acme:lease"),
        }
    }
}

/// The keys of the documents that another store needs in order to go on with the certificates of these zones: the account,
/// the certificates, the orders under way, and when the next attempts are due.
pub fn lasting_documents(origins: &[Origin]) -> Vec<String> {
    let of_zones = origins.iter().flat_map(|origin| {
        [
            Name::Certificate(origin),
            Name::Order(origin),
            Name::State(origin),
        ]
    });
    let all = [Name::Account].into_iter().chain(of_zones);
    all.map(|name| name.to_string()).collect()
}

/// A document that was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Read<T> {
    /// None if there is no such document.
    pub(super) revision: Option<u64>,
    pub(super) value: Option<T>,
}

/// Why a document was not put.
#[derive(Debug)]
pub(super) enum NotPut {
    /// Another server has put it since it was read.
    Conflict,
    Failure(Failure),
}

/// The documents of a store.
#[derive(Debug)]
pub(super) struct Documents {
    pub(super) store: Arc<dyn Store>,
    pub(super) key: SealingKey,
}

impl Documents {
    /// Reads a document.
    ///
    /// # Errors
    /// A [`Failure`] of the store, or of the document in it.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        name: Name<'_>,
    ) -> Result<Read<T>, Failure> {
        let key = name.to_string();
        let found = in_time(self.store.document(&key)).await?;
        let Some(document) = found else {
            return Ok(Read {
                revision: None,
                value: None,
            });
        };
        let content = match name.is_sealed() {
            true => self
                .key
                .open(&key, &document.content)
                .map_err(|error| Failure::sealed(&error))?,
            false => document.content,
        };
        let value = serde_json::from_slice(&content).map_err(|error| {
            let reason = format!("the document {key:?} in the store is damaged: {error}");
            Failure::new(FailureKind::Store, reason)
        })?;
        Ok(Read {
            revision: Some(document.revision),
            value: Some(value),
        })
    }

    /// Puts a document in place of this revision, and returns the new one.
    ///
    /// # Errors
    /// [`NotPut`] says whether another server was first.
    pub(super) async fn put<T: Serialize + Sync>(
        &self,
        name: Name<'_>,
        expected: Option<u64>,
        value: &T,
    ) -> Result<u64, NotPut> {
        self.put_noting(name, expected, value, None).await
    }

    /// The same, together with an entry of the audit log.
    ///
    /// # Errors
    /// As for [`Documents::put`].
    pub(super) async fn put_noting<T: Serialize + Sync>(
        &self,
        name: Name<'_>,
        expected: Option<u64>,
        value: &T,
        event: Option<Event>,
    ) -> Result<u64, NotPut> {
        let key = name.to_string();
        let failed = |reason: String| NotPut::Failure(Failure::new(FailureKind::Store, reason));
        let mut content = serde_json::to_vec(value).map_err(|error| failed(error.to_string()))?;
        if name.is_sealed() {
            let sealed = self.key.seal(&key, &content);
            content = sealed.map_err(|error| failed(error.to_string()))?;
        }
        let put = self
            .store
            .put_document_noting(&key, expected, content, event);
        match in_time(put).await.map_err(NotPut::Failure)? {
            DocumentPut::Written(revision) => Ok(revision),
            DocumentPut::Conflict(_) => Err(NotPut::Conflict),
        }
    }
}

pub(super) async fn in_time<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, Failure> {
    let called = timeout(STORE_TIME, call).await;
    let called = called.unwrap_or(Err(StoreError::DeadlineExceeded));
    called.map_err(|error| Failure::store(&error))
}
