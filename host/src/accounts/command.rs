//! Credentials printed by a program.

use std::{process::Stdio, time::Instant};

use tokio::process;

use crate::{config::Command, secret::Secret};

use super::credential::{CredentialError, Issued, is_credential};

/// How much of a program's error output is quoted, in characters.
const MAX_QUOTED: usize = 200;

/// Runs the program to its end; dropping the future kills it. Its output is never logged.
pub(super) async fn run(command: &Command) -> Result<Issued, CredentialError> {
    let failed = |detail: String| CredentialError {
        what: "its command failed",
        detail,
        lasting: false,
    };
    let program = command.program.display();
    let output = process::Command::new(&command.program)
        .args(&command.arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| failed(format!("`{program}` cannot be run: {error}")))?;
    if !output.status.success() {
        let line = first_line(&output.stderr);
        return Err(failed(format!("`{program}`: {}: {line}", output.status)));
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    let printed = printed.trim();
    if !is_credential(printed) {
        let what =
            "must print one word that is valid in a header, got nothing or more than one word";
        return Err(failed(format!("`{program}` {what}")));
    }
    // `None` if the sum is out of range: then it never expires.
    let expires = Instant::now().checked_add(command.ttl);
    Ok(Issued {
        secret: Secret::new(printed),
        expires,
        renew: expires,
    })
}

fn first_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("no error output").trim();
    line.chars()
        .filter(|c| !c.is_control())
        .take(MAX_QUOTED)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn shell(script: &str) -> Result<Issued, CredentialError> {
        let command = Command {
            program: "sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            ttl: Duration::from_secs(60),
        };
        run(&command).await
    }

    #[tokio::test]
    async fn the_output_of_the_program_without_white_space_is_the_credential() {
        let issued = shell("echo ' sk-printed '; echo hint >&2").await.unwrap();
        assert!(issued.secret.matches(b"sk-printed"));
        assert!(issued.expires.is_some());
    }

    #[tokio::test]
    async fn a_failure_quotes_the_first_line_of_the_error_output_only() {
        let error = shell("echo sk-secret; echo; echo 'no agent' >&2; echo more >&2; exit 3");
        let error = error.await.err().unwrap();
        assert_eq!(error.detail, "`sh`: exit status: 3: no agent");
    }

    #[tokio::test]
    async fn output_that_is_not_one_word_is_a_failure_and_is_not_quoted() {
        for script in [
            "true",
            "echo sk-secret two",
            "echo sk-secret; echo sk-other",
        ] {
            let error = shell(script).await.err().unwrap();
            assert!(error.detail.contains("more than one word"), "{script}");
            assert!(!error.detail.contains("secret"), "{script}");
        }
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let command = Command {
            program: "./no-such-helper".into(),
            arguments: Vec::new(),
            ttl: Duration::from_secs(60),
        };
        let error = run(&command).await.err().unwrap();
        assert!(
            error
                .detail
                .starts_with("`./no-such-helper` cannot be run: ")
        );
    }
}
