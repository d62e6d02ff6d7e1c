//! `tinyns servers`: the live servers that share the store.

use std::path::Path;

use clap::Args;

use super::access::{AccessArgs, token_environment};
use super::api_client::Server;
use super::client::Client;
use super::outcome::Exit;
use super::output::{aligned, print, say};
use crate::base::text::one_line;

pub(super) const SERVERS_HELP: &str = concat!(
    "\
Examples:
  tinyns servers                              name, region, version, lag and start of each server
  tinyns servers --json | jq -r '.servers[] | select(.lag_seconds > 5).name'

LAG is how long ago the server that responds applied the first change that the other one has not
announced as applied. A server that stops is gone at once, a killed one after 5 seconds. The command
needs a token with the role admin.",
    token_environment!()
);

#[derive(Debug, Args)]
pub(super) struct ServersArgs {
    /// Print the JSON of the API, and errors as JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// Prints the servers.
///
/// # Errors
/// The API refuses the call or cannot be reached.
pub(super) fn run(args: &ServersArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let client = Client::new(&args.access, config)?;
    let (list, json) = client.api.servers(&client.token)?;
    if args.json {
        print(&format!("{}\n", json.trim_end()))?;
        return Ok(Exit::Done);
    }
    print(&table(&list.servers))?;
    if let Some(problem) = &list.problem {
        say(&format!(
            "there may be other servers: {}",
            one_line(problem)
        ));
    }
    Ok(Exit::Done)
}

/// The servers as a table.
fn table(servers: &[Server]) -> String {
    let header = ["NAME", "REGION", "VERSION", "LAG", "STARTED"].map(String::from);
    let row = |server: &Server| {
        let lag = match server.this {
            true => "this server".into(),
            false => format!("{:.3} s", server.lag_seconds),
        };
        let text = |text: &str| one_line(text);
        [
            text(&server.name),
            text(&server.region),
            text(&server.version),
            lag,
            text(&server.started_at),
        ]
    };
    aligned(std::iter::once(header).chain(servers.iter().map(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_in_a_table() {
        let json = r#"[{"name":"ns1","region":"eu","version":"0.1.0","started_at":"2026-01-01T00:00:00Z",
            "this":true,"lag_seconds":0.0},
            {"name":"ns2\u001b","region":"us-east","version":"0.2.0","started_at":"2026-01-02T00:00:00Z",
            "this":false,"lag_seconds":0.25}]"#;
        let servers: Vec<Server> = serde_json::from_str(json).unwrap();
        assert_eq!(
            table(&servers),
            "NAME       REGION   VERSION  LAG          STARTED\n\
             ns1        eu       0.1.0    this server  2026-01-01T00:00:00Z\n\
             ns2\\u{1b}  us-east  0.2.0    0.250 s      2026-01-02T00:00:00Z\n"
        );
    }
}
