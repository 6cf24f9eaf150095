//! The `witgate` program.

#![warn(clippy::disallowed_methods)]

use std::process::ExitCode;

fn main() -> ExitCode {
    witgate::cli::main()
}
