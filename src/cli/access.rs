//! The arguments that name a server and the token for it.

use std::path::PathBuf;

use clap::Args;
use url::Url;

use super::api_client;

/// The end of the help of a command that needs the token.
macro_rules! token_environment {
    () => {
        "

Environment:
  TINYNS_ADMIN_TOKEN  the token; --token-file takes precedence, and the token file of the
                      configuration comes last"
    };
}
pub(super) use token_environment;

/// The admin API, and the file with its token.
#[derive(Debug, Args)]
pub(super) struct AccessArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// A file whose first line is the token of the admin API
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The URL of the admin API; by default that of the configuration
    #[arg(
        long,
        env = "TINYNS_SERVER",
        value_name = "URL",
        value_parser = api_client::parse_server
    )]
    pub(super) server: Option<Url>,
}
