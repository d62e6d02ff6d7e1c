//! The arguments that name a server and the token for it.

use std::path::PathBuf;

use clap::Args;
use url::Url;

use super::api_client;

/// Where the admin API is, and what opens it.
#[derive(Debug, Args)]
pub(super) struct AccessArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// A file whose first line is the admin API's token
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The admin API; without it the one of the configuration
    #[arg(
        long,
        env = "TINYNS_SERVER",
        value_name = "URL",
        value_parser = api_client::parse_server
    )]
    pub(super) server: Option<Url>,
}
