//! Arguments in, exit code out: the only exit and the only print of an error.

use std::process::ExitCode;

fn main() -> ExitCode {
    witgate::cli::main()
}
