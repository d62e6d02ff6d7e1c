//! `tinyns health`: the state of a running server, for health checks.

use std::path::Path;

use clap::Args;

use super::access::ServerArgs;
use super::api_client::Api;
use super::client::admin_url;
use super::configuration::load;
use super::outcome::Exit;
use super::output::print;

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Fail unless the server also accepts changes of links
    #[arg(long)]
    pub(super) changes: bool,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Asks for the state of the server, and prints it if the server is healthy.
pub(super) fn run(args: HealthArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let server = match args.server.server {
        Some(server) => server,
        None => admin_url(&load(config)?)?,
    };
    let readiness = Api::new(server).readiness()?;
    anyhow::ensure!(readiness.is_well(args.changes), "{readiness}");
    print(&format!("{readiness}\n"))?;
    Ok(Exit::Done)
}
