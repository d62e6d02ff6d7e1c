//! The files that the server reads and writes.

use std::path::Path;
use std::{fs, iter};

use super::Findings;
use crate::access::AdminToken;
use crate::base::clock::Clock;
use crate::base::environment;
use crate::base::files::{self, is_open_to_others};
use crate::certificates::CertificateFiles;
use crate::config::{Config, HttpsCertificates, HttpsConfig, StoreConfig};
use crate::dns::CookieSecrets;
use crate::dns::query_log::QueryLog;
use crate::dnssec::keys::{KeyRing, KeysError};
use crate::links::{Namespace as _, redis};
use crate::routing::Routing;
use crate::server::TOKEN_VARIABLE;
use crate::server::page::check_host;
use crate::server::routing::{faults, warnings};
use crate::statistics::Countries;
use crate::store::{postgres, sqlite};
use crate::zone::{LoadError, ZoneAdditions, ZoneSet};

impl Findings {
    /// Warns of a file with a secret that others than its owner can read.
    fn exposure(&mut self, file: &Path, secret: &str) {
        if is_open_to_others(file) {
            let file = file.display();
            self.warnings.push(format!(
                "{file}: users other than its owner can read {secret}; set its mode to 0600"
            ));
        }
    }

    /// The zone files, and the keys of signed zones.
    pub(super) fn zones(&mut self, config: &Config) {
        match ZoneSet::load(config.zones.clone()) {
            Ok((zones, warnings)) => {
                let warnings = warnings.iter().map(ToString::to_string);
                self.warnings.extend(warnings.chain(zones.ttls_beyond()));
                self.take(check_host(config.page.host.as_deref(), &zones));
                if let Some(HttpsConfig {
                    certificates: HttpsCertificates::Acme(_),
                    ..
                }) = &config.https
                {
                    self.challenges(&zones);
                }
            }
            Err(error) => self.zone_errors(&error),
        }
        for ring in keys(config) {
            if let Some(ring) = self.take(ring) {
                self.warnings.extend_from_slice(ring.warnings());
            }
        }
    }

    /// Whether the zones can answer the challenges of their certificates.
    fn challenges(&mut self, zones: &ZoneSet) {
        for origin in zones.origins() {
            let additions = ZoneAdditions {
                challenge: true,
                ..zones.additions(&origin)
            };
            if let Err(error) = zones.set_additions(&origin, additions) {
                self.zone_errors(&error);
            }
        }
    }

    fn zone_errors(&mut self, error: &LoadError) {
        let errors = error.errors.iter().map(ToString::to_string);
        self.errors.extend(errors);
    }

    /// The secrets of cookies, and the certificates.
    pub(super) fn secrets(&mut self, config: &Config) {
        if let Some(file) = &config.cookie_secrets {
            self.take(CookieSecrets::load(file));
            self.exposure(file, "the secrets of DNS cookies");
        }
        if let Some(tls) = &config.dns.tls {
            self.certificate(&tls.files, iter::empty());
        }
        if let Some(https) = &config.https {
            let zones = config.zones.iter();
            let zones = zones.filter(|zone| zone.redirect_host.is_some());
            let zones: Vec<_> = zones.map(|zone| zone.origin.to_string()).collect();
            let zones = zones.iter().map(|zone| zone.trim_end_matches('.'));
            match &https.certificates {
                HttpsCertificates::Files(files) => self.certificate(files, zones),
                HttpsCertificates::Acme(settings) => {
                    self.take(settings.check_files());
                    self.exposure(&settings.key_file, "the key that seals private keys");
                }
            }
        }
    }

    /// The database of countries.
    pub(super) fn countries(&mut self, config: &Config) {
        let statistics = config.statistics.as_ref();
        let file = statistics.and_then(|statistics| statistics.country_database.as_deref());
        if let Some(file) = file {
            self.take(Countries::open(file));
        }
    }

    /// The pools of names, and the database of places.
    pub(super) fn routing(&mut self, config: &Config) {
        let Some(routing) = &config.routing else {
            return;
        };
        // Faults of the zones are found elsewhere.
        if let Ok((zones, _)) = ZoneSet::load(config.zones.clone()) {
            let zones = zones.snapshot();
            let faults = faults(routing, &zones).into_iter();
            self.errors.extend(faults.map(|fault| fault.to_string()));
            self.warnings.extend(warnings(routing, &zones));
        }
        self.take(Routing::open(routing.clone()));
    }

    /// A certificate, which should be for the links of these zones.
    fn certificate<'a>(&mut self, files: &CertificateFiles, zones: impl Iterator<Item = &'a str>) {
        let warnings = self.take(files.check(zones, Clock::default().now()));
        let warnings = warnings.unwrap_or_default();
        self.warnings
            .extend(warnings.iter().map(ToString::to_string));
        self.exposure(&files.key, "the certificate's key");
    }

    /// The file of the embedded store, or the password and the certificates for PostgreSQL.
    pub(super) fn store(&mut self, config: &Config) {
        if let StoreConfig::Postgres(config) = &config.store {
            self.take(postgres::check_files(config));
            if let Some(file) = &config.password_file {
                self.exposure(file, "the PostgreSQL password");
            }
        }
        if let StoreConfig::Sqlite { path } = &config.store
            && let Some(Some(missing)) = self.take(sqlite::check_file(path))
        {
            self.warnings.push(format!(
                "{}: the directory {} does not exist; the server would create it, with a new store without \
                 links",
                path.display(),
                missing.display()
            ));
        }
    }

    /// The password and the certificates for Redis.
    pub(super) fn redis(&mut self, config: &Config) {
        if let Some(config) = &config.redis {
            self.take(redis::check(config));
            if let Some(file) = &config.password_file {
                self.exposure(file, "the Redis password");
            }
        }
    }

    /// The file or socket of the query log.
    pub(super) fn query_log(&mut self, config: &Config) {
        if let Some(config) = &config.query_log {
            self.take(QueryLog::check(config));
        }
    }

    /// The admin token: the environment or a file holds it, and the server creates the file if it is missing.
    pub(super) fn token(&mut self, config: &Config) {
        match environment::text(TOKEN_VARIABLE) {
            Ok(None) => {}
            Ok(Some(text)) => {
                let read = AdminToken::from_text(&text);
                let what = "is not a token";
                self.take(read.map_err(|e| anyhow::anyhow!("{TOKEN_VARIABLE} {what}: {e}")));
                return;
            }
            Err(_) => {
                self.errors
                    .push(format!("{TOKEN_VARIABLE} is not UTF-8 text"));
                return;
            }
        }
        let file = &config.admin.token_file;
        if fs::symlink_metadata(file).is_ok() {
            self.take(AdminToken::load(file));
            self.exposure(file, "the token");
            return;
        }
        if let Err(error) = files::check_new(file, true) {
            let file = file.display();
            self.errors.push(format!(
                "the token file {file} does not exist and cannot be created: {error}"
            ));
        }
    }
}

/// The keys of all signed zones.
fn keys(config: &Config) -> impl Iterator<Item = Result<KeyRing, KeysError>> {
    let signed = config
        .zones
        .iter()
        .filter_map(|zone| Some((zone, zone.dnssec.as_ref()?)));
    let now = Clock::default().now();
    signed.map(move |(zone, dnssec)| KeyRing::load(dnssec, &zone.origin, now))
}
