//! What the user typed, and what he reads when it fails.

mod serve; // the gateway, from start to stop
mod check; // the configuration and the plugins, without serving
mod plugins; // what is loaded
mod wit; // the contract

use std::{
    fmt::Display,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Config, DEFAULT_FILE, Problem, Problems},
    fault::Fault,
    pipeline::{Evidence, Loaded, Refused, Runtime},
    reload,
    store::Store,
    telemetry::Metrics,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for serve: stopped by a signal
  1  another failure, named on standard error
  2  wrong arguments
  3  wrong configuration
  4  a plugin that does not load
  5  the address cannot be listened on

The configuration reference is docs/configuration.md; without a file Witgate answers from an embedded echo model.";

/// A gateway for the Anthropic Messages API whose rewrite rules are WebAssembly plugins.
#[derive(Parser)]
#[command(name = "witgate", version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Serve; what bare `witgate` does
    Serve(ServeArgs),
    /// Check the configuration and the plugins, and print all that is wrong with them
    Check(ConfigArgs),
    /// Look at the plugins
    Plugins {
        #[command(subcommand)]
        command: PluginsCommand,
    },
    /// Print the contract between the gateway and its plugins
    Wit,
}

#[derive(Subcommand)]
enum PluginsCommand {
    /// List the plugins in the order in which they are called
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Clone)]
struct ConfigArgs {
    /// The configuration file [default: ./witgate.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args, Clone)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Listen here, whatever the configuration says; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Log this, whatever the configuration says: `info`, `warn,witgate=debug`
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// Parses the arguments, does what they say, and prints the one failure there may be.
pub fn main() -> ExitCode {
    let line = Line::parse();
    let done = match line.command {
        None => serve::run(line.serve),
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Plugins {
            command: PluginsCommand::List { config, json },
        }) => plugins::list(&config, json),
        Some(Command::Wit) => wit::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

/// Why a command did not do what it was asked for.
struct Failure {
    code: Code,
    /// A sentence each.
    errors: Vec<String>,
    hint: Option<String>,
}

/// The exit codes of `EXIT_CODES`; clap itself makes the 2.
#[derive(Clone, Copy)]
enum Code {
    Other = 1,
    Config = 3,
    Plugin = 4,
    Listen = 5,
}

impl Failure {
    fn new(code: Code, error: impl Display) -> Self {
        Self {
            code,
            errors: vec![error.to_string()],
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    fn print(self) -> ExitCode {
        let mut out = io::stderr().lock();
        for error in &self.errors {
            // Nobody is left to tell that standard error is closed.
            let _ = writeln!(out, "error: {error}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "hint: {hint}");
        }
        ExitCode::from(self.code as u8)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::new(Code::Other, fault.chain())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        let errors = problems.0.iter().map(Problem::to_string).collect();
        let hint = "docs/configuration.md explains every key".to_owned();
        Self {
            code: Code::Config,
            errors,
            hint: Some(hint),
        }
    }
}

impl ConfigArgs {
    /// The file that is meant, whether it is there or not.
    fn file(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }

    /// Reads it. Only a file that nobody named may be absent.
    fn load(&self) -> Result<(Config, Vec<Problem>), Problems> {
        if self.config.is_none() && !self.file().exists() {
            return Ok((Config::without_file(), Vec::new()));
        }
        Config::load(self.file())
    }
}

/// Loads the plugins as serving would, for commands that only look at them.
fn load_plugins(config: &Config) -> Result<Loaded, Failure> {
    // Calls into plugins are asynchronous and have deadlines.
    let runtime = tokio_runtime()?;
    let _entered = runtime.enter();
    let plugins = Runtime::new(
        &config.plugins,
        Arc::new(Store::default()),
        Arc::new(Metrics::new()),
    )?;
    Ok(reload::load(&plugins, config, None))
}

fn tokio_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // What a thread's own queue has no room for waits in one that all share, and is looked at as often as its own: else a
        // few requests of a thousand wait several times as long as the rest.
        .global_queue_interval(1)
        .build();
    built.map_err(|error| Failure::new(Code::Other, format!("cannot start threads: {error}")))
}

/// The files that were refused, as one failure; `None` where all were taken.
fn refused(loaded: &Loaded) -> Option<Failure> {
    let errors = loaded
        .refused
        .iter()
        .map(|refused| format!("{}: {}", refused.file.display(), refused.fault.chain()));
    let errors: Vec<String> = errors.collect();
    let unlisted = |refused: &Refused| refused.evidence == Evidence::Unlisted;
    let hint = match loaded.refused.iter().any(unlisted) {
        true => "make it a folder that the gateway may read, or name another as `dir` in [plugins]",
        false => "rebuild it, or take it out of the folder; `witgate wit` prints the contract",
    };
    (!errors.is_empty()).then(|| Failure {
        code: Code::Plugin,
        errors,
        hint: Some(hint.to_owned()),
    })
}

/// Writes to standard output. A reader that goes away, such as `head`, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Code::Other,
            format!("cannot write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}

/// A line on standard error that stops nothing.
fn warn(what: impl Display) {
    // Nobody is left to tell that standard error is closed.
    let _ = writeln!(io::stderr().lock(), "warning: {what}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_holds() {
        Line::command().debug_assert();
    }

    #[test]
    fn bare_witgate_takes_the_options_of_serve() {
        let line = Line::try_parse_from(["witgate", "--listen", "127.0.0.1:0"]).unwrap();
        assert!(line.command.is_none());
        assert_eq!(line.serve.listen.unwrap().port(), 0);
    }

    #[test]
    fn every_exit_code_is_in_the_help() {
        let help = Line::command().render_help().to_string();
        for code in [Code::Other, Code::Config, Code::Plugin, Code::Listen] {
            assert!(help.contains(&format!("\n  {}  ", code as u8)), "{help}");
        }
    }
}
