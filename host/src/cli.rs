//! The command line: arguments, commands, and the errors that a user reads.

mod serve; // runs the gateway
mod check; // checks the configuration and the plugins
mod plugin; // commands for those who write or inspect plugins
mod wit; // prints the contract
#[cfg(unix)]
mod address_space; // what little of it changes

use std::{
    fmt::Display,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};
use plugin::PluginCommand;

use crate::{
    config::{self, Config, DEFAULT_FILE, Problem, Problems},
    fault::Fault,
    pipeline::{Evidence, Loaded, Refused, Runtime},
    reload,
    store::Store,
    telemetry::Metrics,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  success; for serve: stopped by a signal
  1  another failure, named on standard error
  2  invalid arguments
  3  invalid configuration
  4  a plugin does not load
  5  cannot bind the listen address

The configuration reference is docs/configuration.md. Without a file, a built-in echo model responds.";

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
    /// Run the gateway; the default without a command
    Serve(ServeArgs),
    /// Check the configuration and the plugins, and print all problems
    Check(ConfigArgs),
    /// Write and inspect plugins
    #[command(visible_alias = "plugins")]
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Print the contract between the gateway and its plugins
    Wit,
}

#[derive(Args, Clone)]
struct ConfigArgs {
    /// The configuration file [default: ./witgate.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args, Clone)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Listen on this address instead of the configured one; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// Use this log filter instead of the configured one: `info`, `warn,witgate=debug`
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// Parses an address as the configuration does.
fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    config::address(text).ok_or("expected an address with a port such as `127.0.0.1:8045`")
}

/// Parses the arguments, runs the command, and prints its failure.
pub fn main() -> ExitCode {
    #[cfg(unix)]
    address_space::share_heaps();
    let line = Line::parse();
    let done = match line.command {
        None => serve::run(line.serve),
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Plugin { command }) => plugin::run(&command),
        Some(Command::Wit) => wit::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

/// The failure of a command, with its exit code.
struct Failure {
    code: Code,
    /// One sentence each.
    errors: Vec<String>,
    hint: Option<String>,
}

/// The exit codes in `EXIT_CODES`. Clap uses code 2 as well.
#[derive(Clone, Copy)]
enum Code {
    Other = 1,
    Arguments = 2,
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
            // A closed standard error cannot be reported.
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
    /// The path of the configuration file, which may not exist.
    fn file(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }

    /// Reads the file. It may be missing only if the command line does not name it.
    fn load(&self) -> Result<(Config, Vec<Problem>), Problems> {
        if self.config.is_none() && !self.file().exists() {
            return Ok((Config::without_file(), Vec::new()));
        }
        Config::load(self.file())
    }
}

/// Loads the plugins as `serve` does, for commands that only inspect them.
fn load_plugins(config: &Config) -> Result<Loaded, Failure> {
    // Calls into plugins are asynchronous and have deadlines.
    let runtime = tokio_runtime()?;
    let _entered = runtime.enter();
    let plugins = Runtime::new(
        &config.plugins,
        Arc::new(Store::default()),
        Arc::new(Metrics::new()),
    )?;
    Ok(reload::load(&plugins, config))
}

fn tokio_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Tasks that overflow a worker's own queue go to the global one. Workers check it as often
        // as their own, because a few requests in a thousand would otherwise wait several times as
        // long.
        .global_queue_interval(1)
        .build();
    built.map_err(|error| Failure::new(Code::Other, format!("cannot start threads: {error}")))
}

/// The words of the pipeline for a plugin that does not accept its settings.
const REJECTED_SETTINGS: &str = "rejected its settings";

/// Returns the rejected files as one failure, or `None` if there are none.
fn rejected(loaded: &Loaded) -> Option<Failure> {
    let errors = loaded
        .refused
        .iter()
        .map(|refused| format!("{}: {}", refused.place(), refused.fault.chain()));
    let errors: Vec<String> = errors.collect();
    let unlisted = |refused: &Refused| refused.evidence == Evidence::Unlisted;
    let missing = |refused: &Refused| refused.evidence == Evidence::Missing;
    // A built-in plugin is not a file, and it loads with other settings.
    let by_settings = |refused: &Refused| refused.fault.to_string().contains(REJECTED_SETTINGS);
    let (code, hint) = if loaded.refused.iter().any(unlisted) {
        let hint =
            "make it a folder that the gateway can read, or set another one as `dir` in [plugins]";
        (Code::Plugin, hint)
    } else if loaded.refused.iter().any(missing) {
        let hint = "put its file into the folder, or take `required` out of its [plugin.NAME]";
        (Code::Plugin, hint)
    } else if !errors.is_empty() && loaded.refused.iter().all(by_settings) {
        let hint = "correct `settings` in its [plugin.NAME]; the documentation of the plugin \
                    explains them";
        let is_file = |refused: &Refused| refused.file.is_file();
        match loaded.refused.iter().any(is_file) {
            true => (Code::Plugin, hint),
            false => (Code::Config, hint),
        }
    } else if loaded.refused.iter().any(|refused| refused.no_memory) {
        let hint = "raise the memory limit of the process (`ulimit -v`), or free memory";
        (Code::Plugin, hint)
    } else {
        let hint = "rebuild it, or remove it from the folder; `witgate wit` prints the contract";
        (Code::Plugin, hint)
    };
    (!errors.is_empty()).then(|| Failure {
        code,
        errors,
        hint: Some(hint.to_owned()),
    })
}

/// Writes to standard output. A closed pipe, as with `head`, is not a failure.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Code::Other,
            format!("cannot write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Prints a warning on standard error.
fn warn(what: impl Display) {
    // A closed standard error cannot be reported.
    let _ = writeln!(io::stderr().lock(), "warning: {what}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_valid() {
        Line::command().debug_assert();
    }

    #[test]
    fn bare_witgate_takes_the_options_of_serve() {
        for address in ["127.0.0.1:8046", "localhost:8046"] {
            let line = Line::try_parse_from(["witgate", "--listen", address]).unwrap();
            assert!(line.command.is_none());
            assert_eq!(line.serve.listen.unwrap().to_string(), "127.0.0.1:8046");
        }
    }

    #[test]
    fn every_exit_code_is_in_the_help() {
        let help = Line::command().render_help().to_string();
        for code in [
            Code::Other,
            Code::Arguments,
            Code::Config,
            Code::Plugin,
            Code::Listen,
        ] {
            assert!(help.contains(&format!("\n  {}  ", code as u8)), "{help}");
        }
    }
}
