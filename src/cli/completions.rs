//! `tinyns completions`: scripts by which shells complete commands and options.

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::write;

/// The name of the program in the scripts.
const PROGRAM: &str = "tinyns";

pub(super) const COMPLETIONS_HELP: &str = "\
Examples:
  tinyns completions bash > /usr/share/bash-completion/completions/tinyns
  tinyns completions zsh > /usr/share/zsh/site-functions/_tinyns
  tinyns completions fish > /usr/share/fish/vendor_completions.d/tinyns.fish
  source <(tinyns completions bash)           for this shell only";

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(super) shell: Shell,
}

/// Prints the script for a shell.
pub(super) fn run(args: CompletionsArgs, all: &Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut visible(all), PROGRAM, &mut script);
    write(&script).map(drop)
}

/// The command line without hidden commands, which clap_complete would offer.
fn visible(all: &Command) -> Command {
    let commands = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    Command::new(PROGRAM)
        .about(all.get_about().cloned().unwrap_or_default())
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .subcommands(commands.cloned())
}
