//! Flags of other programs that do not exist here. Each is rejected with advice on what to write instead.

use clap::builder::UnknownArgumentValueParser;
use clap::{Arg, ArgAction, Command};

/// Subcommands, the flags that operators try there, and advice.
const HABITS: &[(&[&str], &[&str], &str)] = &[
    (
        &["serve", "demo", "healthcheck", "check"],
        &["--port", "--host", "--bind"],
        "write `--listen HOST:PORT`",
    ),
    (&["migrate"], &["--dry-run"], "write `--plan`"),
    (&["import", "export"], &["--json"], "write `--format ndjson`"),
    (&["import", "export"], &["--csv"], "write `--format csv`"),
    (&["query"], &["--json"], "`cinequery export --filter FILTER` writes JSON lines"),
    (&["query"], &["--filter"], "write the filter without a flag: `cinequery query FILTER`"),
];

/// Adds the flags to the subcommands. They are hidden in the help and in completion scripts.
pub(super) fn add(command: Command) -> Command {
    HABITS.iter().fold(command, |command, (subcommands, flags, advice)| {
        subcommands.iter().fold(command, |command, subcommand| {
            let flags = flags.iter().map(|flag| {
                Arg::new(*flag)
                    .long(flag.trim_start_matches('-'))
                    .action(ArgAction::SetTrue)
                    .value_parser(UnknownArgumentValueParser::suggest(*advice))
                    .hide(true)
            });
            command.mut_subcommand(*subcommand, |subcommand| subcommand.args(flags))
        })
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_not_those_of_the_subcommands() {
        add(super::super::Cli::command()).debug_assert();
    }
}
