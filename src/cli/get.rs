//! `tinyns get`: one link.

use std::path::Path;

use clap::Args;

use super::access::{ClientArgs, token_environment};
use super::client::Client;
use super::link_ref::LinkRef;
use super::outcome::{Exit, UsageError};
use super::output::print;
use super::shown;

pub(super) const GET_HELP: &str = concat!(
    "\
Examples:
  tinyns get gh7k2m9x
  tinyns get gh7k2m9x.s.example.com
  tinyns get http://gh7k2m9x.s.example.com/",
    token_environment!()
);

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The link: its code, full name or short URL
    pub(super) link: LinkRef,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

/// Looks up a link, and prints it.
pub(super) fn run(args: GetArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let zone = args.link.zone(args.client.zone);
    let zone = zone.map_err(|error| UsageError(error.to_string()))?;
    let client = Client::new(&args.client.access, config)?;
    let answer = client
        .api
        .get(&client.token, zone.as_ref(), &args.link.code)?;
    print(&match args.client.json {
        true => shown::json(&answer),
        false => shown::link(&answer, client.dns),
    })?;
    Ok(Exit::Done)
}
