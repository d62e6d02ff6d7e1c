//! The account at the directory: registered once, shared by all servers of the store.

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::documents::{Documents, Name, NotPut, Read};
use super::failure::{Failure, FailureKind};
use super::http::DirectoryClient;
use super::protocol::{failure, patiently};
use super::settings::AcmeSettings;
use super::zones::AccountFacts;

/// The most directories whose accounts are kept: those that an operator changes between.
const MAX_ACCOUNTS: usize = 8;

/// The document `acme:account`.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Accounts {
    accounts: Vec<Entry>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    directory: String,
    uri: String,
    contact: Vec<String>,
    issuers: Vec<String>,
    /// URI and private key, as instant-acme writes them.
    credentials: Value,
}

/// An account that can be used.
#[derive(Clone)]
pub(super) struct Registered {
    entry: Entry,
    client: DirectoryClient,
}

impl Accounts {
    /// The facts about the account at a directory, if it is registered.
    pub(super) fn facts(&self, directory: &str) -> Option<AccountFacts> {
        self.find(directory).map(Entry::facts)
    }

    fn find(&self, directory: &str) -> Option<&Entry> {
        let mut accounts = self.accounts.iter();
        accounts.find(|entry| entry.directory == directory)
    }
}

impl Entry {
    fn facts(&self) -> AccountFacts {
        AccountFacts {
            uri: self.uri.clone(),
            issuers: self.issuers.clone(),
        }
    }
}

impl Registered {
    pub(super) fn facts(&self) -> AccountFacts {
        self.entry.facts()
    }

    /// Opens the account for one order, with a client of its own, and reads the directory.
    pub(super) async fn open(&self) -> Result<(Account, DirectoryClient), Failure> {
        let client = self.client.apart();
        let account = open(&self.entry, &client).await?;
        Ok((account, client))
    }
}

/// The account at the directory of the settings: registers it if the store has none, and updates it if the contacts
/// have changed.
///
/// # Errors
/// A [`Failure`] of the directory, the account or the store.
pub(super) async fn ensure(
    documents: &Documents,
    settings: &AcmeSettings,
    external: Option<&ExternalAccountKey>,
    client: &DirectoryClient,
) -> Result<Registered, Failure> {
    let Read { revision, value } = documents.read::<Accounts>(Name::Account).await?;
    let mut accounts = value.unwrap_or_default();
    let known = accounts.find(&settings.directory).cloned();
    let entry = match known.clone() {
        Some(entry) => update(entry, settings, client).await?,
        None => register(settings, external, client).await?,
    };
    if known.as_ref() != Some(&entry) {
        let others = |other: &Entry| other.directory != entry.directory;
        accounts.accounts.retain(others);
        accounts.accounts.insert(0, entry.clone());
        accounts.accounts.truncate(MAX_ACCOUNTS);
        let put = documents.put(Name::Account, revision, &accounts).await;
        put.map_err(|error| match error {
            NotPut::Failure(failure) => failure,
            NotPut::Conflict => {
                let reason = "another server has changed the account at the same time";
                Failure::new(FailureKind::Store, reason)
            }
        })?;
    }
    Ok(Registered {
        entry,
        client: client.clone(),
    })
}

/// Forgets the account with this URI, which the directory does not know any more; [`ensure`] then registers a new one.
/// Returns whether the store had it.
pub(super) async fn forget(documents: &Documents, uri: &str) -> Result<bool, Failure> {
    let Read { revision, value } = documents.read::<Accounts>(Name::Account).await?;
    let Some(mut accounts) = value else {
        return Ok(false);
    };
    let before = accounts.accounts.len();
    accounts.accounts.retain(|entry| entry.uri != uri);
    if accounts.accounts.len() == before {
        return Ok(false);
    }
    match documents.put(Name::Account, revision, &accounts).await {
        Ok(_) => Ok(true),
        Err(NotPut::Conflict) => Ok(false),
        Err(NotPut::Failure(failure)) => Err(failure),
    }
}

async fn open(entry: &Entry, client: &DirectoryClient) -> Result<Account, Failure> {
    let credentials: AccountCredentials = serde_json::from_value(entry.credentials.clone())
        .map_err(|error| Failure::new(FailureKind::Store, format!("the account: {error}")))?;
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let opened = builder.from_credentials(credentials).await;
    opened.map_err(|error| failure(FailureKind::Account, &error, client))
}

async fn update(
    mut entry: Entry,
    settings: &AcmeSettings,
    client: &DirectoryClient,
) -> Result<Entry, Failure> {
    let account = open(&entry, client).await?;
    if entry.contact != settings.contact {
        let contact: Vec<_> = settings.contact.iter().map(String::as_str).collect();
        patiently!(account.update_contacts(&contact))
            .map_err(|error| failure(FailureKind::Account, &error, client))?;
        tracing::info!(account = entry.uri, "contacts of the ACME account updated");
        entry.contact.clone_from(&settings.contact);
    }
    if let Some(directory) = client.directory() {
        entry.issuers = directory.meta.caa_identities;
    }
    Ok(entry)
}

async fn register(
    settings: &AcmeSettings,
    external: Option<&ExternalAccountKey>,
    client: &DirectoryClient,
) -> Result<Entry, Failure> {
    let contact: Vec<_> = settings.contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: settings.accept_terms,
        only_return_existing: false,
    };
    let created = patiently!(Account::builder_with_http(Box::new(client.clone())).create(
        &new,
        settings.directory.clone(),
        external
    ));
    let (account, credentials) = created.map_err(|error| {
        let mut failure = failure(FailureKind::Account, &error, client);
        let meta = client.directory().unwrap_or_default().meta;
        if failure.kind == FailureKind::Account
            && meta.external_account_required
            && external.is_none()
        {
            failure.reason += "; the directory requires https.acme.external_account";
        }
        failure
    })?;
    let directory = client.directory().unwrap_or_default();
    tracing::info!(
        directory = settings.directory,
        account = account.id(),
        terms = directory.meta.terms_of_service.as_deref(),
        "ACME account registered"
    );
    let credentials = serde_json::to_value(&credentials)
        .map_err(|error| Failure::new(FailureKind::Account, error.to_string()))?;
    Ok(Entry {
        directory: settings.directory.clone(),
        uri: account.id().into(),
        contact: settings.contact.clone(),
        issuers: directory.meta.caa_identities,
        credentials,
    })
}
