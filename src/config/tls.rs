//! `[dns.tls]`: where DNS over TLS is served, and with which certificate. Without the section it is not.

use serde::Deserialize;
use toml::Spanned;

use super::TlsConfig;
use super::listen::Seen;
use super::raw::RawListen;
use super::reader::ConfigReader;
use crate::dns::transport::tls::TlsFiles;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, [dns.tls]")]
pub(super) struct RawTls {
    listen: Option<Spanned<RawListen>>,
    certificate: Option<Spanned<String>>,
    key: Option<Spanned<String>>,
}

impl ConfigReader<'_> {
    pub(super) fn tls(&self, raw: Spanned<RawTls>, seen: &mut Seen) -> TlsConfig {
        let section = raw.span();
        let raw = raw.into_inner();
        for (is_there, key) in [
            (raw.listen.is_some(), "listen"),
            (raw.certificate.is_some(), "certificate"),
            (raw.key.is_some(), "key"),
        ] {
            if !is_there {
                self.note_missing(section.clone(), "dns.tls", "[dns.tls]", key);
            }
        }
        let listen = match raw.listen {
            Some(listen) => self.listen_somewhere(Some(listen), "dns.tls.listen", "", seen),
            None => Vec::new(),
        };
        TlsConfig {
            listen,
            files: TlsFiles {
                certificate: self.file(raw.certificate, "dns.tls.certificate", ""),
                key: self.file(raw.key, "dns.tls.key", ""),
            },
        }
    }
}
