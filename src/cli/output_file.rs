//! The file of `-o FILE`. It gets its name only once it is complete, since a reader could not tell that it is cut
//! short.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::base::files::Draft;

/// The mode of a new file, before the umask.
const MODE: u32 = 0o666;

/// A device or a pipe, or a draft that becomes the file once it is complete.
pub(super) struct OutputFile {
    /// What to write to.
    pub(super) file: Arc<File>,
    draft: Option<Draft>,
}

impl OutputFile {
    /// Opens the file, or a draft of it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        // Anything but a regular file is written to directly: a file must not replace /dev/null. Of a
        // symbolic link, the file that it points to is replaced.
        let draft = match fs::metadata(path) {
            Ok(about) if !about.is_file() => None,
            _ => {
                let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
                let mut draft = path.clone().into_os_string();
                draft.push(".new");
                let made = Draft::create(&path, draft.into(), MODE);
                Some(made.with_context(|| format!("cannot write {}", path.display()))?)
            }
        };
        let (draft, opened) = match draft {
            Some(mut draft) => {
                let file = draft.file().try_clone();
                (Some(draft), file)
            }
            None => (None, File::options().write(true).open(path)),
        };
        let file = opened.with_context(|| format!("cannot write {}", path.display()))?;
        let file = Arc::new(file);
        Ok(Self { file, draft })
    }

    /// Gives the file its name. If this is not called, a draft is removed.
    ///
    /// # Errors
    /// The error of the system.
    pub(super) fn keep(self) -> anyhow::Result<()> {
        let Some(draft) = self.draft else {
            return Ok(());
        };
        let path = draft.path().display().to_string();
        draft
            .replace()
            .with_context(|| format!("cannot write {path}"))
    }

    /// Whether the file is a draft.
    #[cfg(test)]
    pub(super) fn is_draft(&self) -> bool {
        self.draft.is_some()
    }
}
