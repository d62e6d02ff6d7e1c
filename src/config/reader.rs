//! The text of a configuration file, and the faults that were found in it.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;

use super::features::Features;
use super::problem::{ConfigProblem, Fault, Faults};
use crate::base::text::one_line;
use crate::base::toml_text::{column_of, line_of, parse_toml};

/// Knows which line and column a byte of the file is in, and collects what is wrong.
pub(super) struct ConfigReader<'a> {
    pub(super) features: Features,
    text: &'a str,
    path: &'a Path,
    faults: RefCell<Vec<Fault>>,
}

impl<'a> ConfigReader<'a> {
    /// Of the text of a file, for a program with these features; `path` is only for the messages.
    pub(super) fn new(features: Features, text: &'a str, path: &'a Path) -> Self {
        Self {
            features,
            text,
            path,
            faults: RefCell::default(),
        }
    }

    /// The tables of the file. None if a fault of the syntax may have hidden a part of it.
    pub(super) fn table(&self) -> Option<Spanned<DeTable<'a>>> {
        let (table, faults) = parse_toml(self.text);
        for fault in faults {
            let problem = one_line(&fault.what.to_string());
            let problem = ConfigProblem::Toml(problem);
            self.note(fault.at..fault.at, &one_line(&fault.key), problem);
        }
        table
    }

    /// All faults; none where all is well.
    pub(super) fn faults(self) -> Option<Faults> {
        Faults::new(self.faults.into_inner())
    }

    /// Notes that something is wrong.
    pub(super) fn note(&self, span: Range<usize>, key: &str, problem: ConfigProblem) {
        let text = self.text.as_bytes();
        self.faults.borrow_mut().push(Fault {
            file: self.path.into(),
            line: line_of(text, span.start),
            column: column_of(text, span.start),
            key: key.into(),
            problem,
        });
    }

    /// The line of a byte, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        line_of(self.text.as_bytes(), offset)
    }
}
