//! Where an import is, in a file, so that it can go on from there.
//!
//! It is written after each piece that is wholly done, and as a whole: beside its place and then
//! moved there. So whatever ends the import, the file has some true state, at the worst that of the
//! piece before. What was done of the piece under way is done once more, and changes nothing then.
//!
//! The state of another source or for another server is refused. To go on with it would pass over
//! links that nobody has taken over, and nothing would tell.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::piece::{Identity, Position};
use super::report::Counts;
use crate::base::files::{self, read_whole};

/// What the file is; another number is another program's.
const FORMAT: u32 = 1;
/// The largest file that is read, in bytes: there is little in it, but the keys of DynamoDB have up
/// to 2,048 bytes.
const MAX_LEN: u64 = 256 * 1024;
/// The mode of the file, less what the umask takes.
const MODE: u32 = 0o644;

/// Where an import is, and what became of what it has read.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    /// Where each part of the source goes on.
    pub(super) parts: Vec<Position>,
    pub(super) counts: Counts,
    /// The version of the first link that this import has made.
    pub(super) first_made: Option<u64>,
}

/// Which import it is.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    tinyns_import: u32,
    source: Identity,
    target: Target,
}

/// Where the links go.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// The URL of the admin API.
    pub(super) server: String,
    /// The zone of bare codes.
    pub(super) zone: String,
    /// Whether links go into that zone alone.
    pub(super) only: bool,
}

/// What the file has.
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
    /// Beside it, so that it can be moved there.
    draft: PathBuf,
    heading: Heading,
}

impl Ledger {
    /// Nothing is done yet.
    pub(super) fn new(parts: Vec<Position>) -> Self {
        Self {
            parts,
            counts: Counts::default(),
            first_made: None,
        }
    }
}

impl StateFile {
    pub(super) fn new(path: PathBuf, source: Identity, target: Target) -> Self {
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

    /// What the file has, if it is there.
    ///
    /// # Errors
    /// Where it cannot be read, or has the state of another import than of one in so many parts.
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
        if old.tinyns_import != FORMAT {
            bail!("{shown} is the state of an import by another version of tinyns");
        }
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
        if found.ledger.parts.len() != parts {
            bail!("{shown} is the state of an import by another version of tinyns");
        }
        Ok(Some(found.ledger))
    }

    /// Replaces what the file has.
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

/// For a message; texts and numbers always serialise.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path, name: &str, server: &str) -> StateFile {
        let source = Identity::Table {
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
    fn a_state_comes_back_as_it_was() {
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
        // Nothing else is left lying about.
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
        let other = "FILE is the state of an import by another version of tinyns";
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
    fn a_file_that_cannot_be_written_is_told_of() {
        let file = file(Path::new("/proc/nowhere/state"), "tinyUrl", "http://a/");
        assert_eq!(file.load(2).unwrap(), None);
        let said = file.save(&Ledger::new(Vec::new())).unwrap_err().to_string();
        assert_eq!(said, "cannot write the state /proc/nowhere/state");
    }
}
