//! What the user typed.

use std::process::ExitCode;

/// Parses the arguments and does what they say.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
