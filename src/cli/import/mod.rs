//! `tinyns import`: the links of a DynamoDB table or of a file become links of a running server.
//!
//! ```text
//!   source ── pieces ── Registrar ── outcomes ──┬── report: links with another code, refusals
//!                           │                   ├── counts, state, progress
//!                       admin API               └── summary
//! ```
//!
//! The import is a client of the admin API, as `add` is: the server applies its own rules to each link and
//! serves it at once, and nothing bypasses it to write to the store. An import can be repeated, since existing
//! links are not changed. So an import that ended early can be started again, and with `--state` it continues
//! from the piece that was in progress.
//!
//! No record is lost silently. Each record is counted as one of: made, there already, renamed, merged, skipped,
//! refused. The report names each record whose code is not the code of its link.

pub(super) mod args;
mod columns;
mod encoding;
mod file;
mod piece;
mod record;
mod register;
mod report;
mod rows;
mod source;
mod state;
mod targets;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow, bail};

use self::args::{ImportArgs, ImportCommand, TableArgs};
use self::columns::Layout;
use self::file::{File, Format};
use self::piece::{Piece, Position, check_all_read};
use self::record::Record;
use self::register::{Failed, Registrar};
use self::report::Done;
use self::source::{Pieces, Source, Table};
use self::state::{Ledger, StateFile, Target};
use self::targets::Targets;
use super::api_client::ApiError;
use super::client::Client;
use super::failure::complaint;
use super::outcome::UsageError;
use super::stop::Stop;
use super::transfer::{self, Screen, Server, Stopped};
use crate::base::progress::Progress;
use crate::store::DynamoConfig;
use crate::store::dynamodb::{ForeignTable, ReadError};

/// Imports, reports each record that did not become a link with its own code, and prints the totals.
///
/// # Errors
/// If the import ended early, or a link was refused.
pub(super) fn run(command: ImportCommand, config: Option<&Path>) -> anyhow::Result<()> {
    let (from, args) = match command {
        ImportCommand::Dynamodb { table, import } => (SourceArgs::Table(table), import),
        ImportCommand::Csv {
            file,
            columns,
            delimiter,
            import,
        } => {
            let layout = Layout::new(columns, delimiter);
            let layout = layout.map_err(|error| UsageError(error.to_string()))?;
            (SourceArgs::File(Format::Csv(layout), file), import)
        }
        ImportCommand::Ndjson { file, import } => (SourceArgs::File(Format::Ndjson, file), import),
        ImportCommand::Urls { file, import } => (SourceArgs::File(Format::Urls, file), import),
    };
    let client = Arc::new(Client::new(&args.access, config)?);
    transfer::run(async {
        let mut stop = Stop::new().context("cannot handle signals")?;
        let opened = Import::open(from, &args, client);
        let (mut import, pieces) = transfer::unless_stopped(&mut stop, opened).await?;
        let ended = transfer::unless_stopped(&mut stop, import.work(pieces)).await;
        import.end(ended)
    })
}

/// The source that the command line names.
enum SourceArgs {
    Table(TableArgs),
    File(Format, PathBuf),
}

impl SourceArgs {
    async fn open(self) -> anyhow::Result<Source> {
        Ok(match self {
            Self::File(format, path) => Source::File(File::open(format, &path)?),
            Self::Table(args) => {
                let config = DynamoConfig {
                    table: args.table,
                    region: args.region,
                    endpoint_url: args.endpoint_url.map(String::from),
                    create_table: false,
                    feed: false,
                    audit: None,
                    statistics: None,
                };
                Source::Table(Table {
                    table: ForeignTable::open(&config).await?,
                    name: config.table,
                })
            }
        })
    }
}

/// An import under way.
struct Import {
    registrar: Registrar,
    screen: Screen,
    json: bool,
    /// Whether to print each short URL instead of a report.
    list: bool,
    ledger: Ledger,
    /// The parts whose first piece has not come since the import continued from a state: that piece may have been
    /// sent before the import ended.
    resumed: Vec<usize>,
    file: Option<StateFile>,
}

impl Import {
    /// Connects to the server, opens the source, loads the state, and begins to read.
    async fn open(
        from: SourceArgs,
        args: &ImportArgs,
        client: Arc<Client>,
    ) -> anyhow::Result<(Self, Pieces)> {
        let zones = transfer::ask(&client, |client| client.api.zones(&client.token)).await??;
        let targets = Targets::new(zones, args.zone.as_ref())?;
        let list = matches!(from, SourceArgs::File(Format::Urls, _));
        let source = from.open().await?;
        let file = match &args.state {
            Some(path) => Some(state_file(path, &source, target(args, &client, &targets))?),
            None => None,
        };
        let (ledger, resumed) = resume(&source, file.as_ref())?;
        let offset = match ledger.parts.first() {
            Some(Position::File { offset, .. }) => *offset,
            _ => 0,
        };
        let done = ledger.counts.read;
        let progress = Progress::new(source.extent(), done, offset, Instant::now());
        let screen = Screen::begin("import", progress);
        if let (Some(file), true) = (&file, ledger.counts.read > 0) {
            let state = file.path().display();
            screen.say(&format!("continuing after {done} records, as {state} says"));
        }
        let server = Server::new(client, screen.clone());
        let pieces = source.read(&ledger.parts, &screen);
        let import = Self {
            registrar: Registrar::new(server, screen.clone(), targets, ledger.first_made)
                .with_reserved(args.use_reserved),
            screen,
            json: args.json,
            list,
            ledger,
            resumed,
            file,
        };
        Ok((import, pieces))
    }

    /// Imports piece by piece, to the end.
    async fn work(&mut self, mut pieces: Pieces) -> anyhow::Result<()> {
        while let Some(piece) = pieces.recv().await {
            self.take(piece?).await?;
        }
        check_all_read(&self.ledger.parts)
    }

    /// Imports one piece. It is done when it is reported and the state is saved.
    async fn take(&mut self, piece: Piece) -> anyhow::Result<()> {
        let repeated = self.resumed.contains(&piece.part);
        let all = self.registrar.register(&piece.records, repeated).await?;
        let mut text = String::new();
        let mut counts = self.ledger.counts;
        for (record, done) in piece.records.iter().zip(&all) {
            counts.count(&done.outcome);
            text.extend(self.line(record, done));
        }
        if !text.is_empty() {
            let written = self.screen.write(io::stdout(), text).await?;
            written.context("cannot write the report to standard output")?;
        }
        let at = match &piece.next {
            Position::File { offset, .. } => *offset,
            _ => 0,
        };
        self.resumed.retain(|part| *part != piece.part);
        self.ledger.counts = counts;
        self.ledger.first_made = self.registrar.first_made;
        if let Some(part) = self.ledger.parts.get_mut(piece.part) {
            *part = piece.next;
        }
        self.screen.update(counts.read, at);
        match &self.file {
            Some(file) => file.save(&self.ledger),
            None => Ok(()),
        }
    }

    /// The line of a record on standard output.
    fn line(&self, record: &Record, done: &Done) -> Option<String> {
        if !self.list {
            return report::line(record, &done.outcome, self.json);
        }
        match report::shortened_line(record, done, self.json) {
            Ok(line) => Some(line),
            // Standard output gets short URLs and nothing else.
            Err(refused) => {
                self.screen.say(&refused);
                None
            }
        }
    }

    /// Prints the totals, and how to continue after an early end.
    fn end(self, ended: anyhow::Result<()>) -> anyhow::Result<()> {
        self.screen.end();
        let counts = self.ledger.counts;
        self.screen.say(&counts.to_string());
        ended.map_err(|error| anyhow!("{}{}", complaint(&error), self.advice(&error)))?;
        if let Some(file) = &self.file {
            file.remove()?;
        }
        let why = match self.list {
            true => "see above",
            false => "the report says why",
        };
        match counts.refused {
            0 => Ok(()),
            refused => bail!("refused {refused} of {} links; {why}", counts.read),
        }
    }

    /// How to continue after an early end, appended to its reason. A reason that would end the import again has to
    /// be fixed first.
    fn advice(&self, error: &anyhow::Error) -> String {
        let (passes, state) = (passes(error), self.file.as_ref().map(StateFile::path));
        let how = match (passes, state) {
            (true, Some(state)) => format!(
                "to continue, run the same command again with --state {}",
                state.display()
            ),
            (true, None) => "to continue, run the same command again; it starts from the beginning and does not make \
                             links twice"
                .into(),
            // Nothing was imported yet, so nothing is left to continue.
            (false, _) if self.ledger.counts.read == 0 => return String::new(),
            (false, Some(state)) => format!(
                "fix that, and run the same command again with --state {}",
                state.display()
            ),
            (false, None) => "fix that, and run the same command again; it starts from the beginning and does not make \
                              links twice"
                .into(),
        };
        format!("; the import is not finished: {how}")
    }
}

/// Whether the same import may succeed at another time without any change.
fn passes(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Stopped>()
            || cause.is::<Failed>()
            || cause.downcast_ref().is_some_and(ApiError::may_pass)
            || cause.downcast_ref().is_some_and(ReadError::may_pass)
    })
}

fn target(args: &ImportArgs, client: &Client, targets: &Targets) -> Target {
    Target {
        server: client.api.server().to_string(),
        zone: targets.default().to_string(),
        only: args.zone.is_some(),
    }
}

fn state_file(path: &Path, source: &Source, target: Target) -> anyhow::Result<StateFile> {
    let identity = source.identity()?.ok_or_else(|| {
        anyhow!("--state needs a regular file, which can be read again from the middle")
    })?;
    Ok(StateFile::new(path.into(), identity, target))
}

/// The positions to begin at, and the parts that an earlier run has begun.
fn resume(source: &Source, file: Option<&StateFile>) -> anyhow::Result<(Ledger, Vec<usize>)> {
    let new = Ledger::new(source.beginning());
    let Some(file) = file else {
        return Ok((new, Vec::new()));
    };
    match file.load(new.parts.len())? {
        Some(ledger) => Ok((ledger, (0..new.parts.len()).collect())),
        None => {
            // If the file cannot be written, the import should fail now and not later.
            file.save(&new)?;
            Ok((new, Vec::new()))
        }
    }
}

#[cfg(test)]
mod tests {
    use ureq::http::StatusCode;
    use url::Url;

    use super::*;

    #[test]
    fn only_temporary_errors_advise_a_new_run() {
        let server = Url::parse("http://127.0.0.1:8053/").unwrap();
        let away = || ApiError::TimedOut {
            server: server.clone(),
        };
        let wrong = || ApiError::Refused {
            status: StatusCode::UNAUTHORIZED,
            reason: "no".into(),
            problem: Box::default(),
        };
        assert!(passes(&away().into()));
        assert!(passes(
            &anyhow::Error::new(away()).context("cannot read the table")
        ));
        assert!(!passes(&wrong().into()));
        assert!(!passes(&anyhow!("the header has no column")));
        let gone = io::Error::from(io::ErrorKind::NotFound);
        assert!(!passes(&anyhow::Error::new(gone).context("cannot read x")));
    }
}
