//! `[https.acme]`: where the server gets certificates by itself.

use std::path::{Path, PathBuf};

use toml::Spanned;
use url::Url;

use super::problem::ConfigProblem;
use super::section::{Section, is_word};
use super::store::StoreConfig;
use crate::certificates::acme::{AcmeSettings, ExternalAccount};

const DIRECTORY: &str = "directory";
const CONTACT: &str = "contact";
const ACCEPT_TERMS: &str = "accept_terms";
const KEY_FILE: &str = "key_file";
const KEY_ID: &str = "key_id";

/// The name of the key file beside the file of the embedded store.
const DEFAULT_KEY_FILE: &str = "certificates.key";
/// The most contacts, which is more than any directory keeps.
const MAX_CONTACTS: usize = 16;
/// The longest URL, name of a profile, and identifier of an account, in bytes.
const MAX_TEXT_LEN: usize = 1_024;
const DNS_PORT: u16 = 53;

/// None if something was noted without which there are no settings.
pub(super) fn acme(section: &Section<'_>, store: &StoreConfig) -> Option<AcmeSettings> {
    let directory = section.parsed(DIRECTORY, directory);
    if directory.is_none() {
        section.note_missing(DIRECTORY);
    }
    let contact = contacts(section);
    let accept_terms = section.optional_flag(ACCEPT_TERMS);
    if accept_terms != Some(true) && (accept_terms.is_some() || !section.mentions(ACCEPT_TERMS)) {
        section.note(ACCEPT_TERMS, ConfigProblem::Terms);
    }
    let ca_file = section.optional_file("ca_file");
    let external_account = section.optional("external_account", external_account);
    let profile = section.parsed("profile", |text| {
        let is_good = (1..=MAX_TEXT_LEN).contains(&text.len()) && is_word(text, "_-.");
        let problem = || ConfigProblem::Profile(text.into());
        is_good.then(|| text.into()).ok_or_else(problem)
    });
    let (key_file, create_key_file) = key_file(section, store);
    Some(AcmeSettings {
        directory: directory?,
        contact,
        accept_terms: accept_terms?,
        ca_file,
        external_account,
        profile,
        key_file,
        create_key_file,
        check_name_servers: section.flag("check_nameservers", true),
        name_server_port: section.number("nameserver_port", 1..=u16::MAX, "", DNS_PORT),
    })
}

/// The key file, and whether the server makes it. Servers that share a store have to share the key as well, so none of
/// them may make one of its own.
fn key_file(section: &Section<'_>, store: &StoreConfig) -> (PathBuf, bool) {
    match store {
        StoreConfig::Sqlite { path } => {
            let beside = path.parent().unwrap_or(Path::new(""));
            let file = section.optional_file(KEY_FILE);
            (file.unwrap_or_else(|| beside.join(DEFAULT_KEY_FILE)), true)
        }
        StoreConfig::DynamoDb(_) | StoreConfig::Postgres(_) => {
            (section.required_file(KEY_FILE), false)
        }
    }
}

/// The URL in its normal form: the client for HTTP knows only ASCII, and no blanks.
fn directory(text: &str) -> Result<String, ConfigProblem> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= MAX_TEXT_LEN);
    url.filter(|url| url.scheme() == "https" && url.has_host())
        .map(String::from)
        .ok_or_else(|| ConfigProblem::Directory(text.into()))
}

/// E-mail addresses, and other URLs.
fn contacts(section: &Section<'_>) -> Vec<String> {
    let texts = section.texts(
        CONTACT,
        "an e-mail address or a list of e-mail addresses, as strings",
    );
    let texts = texts.unwrap_or_default();
    if texts.len() > MAX_CONTACTS {
        let problem = ConfigProblem::too_many(texts.len(), "contacts", MAX_CONTACTS);
        section.note(CONTACT, problem);
        return Vec::new();
    }
    let read = |text: Spanned<&str>| {
        let read = contact(text.get_ref());
        if read.is_none() {
            let problem = ConfigProblem::Contact((*text.get_ref()).into());
            section.note_at(text.span(), CONTACT, problem);
        }
        read
    };
    texts.into_iter().filter_map(read).collect()
}

fn contact(text: &str) -> Option<String> {
    let is_plain = text.len() <= MAX_TEXT_LEN && text.bytes().all(|byte| byte.is_ascii_graphic());
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    match address.split_once('@') {
        // RFC 8555 §7.3: one address, without header fields.
        Some((user, host)) if !user.is_empty() && !host.is_empty() => {
            let is_one = !address.contains([',', '?', ':']);
            (is_plain && is_one).then(|| format!("mailto:{address}"))
        }
        _ => {
            let is_url = is_plain && !text.starts_with("mailto:") && Url::parse(text).is_ok();
            is_url.then(|| text.into())
        }
    }
}

fn external_account(section: &Section<'_>) -> ExternalAccount {
    let key_id = section.parsed(KEY_ID, |text| match text.len() {
        1..=MAX_TEXT_LEN => Ok(text.into()),
        _ => Err(ConfigProblem::KeyId { max: MAX_TEXT_LEN }),
    });
    if key_id.is_none() {
        section.note_missing(KEY_ID);
    }
    ExternalAccount {
        key_id: key_id.unwrap_or_default(),
        key_file: section.required_file(KEY_FILE),
    }
}
