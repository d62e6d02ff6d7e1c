//! `tinyns tokens`: makes, lists and revokes the tokens of people and programs.

use std::path::Path;

use clap::{Args, Subcommand};

use super::access::{AccessArgs, token_environment};
use super::api_client::{ApiError, NewToken, Token};
use super::client::Client;
use super::expires::Expires;
use super::failure::{Failures, Place};
use super::outcome::Exit;
use super::output::{aligned, print, say};
use crate::access::Role;
use crate::base::clock::Clock;
use crate::base::text::one_line;
use crate::link::Origin;

pub(super) const TOKENS_HELP: &str = concat!(
    "\
Examples:
  tinyns tokens add ann --role editor
  tinyns tokens add shop --role editor --zone s.example.com --expires 90d > shop.token
  tinyns tokens add robot --role reader --rate 5
  tinyns tokens list
  tinyns tokens revoke ann

A reader reads links. An editor makes, changes and deletes them as well. An admin manages tokens and
certificates as well. The links of a token show its name as their creator.",
    token_environment!()
);

#[derive(Debug, Subcommand)]
pub(super) enum TokensCommand {
    /// Make a token and print its secret, which is shown only once
    Add(AddArgs),
    /// List the tokens
    List(ListArgs),
    /// Revoke tokens; all servers of the store refuse them within a second
    Revoke(RevokeArgs),
    /// Log everybody out of the page; tokens stay valid
    EndSessions(EndSessionsArgs),
}

#[derive(Debug, Args)]
pub(super) struct EndSessionsArgs {
    /// Print errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The token's name: 1 to 64 letters, digits and . - _ @
    name: String,
    /// What the token allows
    #[arg(long, value_name = "reader|editor|admin")]
    role: Role,
    /// A zone whose links the token allows to use; may be repeated. By default all zones
    #[arg(long = "zone", value_name = "ORIGIN", value_parser = Origin::parse)]
    zones: Vec<Origin>,
    /// When the token ends: an RFC 3339 time, or a time from now such as 90d; by default never
    #[arg(long, value_name = "WHEN")]
    expires: Option<Expires>,
    /// How many requests a second the token may make, 1 to 1000000; by default the rate of the server's configuration
    #[arg(long, value_name = "NUMBER")]
    rate: Option<u32>,
    /// How many requests may come at once, 1 to 1000000; by default 2 seconds of the rate
    #[arg(long, value_name = "NUMBER", requires = "rate")]
    burst: Option<u32>,
    /// Print the JSON of the API, and errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print the JSON of the API, and errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The names of the tokens
    #[arg(required = true)]
    names: Vec<String>,
    /// Print errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

impl TokensCommand {
    /// Whether `--json` was given.
    pub(super) fn is_json(&self) -> bool {
        match self {
            Self::Add(args) => args.json,
            Self::List(args) => args.json,
            Self::Revoke(args) => args.json,
            Self::EndSessions(args) => args.json,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The API refuses it or cannot be reached.
pub(super) fn run(command: TokensCommand, config: Option<&Path>) -> anyhow::Result<Exit> {
    match command {
        TokensCommand::Add(args) => add(&args, config),
        TokensCommand::List(args) => list(&args, config),
        TokensCommand::Revoke(args) => revoke(args, config),
        TokensCommand::EndSessions(args) => end_sessions(&args, config),
    }
}

fn add(args: &AddArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let now = Clock::default().now();
    let expires_at = args.expires.map(|end| end.rfc3339(now)).transpose()?;
    let zones = args.zones.iter().map(Origin::as_str).collect();
    let new = NewToken {
        name: &args.name,
        role: args.role.name(),
        zones: (!args.zones.is_empty()).then_some(zones),
        expires_at: expires_at.as_deref(),
        rate: args.rate,
        burst: args.burst,
    };
    let client = Client::new(&args.access, config)?;
    let (made, json) = client.api.make_token(&client.token, &new)?;
    if args.json {
        print(&format!("{}\n", json.trim_end()))?;
        return Ok(Exit::Done);
    }
    // The secret alone, so that the output can be a token file.
    print(&format!("{}\n", made.token.unwrap_or_default()))?;
    say(&format!(
        "token {} made, role {}, for {}, {}{}; its secret is not shown again",
        made.name,
        made.role,
        zones_of(made.zones.as_deref()),
        match &made.expires_at {
            Some(end) => format!("ends at {}", one_line(end)),
            None => "without an end".into(),
        },
        made.rate.map_or(String::new(), |rate| format!(
            ", at most {rate} requests a second"
        ))
    ));
    Ok(Exit::Done)
}

fn list(args: &ListArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let client = Client::new(&args.access, config)?;
    let (tokens, json) = client.api.tokens(&client.token)?;
    match args.json {
        true => print(&format!("{}\n", json.trim_end()))?,
        false if tokens.is_empty() => {
            say("there are no tokens but the root token; `tinyns tokens add NAME` makes one");
        }
        false => print(&table(&tokens))?,
    }
    Ok(Exit::Done)
}

fn revoke(args: RevokeArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let client = Client::new(&args.access, config)?;
    if let [name] = &args.names[..] {
        client.api.revoke_token(&client.token, name)?;
        return Ok(Exit::Done);
    }
    let wanted = args.names.len();
    let mut failures = Failures::new(args.json);
    for name in args.names {
        match client.api.revoke_token(&client.token, &name) {
            Ok(()) => {}
            Err(error @ ApiError::Refused { .. }) => {
                failures.add(&Place::Argument { argument: name }, &error);
            }
            // The other calls would fail in the same way.
            Err(error) => return Err(error.into()),
        }
    }
    match failures.count() {
        0 => Ok(Exit::Done),
        count => anyhow::bail!("{count} of {wanted} tokens were not revoked; see above"),
    }
}

fn end_sessions(args: &EndSessionsArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let client = Client::new(&args.access, config)?;
    client.api.end_sessions(&client.token)?;
    Ok(Exit::Done)
}

fn zones_of(zones: Option<&[String]>) -> String {
    zones.map_or("all zones".into(), |zones| one_line(&zones.join(", ")))
}

/// The tokens as a table.
fn table(tokens: &[Token]) -> String {
    let header = [
        "NAME",
        "ROLE",
        "ENDS",
        "LAST USED",
        "MADE BY",
        "RATE",
        "ZONES",
    ]
    .map(String::from);
    let row = |token: &Token| {
        let time = |time: &Option<String>| time.as_deref().map_or("never".into(), one_line);
        [
            one_line(&token.name),
            one_line(&token.role),
            time(&token.expires_at),
            time(&token.last_used_at),
            one_line(&token.created_by),
            token
                .rate
                .map_or("default".into(), |rate| format!("{rate}/s")),
            zones_of(token.zones.as_deref()),
        ]
    };
    aligned(std::iter::once(header).chain(tokens.iter().map(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_in_a_table() {
        let json = r#"[{"name":"ann","role":"editor","zones":null,"created_at":"2026-01-01T00:00:00Z",
            "created_by":"admin","expires_at":null,"last_used_at":"2026-01-02T00:00:00Z"},
            {"name":"shop.example","role":"reader","zones":["s.example.com","t.example.com"],
            "created_at":"2026-01-01T00:00:00Z","created_by":"ann","expires_at":"2027-01-01T00:00:00Z",
            "rate":5,"burst":10,"last_used_at":null}]"#;
        let tokens: Vec<Token> = serde_json::from_str(json).unwrap();
        assert_eq!(
            table(&tokens),
            "NAME          ROLE    ENDS                  LAST USED             MADE BY  RATE     ZONES\n\
             ann           editor  never                 2026-01-02T00:00:00Z  admin    default  all zones\n\
             shop.example  reader  2027-01-01T00:00:00Z  never                 ann      5/s      s.example.com, t.example.com\n"
        );
    }
}
