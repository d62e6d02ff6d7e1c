//! The arguments that name a server and the token for it.

use std::path::PathBuf;

use clap::Args;
use url::Url;

use super::api_client;
use crate::link::Origin;

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

/// What commands about links have in common.
#[derive(Debug, Args)]
pub(super) struct ClientArgs {
    /// The zone of the link; by default the server's first zone
    #[arg(long, value_name = "ORIGIN", value_parser = Origin::parse)]
    pub(super) zone: Option<Origin>,
    /// Print links, and errors, as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) access: AccessArgs,
}

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
