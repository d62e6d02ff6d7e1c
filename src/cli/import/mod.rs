//! `tinyns import`: links of the article's table, or of a file, become links of a running server.
//!
//! ```text
//!   source ── pieces ── Registrar ── outcomes ──┬── report: what is not as it was
//!                           │                   ├── counts, state, progress
//!                       admin API               └── summary
//! ```
//!
//! It is a client of the admin API, as `add` is: the server judges each link by its own rules and
//! knows of it at once, and no store is written to past it. All of it can be repeated: what is
//! there already is left as it is. So an import that ended early, however that was, is started
//! again, and with `--state` it goes on from the piece that was under way.
//!
//! No record is lost in silence. Each one is counted as one of: made, there already, renamed,
//! merged, skipped, refused; and those that are not to be found under their own code are told one
//! by one.

mod file;
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

use self::file::{File, Format};
use self::register::Registrar;
use self::source::{Piece, Pieces, Position, Source, Table, check_all_read};
use self::state::{Ledger, StateFile, Target};
use self::targets::Targets;
use super::links::Client;
use super::serve::Stop;
use super::transfer::{self, Screen, Server};
use super::{ImportArgs, ImportCommand, TableArgs, complaint};
use crate::progress::Progress;
use crate::store::DynamoConfig;
use crate::store::dynamodb::ForeignTable;

/// Imports, tells what became of each record that is not as it was, and at the end of all.
///
/// # Errors
/// Where it ended early, and where a link was refused.
pub(super) fn run(command: ImportCommand, config: Option<&Path>) -> anyhow::Result<()> {
    let (from, args) = match command {
        ImportCommand::Dynamodb { table, import } => (From::Table(table), import),
        ImportCommand::Csv { file, import } => (From::File(Format::Csv, file), import),
        ImportCommand::Ndjson { file, import } => (From::File(Format::Ndjson, file), import),
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

/// What is to be read.
enum From {
    Table(TableArgs),
    File(Format, PathBuf),
}

impl From {
    async fn open(self) -> anyhow::Result<Source> {
        Ok(match self {
            Self::File(format, path) => Source::File(File::open(format, &path)?),
            Self::Table(args) => {
                let config = DynamoConfig {
                    table: args.table,
                    region: args.region,
                    endpoint_url: args.endpoint_url.map(String::from),
                    create_table: false,
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
    ledger: Ledger,
    /// The parts of which a first piece is still to come, since a state was taken up: that piece
    /// may have been under way when the state was left.
    resumed: Vec<usize>,
    file: Option<StateFile>,
}

impl Import {
    /// Finds server, source and state, and begins to read.
    async fn open(
        from: From,
        args: &ImportArgs,
        client: Arc<Client>,
    ) -> anyhow::Result<(Self, Pieces)> {
        let zones = transfer::ask(&client, |client| client.api.zones(&client.token)).await??;
        let targets = Targets::new(zones, args.zone.as_ref())?;
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
            screen.say(&format!("going on after {done} records, as {state} says"));
        }
        let server = Server::new(client, screen.clone());
        let pieces = source.read(&ledger.parts, &screen);
        let import = Self {
            registrar: Registrar::new(server, screen.clone(), targets, ledger.first_made),
            screen,
            json: args.json,
            ledger,
            resumed,
            file,
        };
        Ok((import, pieces))
    }

    /// Takes over piece by piece, to the end.
    async fn work(&mut self, mut pieces: Pieces) -> anyhow::Result<()> {
        while let Some(piece) = pieces.recv().await {
            self.take(piece?).await?;
        }
        check_all_read(&self.ledger.parts)
    }

    /// Takes over one piece. It is done when all of it is told and the state is saved.
    async fn take(&mut self, piece: Piece) -> anyhow::Result<()> {
        let repeated = self.resumed.contains(&piece.part);
        let outcomes = self.registrar.register(&piece.records, repeated).await?;
        let mut text = String::new();
        let mut counts = self.ledger.counts;
        for (record, outcome) in piece.records.iter().zip(&outcomes) {
            counts.count(outcome);
            text.extend(report::line(record, outcome, self.json));
        }
        if !text.is_empty() {
            let told = self.screen.write(io::stdout(), text).await?;
            told.context("cannot write the report to standard output")?;
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

    /// Says what became of all.
    fn end(self, ended: anyhow::Result<()>) -> anyhow::Result<()> {
        self.screen.end();
        let counts = self.ledger.counts;
        self.screen.say(&counts.to_string());
        ended.map_err(|error| anyhow!("{}; {}", complaint(&error), self.advice()))?;
        if let Some(file) = &self.file {
            file.remove()?;
        }
        match counts.refused {
            0 => Ok(()),
            refused => bail!(
                "refused {refused} of {} links; the report says why",
                counts.read
            ),
        }
    }

    /// How to go on after an import that ended early.
    fn advice(&self) -> String {
        let how = match &self.file {
            Some(file) => format!("with the same --state {}", file.path().display()),
            None => "from the beginning; what is there already is not made twice".into(),
        };
        format!("the import is not finished: to go on, start it again {how}")
    }
}

fn target(args: &ImportArgs, client: &Client, targets: &Targets) -> Target {
    Target {
        server: client.api.server().to_string(),
        zone: targets.default().to_string(),
        only: args.zone.is_some(),
    }
}

fn state_file(path: &Path, source: &Source, target: Target) -> anyhow::Result<StateFile> {
    let identity = source
        .identity()?
        .ok_or_else(|| anyhow!("--state needs a file that can be read again from the middle"))?;
    Ok(StateFile::new(path.into(), identity, target))
}

/// Where to begin, and the parts that were begun before.
fn resume(source: &Source, file: Option<&StateFile>) -> anyhow::Result<(Ledger, Vec<usize>)> {
    let new = Ledger::new(source.beginning());
    let Some(file) = file else {
        return Ok((new, Vec::new()));
    };
    match file.load(new.parts.len())? {
        Some(ledger) => Ok((ledger, (0..new.parts.len()).collect())),
        None => {
            // Where it cannot be written it is better to know now.
            file.save(&new)?;
            Ok((new, Vec::new()))
        }
    }
}
