//! `witgate plugin`: commands for those who write or inspect plugins.

mod new; // a project of a new plugin
mod test; // cases and hostile traffic
mod list; // the plugins in the order in which they are called
mod running; // the plugins of a running gateway
mod trial; // tries a plugin on a request
mod bench; // measures a plugin
mod explain; // what plugins did in an exchange of a running gateway
mod exchange; // the plugin, the request and the answers of `try` and `bench`
mod saved_case; // saves what `try` was given as a case
mod report; // what plugins did, for a person
mod paint; // colours

use clap::Subcommand;

use super::Failure;

#[derive(Subcommand)]
pub(super) enum PluginCommand {
    /// Write the project of a new plugin: a rule, a test and a case
    New(new::NewArgs),
    /// Run a plugin on a request, offline, and show what it did
    Try(Box<trial::TryArgs>),
    /// Measure what a plugin costs: load, instance, each hook and each event
    Bench(Box<bench::BenchArgs>),
    /// Show what each plugin did in a recent exchange of a running gateway
    Explain(explain::ExplainArgs),
    /// Run cases, or unusual traffic, through a plugin
    Test(test::TestArgs),
    /// List the plugins in the order in which they are called
    List(list::ListArgs),
}

pub(super) fn run(command: &PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::New(args) => new::new(args),
        PluginCommand::Try(args) => trial::run(args),
        PluginCommand::Bench(args) => bench::run(args),
        PluginCommand::Explain(args) => explain::run(args),
        PluginCommand::Test(args) => test::run(args),
        PluginCommand::List(args) => match &args.url {
            None => list::list(args),
            Some(url) => running::list(&args.config, url, args.json),
        },
    }
}
