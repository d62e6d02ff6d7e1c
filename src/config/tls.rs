//! `[dns.tls]`: where DNS over TLS is served, and with which certificate. Without the section it is not.

use serde::Deserialize;
use toml::Spanned;

use super::TlsConfig;
use super::listen::Seen;
use super::problem::{ConfigError, Problem};
use super::raw::RawListen;
use super::reader::Reader;
use crate::dns::tls::TlsFiles;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [dns.tls]")]
pub(super) struct RawTls {
    listen: Option<Spanned<RawListen>>,
    certificate: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
}

impl Reader<'_> {
    pub(super) fn tls(
        &self,
        raw: Spanned<RawTls>,
        seen: &mut Seen,
    ) -> Result<TlsConfig, ConfigError> {
        let section = raw.span();
        let raw = raw.into_inner();
        let missing = |key| {
            let part = "[dns.tls]";
            self.error(section.clone(), "dns.tls", Problem::Missing { part, key })
        };
        let listen = raw.listen.ok_or_else(|| missing("listen"))?;
        let certificate = raw.certificate.ok_or_else(|| missing("certificate"))?;
        let key = raw.key.ok_or_else(|| missing("key"))?;
        let span = listen.span();
        let listen = self.listen(Some(listen), "dns.tls.listen", "", seen)?;
        if listen.is_empty() {
            return Err(self.error(span, "dns.tls.listen", Problem::NoAddress));
        }
        Ok(TlsConfig {
            listen,
            files: TlsFiles {
                certificate: self.file(Some(certificate), "dns.tls.certificate", "")?,
                key: self.file(Some(key), "dns.tls.key", "")?,
            },
        })
    }
}
