//! The checks of the start without its effects: reads all files that the server would read, and stops before the server
//! would create a file, bind a socket or connect.

mod addresses;
mod files;

use crate::base::text::with_causes;
use crate::config::Config;
use crate::server::system::privileges::Account;

/// What a check has found, with a line for each finding.
#[derive(Debug, Default)]
pub struct Findings {
    /// What the start would refuse.
    pub errors: Vec<String>,
    /// What would do harm.
    pub warnings: Vec<String>,
    /// What this process could not do. It may run as another user than the server.
    pub hints: Vec<String>,
}

/// Checks what a valid configuration names: zones and their keys, secrets and certificate, the store, the
/// token, the files of Redis and of the query log, addresses, and the user that the server is to become.
pub fn check(config: &Config) -> Findings {
    let mut found = Findings::default();
    found.take(Account::find(&config.process));
    found.secrets(config);
    found.zones(config);
    found.store(config);
    found.token(config);
    found.redis(config);
    found.query_log(config);
    found.countries(config);
    found.routing(config);
    found.addresses(config);
    found
}

impl Findings {
    /// The value; an error is noted, with its causes.
    fn take<T>(&mut self, found: Result<T, impl Into<anyhow::Error>>) -> Option<T> {
        let noted = |error: anyhow::Error| self.errors.push(with_causes(error.as_ref()));
        found.map_err(Into::into).map_err(noted).ok()
    }
}
