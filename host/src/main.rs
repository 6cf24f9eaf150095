//! Arguments in, exit code out: the only exit and the only print of an error.

#![warn(clippy::disallowed_methods)]

use std::process::ExitCode;

fn main() -> ExitCode {
    witgate::cli::main()
}
