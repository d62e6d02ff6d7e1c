//! The reload: the server reads keys, zone files, secrets and certificates again. Each of them takes effect by
//! itself; on an error the old state stays in use.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::metrics::{Outcome, Reload};
use crate::certificates::{Service, Tls};
use crate::dns::CookieSecrets;
use crate::link::Origin;
use crate::server::blocking::blocking;
use crate::server::https_records::set_https_records;
use crate::server::notices::{log_certificate, log_key_files, log_keys, log_warnings};
use crate::server::routing::{log_database, warn_of_routes};
use crate::server::running::Running;
use crate::server::statistics::log_countries;

impl Running {
    /// Reads everything again that can be read again: the keys of signed zones, the zone files (the new zones are
    /// used only if all of them are valid), the secrets of DNS cookies, the certificate, the files for Redis and for the
    /// store, and the databases of countries and of places.
    /// Logs the outcomes, and returns whether all of them are successes. The query log is opened again, because its
    /// file may have been renamed.
    pub async fn reload(&self) -> bool {
        if let Some(query_log) = &self.query_log {
            query_log.reopen();
        }
        // The keys first: each reload of zones or keys discards the hot answers, and the new zones are to be signed
        // with the new keys.
        let keys_taken = self.reload_keys().await;
        let zones_taken = self.reload_zones().await;
        let secrets_taken = match self.cookie_secrets.clone() {
            Some(file) => self.reload_cookie_secrets(file).await,
            None => true,
        };
        let dns_certificate_taken = match &self.dns_certificate {
            Some(tls) => self.reload_certificate(tls, &[]).await,
            None => true,
        };
        let https_certificate_taken = match &self.https_certificate {
            Some(tls) => {
                let zones = self.links.namespace().origins();
                let is_taken = self.reload_certificate(tls, &zones).await;
                self.measure_own_certificate();
                if set_https_records(&self.zones, tls) {
                    self.handler.zones_replaced();
                }
                is_taken
            }
            None => true,
        };
        let certificates_taken = dns_certificate_taken && https_certificate_taken;
        let redis_taken = self.reload_redis().await;
        let store_taken = self.reload_store().await;
        let countries_taken = self.reload_countries().await;
        let places_taken = self.reload_places().await;
        let services_taken = redis_taken && store_taken && countries_taken && places_taken;
        keys_taken && zones_taken && secrets_taken && certificates_taken && services_taken
    }

    /// Reads the password and the certificates for Redis again, if there are any.
    async fn reload_redis(&self) -> bool {
        let links = self.links.clone();
        match blocking(move || links.reload_redis()).await {
            Ok(true) => {
                tracing::info!(
                    "password or certificates of Redis reloaded: connecting with the new ones"
                );
                true
            }
            Ok(false) => true,
            Err(error) => {
                tracing::error!("{error}");
                tracing::error!(
                    "password and certificates of Redis not reloaded; the old ones stay"
                );
                false
            }
        }
    }

    /// Reads the password and the certificates for the store again, if there are any.
    async fn reload_store(&self) -> bool {
        let store = self.store.clone();
        match blocking(move || store.reload_files()).await {
            Ok(true) => {
                tracing::info!(
                    "password or certificates of the link store reloaded: connecting with the new ones"
                );
                true
            }
            Ok(false) => true,
            Err(error) => {
                tracing::error!("{error}");
                tracing::error!(
                    "password and certificates of the link store not reloaded; the old ones stay"
                );
                false
            }
        }
    }

    /// Reads the database of countries again, if there is one.
    async fn reload_countries(&self) -> bool {
        let Some(countries) = self.countries.clone() else {
            return true;
        };
        let reading = countries.clone();
        let outcome = match blocking(move || reading.reload()).await {
            Ok(()) => {
                log_countries("reloaded", &countries);
                Outcome::Success
            }
            Err(error) => {
                tracing::error!("{error}");
                tracing::error!("database of countries not reloaded; the old state stays in use");
                Outcome::Failure
            }
        };
        let reload = Reload { outcome };
        self.metrics.country_reloads.get_or_create(&reload).inc();
        outcome == Outcome::Success
    }

    /// Reads the database of places again, if there is one. Queries are answered meanwhile. Hot answers stay right: they are
    /// kept by pool, and the place of a client is looked up for each query.
    async fn reload_places(&self) -> bool {
        let Some(routing) = self.routing.clone() else {
            return true;
        };
        let reading = routing.clone();
        let outcome = match blocking(move || reading.reload()).await {
            Ok(false) => return true,
            Ok(true) => {
                log_database("reloaded", &routing, &self.metrics);
                Outcome::Success
            }
            Err(error) => {
                tracing::error!("{error}");
                tracing::error!("database of places not reloaded; the old state stays in use");
                Outcome::Failure
            }
        };
        let reload = Reload { outcome };
        self.metrics.place_reloads.get_or_create(&reload).inc();
        outcome == Outcome::Success
    }

    /// Reads the keys of all signed zones. An error in one zone does not affect the others.
    async fn reload_keys(&self) -> bool {
        let mut taken = true;
        for (origin, signing) in self.zones.signings() {
            let (signing, now) = (Arc::clone(signing), self.links.now());
            match blocking(move || signing.reload(now)).await {
                Ok(()) => {
                    let signing = &self.zones.signings()[origin];
                    log_keys(origin, signing);
                    log_key_files(signing);
                }
                Err(error) => {
                    for line in error.to_string().lines() {
                        tracing::error!("{line}");
                    }
                    tracing::error!(zone = %origin, "keys not reloaded; the old ones sign on");
                    taken = false;
                }
            }
        }
        self.handler.zones_replaced();
        if !self.zones.signings().is_empty() {
            let outcome = match taken {
                true => Outcome::Success,
                false => Outcome::Failure,
            };
            let reload = Reload { outcome };
            self.metrics.dnssec_reloads.get_or_create(&reload).inc();
        }
        taken
    }

    async fn reload_cookie_secrets(&self, file: PathBuf) -> bool {
        let secrets = blocking(move || CookieSecrets::load(&file)).await;
        match secrets {
            Ok(secrets) => {
                tracing::info!(secrets = secrets.count(), "secrets of DNS cookies reloaded");
                self.handler.set_cookie_secrets(secrets);
                true
            }
            Err(error) => {
                tracing::error!("{error}");
                tracing::error!("secrets of DNS cookies not reloaded; the old ones stay");
                false
            }
        }
    }

    /// Reads the certificate of a service again; `zones` are those for whose links it should be.
    async fn reload_certificate(&self, tls: &Arc<Tls>, zones: &[Origin]) -> bool {
        let service = tls.service();
        let reloads = match service {
            Service::Dns => &self.metrics.dns_tls_reloads,
            Service::Https => &self.metrics.https_reloads,
        };
        let (current, tls) = (Arc::clone(tls), Arc::clone(tls));
        let outcome = match blocking(move || tls.reload()).await {
            Ok(is_new) => {
                let what = if is_new { "new" } else { "unchanged" };
                tracing::info!("certificate of {service} reloaded: {what}");
                log_certificate(&current, zones.iter().map(Origin::as_str), self.links.now());
                Outcome::Success
            }
            Err(error) => {
                tracing::error!("{error}");
                tracing::error!("certificate of {service} not reloaded; the old one serves on");
                Outcome::Failure
            }
        };
        let taken = outcome == Outcome::Success;
        reloads.get_or_create(&Reload { outcome }).inc();
        taken
    }

    async fn reload_zones(&self) -> bool {
        let zones = self.zones.clone();
        let before = zones.snapshot();
        let outcome = match tokio::task::spawn_blocking(move || zones.reload()).await {
            Ok(Ok(warnings)) => {
                self.handler.zones_replaced();
                log_warnings(&warnings);
                tracing::info!("zone files reloaded");
                self.warn_of_hidden_links(Some(before));
                if let Some(routing) = &self.routing {
                    warn_of_routes(routing.config(), &self.zones.snapshot());
                }
                Outcome::Success
            }
            Ok(Err(error)) => {
                for line in error.to_string().lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("zone files not reloaded; the old zones serve on");
                Outcome::Failure
            }
            Err(error) => {
                tracing::error!(%error, "zone files not reloaded; the old zones serve on");
                Outcome::Failure
            }
        };
        let taken = outcome == Outcome::Success;
        let reload = Reload { outcome };
        self.metrics.zone_reloads.get_or_create(&reload).inc();
        taken
    }
}
