//! The progress of an import, in a file from which the import can continue.
//!
//! The import replaces the file atomically after each piece that is done. So however the import ends, the file
//! has a true state, at worst that of the piece before. The piece in progress is then sent once more, which
//! changes nothing.
//!
//! The state of another source or for another server is refused: to continue from it would silently skip links.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::piece::{Position, SourceIdentity};
use super::report::Counts;
use crate::base::files::{self, read_whole};

/// The version of the file's format.
const FORMAT: u32 = 1;
/// The largest file that is read, in bytes: it holds a position for each part, and a key of DynamoDB has up to
/// 2,048 bytes.
const MAX_LEN: u64 = 256 * 1024;
/// The mode of the file, before the umask.
const MODE: u32 = 0o644;

/// The progress of an import, and the outcomes so far.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    /// The position to continue from in each part of the source.
    pub(super) parts: Vec<Position>,
    pub(super) counts: Counts,
    /// The version of the first link that this import has created.
    pub(super) first_made: Option<u64>,
}

/// Which import the file belongs to.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    tinyns_import: u32,
    source: SourceIdentity,
    target: Target,
}

/// The server and the zone of the links.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// The URL of the admin API.
    pub(super) server: String,
    /// The zone of bare codes.
    pub(super) zone: String,
    /// Whether all links go into that zone.
    pub(super) only: bool,
}

/// The contents of the file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document<H, L> {
    import: H,
    ledger: L,
}

/// The file of a state.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// The file that is written first, and then renamed to `path`.
    draft: PathBuf,
    heading: Heading,
}

impl Ledger {
    /// The state before the first piece.
    pub(super) fn new(parts: Vec<Position>) -> Self {
        Self {
            parts,
            counts: Counts::default(),
            first_made: None,
        }
    }
}

impl StateFile {
    pub(super) fn new(path: PathBuf, source: SourceIdentity, target: Target) -> Self {
        let mut draft = path.clone().into_os_string();
        draft.push(".new");
        let heading = Heading {
            tinyns_import: FORMAT,
            source,
            target,
        };
        Self {
            path,
            draft: draft.into(),
            heading,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file, if it exists; `parts` is the number of parts of the source.
    ///
    /// # Errors
    /// The file cannot be read, or has the state of another import.
    pub(super) fn load(&self, parts: usize) -> anyhow::Result<Option<Ledger>> {
        let shown = self.path.display();
        let text = match read_whole(&self.path, MAX_LEN) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read the state {shown}"));
            }
        };
        let found: Document<Heading, Ledger> = serde_json::from_slice(&text)
            .with_context(|| format!("{shown} is not the state of an import"))?;
        let (old, new) = (&found.import, &self.heading);
        let is_ours = old.tinyns_import == FORMAT && found.ledger.parts.len() == parts;
        for (what, old, new) in [
            ("of", json(&old.source), json(&new.source)),
            ("to", json(&old.target), json(&new.target)),
        ] {
            if old != new {
                bail!(
                    "{shown} is the state of another import, {what} {old} and not {what} {new}; \
                     remove it or name another file"
                );
            }
        }
        if !is_ours {
            bail!(
                "{shown} is the state of an import by another version of tinyns; remove it or name another file"
            );
        }
        Ok(Some(found.ledger))
    }

    /// Replaces the contents of the file.
    pub(super) fn save(&self, ledger: &Ledger) -> anyhow::Result<()> {
        let write = || -> io::Result<()> {
            let document = Document {
                import: &self.heading,
                ledger,
            };
            let bytes = serde_json::to_vec(&document)?;
            files::replace(&self.path, self.draft.clone(), MODE, &bytes)
        };
        write().with_context(|| format!("cannot write the state {}", self.path.display()))
    }

    /// Removes the file.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        fs::remove_file(&self.path)
            .with_context(|| format!("cannot remove the state {}", self.path.display()))
    }
}

/// A value for a message. Texts and numbers always serialise.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path, name: &str, server: &str) -> StateFile {
        let source = SourceIdentity::Table {
            name: name.into(),
            place: "eu-central-1".into(),
        };
        let target = Target {
            server: server.into(),
            zone: "s.example.com".into(),
            only: false,
        };
        StateFile::new(path.into(), source, target)
    }

    fn complaint(file: &StateFile) -> String {
        let complaint = format!("{:#}", file.load(2).unwrap_err());
        complaint.replace(&file.path.display().to_string(), "FILE")
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(&dir.path().join("state"), "tinyUrl", "http://a/");
        assert_eq!(file.load(2).unwrap(), None);
        let mut ledger = Ledger::new(vec![Position::Begin; 2]);
        file.save(&ledger).unwrap();
        assert_eq!(file.load(2).unwrap(), Some(ledger.clone()));
        ledger.parts = vec![Position::Key("aB3\"\n".into()), Position::End];
        ledger.counts.read = 7;
        ledger.first_made = Some(9);
        file.save(&ledger).unwrap();
        assert_eq!(file.load(2).unwrap(), Some(ledger.clone()));
        ledger.parts[0] = Position::File {
            offset: u64::MAX,
            line: 3,
        };
        file.save(&ledger).unwrap();
        assert_eq!(file.load(2).unwrap(), Some(ledger));
        // No other file is left.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        file.remove().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_state_of_another_import_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let ours = file(&path, "tinyUrl", "http://a/");
        ours.save(&Ledger::new(vec![Position::Begin; 2])).unwrap();
        assert_eq!(
            complaint(&file(&path, "other", "http://a/")),
            "FILE is the state of another import, of {\"table\":{\"name\":\"tinyUrl\",\
             \"place\":\"eu-central-1\"}} and not of {\"table\":{\"name\":\"other\",\
             \"place\":\"eu-central-1\"}}; remove it or name another file"
        );
        let said = complaint(&file(&path, "tinyUrl", "http://b/"));
        assert!(said.contains("not to {\"server\":\"http://b/\""), "{said}");
        ours.save(&Ledger::new(vec![Position::Begin; 3])).unwrap();
        let other = "FILE is the state of an import by another version of tinyns; remove it or name another file";
        assert_eq!(complaint(&ours), other);
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("\"tinyns_import\":1", "\"tinyns_import\":2");
        fs::write(&path, text).unwrap();
        assert_eq!(complaint(&ours), other);
        for text in ["", "{}", "x", "{\"import\":{},\"ledger\":{}}"] {
            fs::write(&path, text).unwrap();
            let said = complaint(&ours);
            assert!(said.starts_with("FILE is not the state of an import: "));
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let file = file(Path::new("/proc/nowhere/state"), "tinyUrl", "http://a/");
        assert_eq!(file.load(2).unwrap(), None);
        let said = file.save(&Ledger::new(Vec::new())).unwrap_err().to_string();
        assert_eq!(said, "cannot write the state /proc/nowhere/state");
    }
}
