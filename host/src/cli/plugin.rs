//! `witgate plugin`: commands for those who write or inspect plugins.

mod new; // a project of a new plugin
mod list; // the plugins in the order in which they are called
mod running; // the plugins of a running gateway

use clap::Subcommand;

use super::Failure;

#[derive(Subcommand)]
pub(super) enum PluginCommand {
    /// Write the project of a new plugin: a rule, a test and a case
    New(new::NewArgs),
    /// List the plugins in the order in which they are called
    List(list::ListArgs),
}

pub(super) fn run(command: &PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::New(args) => new::new(args),
        PluginCommand::List(args) => match &args.url {
            None => list::list(args),
            Some(url) => running::list(&args.config, url, args.json),
        },
    }
}
