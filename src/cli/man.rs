//! `tinyns man`: the man pages, one for each command, from the same text as `--help`.
//!
//! A package runs this once when it is built and installs the files, so the command is hidden. The pages have no date,
//! so that two builds of a package have the same bytes.
//!
//! clap_mangen writes the sections that all commands have. The text below the options of `--help` has blocks of two
//! kinds: a heading with indented lines becomes a section, and other text becomes part of the description. The lines of
//! examples stay as they are. Other sections are lists of terms and what they mean.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The heading of the section that comes last.
const EXAMPLES: &str = "EXAMPLES";

pub(super) const MAN_HELP: &str = "\
Examples:
  mkdir -p man && tinyns man man && man -l man/tinyns.1

The directory must exist. The files are tinyns.1, tinyns-add.1 and so on, and replace those of the
same name.";

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The directory
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
}

/// Writes the man pages.
pub(super) fn run(args: ManArgs, all: Command) -> anyhow::Result<()> {
    let mut all = all.disable_help_subcommand(true);
    // Gives the commands their full names and the global options.
    all.build();
    let directory = &args.directory;
    write_pages(&all, directory)
        .with_context(|| format!("cannot write the man pages into {}", directory.display()))
}

/// Writes the page of a command, and those of the commands below it.
fn write_pages(command: &Command, directory: &Path) -> io::Result<()> {
    for below in visible(command) {
        write_pages(below, directory)?;
    }
    let source = concat!("tinyns ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source);
    fs::write(directory.join(man.get_filename()), page(command, &man)?)
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    let all = command.get_subcommands();
    all.filter(|command| !command.is_hide_set())
}

fn page(command: &Command, man: &Man) -> io::Result<Vec<u8>> {
    let help = command.get_after_help().map(ToString::to_string);
    let (prose, mut sections) = parts(help.as_deref().unwrap_or_default());
    sections.sort_by_key(|(heading, _)| heading == EXAMPLES);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    page.extend(synopsis(man)?);
    man.render_description_section(&mut page)?;
    described(&prose).to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if visible(command).next().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    for (heading, lines) in &sections {
        let section = match heading == EXAMPLES {
            true => examples(heading, lines),
            false => terms(heading, lines),
        };
        section.to_writer(&mut page)?;
    }
    Ok(page)
}

/// The section with the usage, flush left: groff cannot stretch a line that is one long group of options, and warns.
fn synopsis(man: &Man) -> io::Result<Vec<u8>> {
    let mut section = b".ad l\n".to_vec();
    man.render_synopsis_section(&mut section)?;
    section.extend(b".ad b\n");
    Ok(section)
}

/// The paragraphs of a help text, and its sections, each with its heading.
fn parts(help: &str) -> (Vec<&str>, Vec<(String, Vec<&str>)>) {
    let (mut prose, mut sections) = (Vec::new(), Vec::new());
    for block in help.split("\n\n") {
        let heading = block.split_once(":\n").filter(|(heading, below)| {
            !heading.contains('\n') && below.lines().all(|line| line.starts_with("  "))
        });
        match heading {
            Some((heading, below)) => {
                let lines = below
                    .lines()
                    .map(|line| line.strip_prefix("  ").unwrap_or(line));
                sections.push((conventional(heading), lines.collect()));
            }
            None if block.is_empty() => {}
            None => prose.push(block),
        }
    }
    (prose, sections)
}

/// The heading that man pages have for this one (man-pages(7)).
fn conventional(heading: &str) -> String {
    match heading {
        "Exit codes" => "EXIT STATUS".into(),
        other => other.to_uppercase(),
    }
}

fn described(prose: &[&str]) -> Roff {
    let mut roff = Roff::new();
    for paragraph in prose {
        roff.control("PP", []).text([roman(*paragraph)]);
    }
    roff
}

/// A section of terms. A term ends at two blanks or at the end of its line, and lines that begin with blanks continue
/// the line before.
fn terms(heading: &str, lines: &[&str]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for line in lines {
        let meaning = match line.split_once("  ") {
            Some(("", continued)) => continued,
            Some((term, meaning)) => {
                roff.control("TP", []).text([bold(term)]);
                meaning
            }
            None => {
                roff.control("TP", []).text([bold(*line)]);
                continue;
            }
        };
        roff.text([roman(meaning.trim())]);
    }
    roff
}

/// A section whose lines are not filled.
fn examples(heading: &str, lines: &[&str]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]).control("nf", []);
    for line in lines {
        roff.text([roman(*line)]);
    }
    roff.control("fi", []);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_help_text() {
        let help = "Examples:\n  a -b\n  c  d\n\nProse of\ntwo lines: no heading.\n\nExit codes:\n  0  x\n     y";
        let (prose, sections) = parts(help);
        assert_eq!(prose, ["Prose of\ntwo lines: no heading."]);
        assert_eq!(
            sections,
            [
                ("EXAMPLES".to_owned(), vec!["a -b", "c  d"]),
                ("EXIT STATUS".to_owned(), vec!["0  x", "   y"]),
            ]
        );
        assert_eq!(parts(""), (vec![], vec![]));
    }

    #[test]
    fn terms_and_what_they_mean() {
        let lines = [
            "0  done",
            "A, B",
            "      set by",
            "      others",
            "C D  e  f",
        ];
        let text = terms("X", &lines).to_roff();
        let expected = ".SH X\n.TP\n\\fB0\\fR\ndone\n.TP\n\\fBA, B\\fR\nset by\nothers\n.TP\n\\fBC D\\fR\ne  f\n";
        assert_eq!(text, expected);
    }
}
