//! A credential that a program prints.

use std::{process::Stdio, time::Instant};

use tokio::process;

use crate::{config::Command, secret::Secret};

use super::credential_cache::{CredentialError, Issued, is_credential};

/// What is told of a program's complaint.
const SHOWN: usize = 200;

/// Runs it to its end; dropping the future kills it. What it prints is never shown.
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
        let said = first_line(&output.stderr);
        return Err(failed(format!("`{program}`: {}: {said}", output.status)));
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    let printed = printed.trim();
    if !is_credential(printed) {
        let what = "printed nothing, or more than one word that can stand in a header";
        return Err(failed(format!("`{program}` {what}")));
    }
    // No clock of ours reaches further than the sum.
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
    let line = line.unwrap_or("it said nothing").trim();
    line.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
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
    async fn what_a_program_prints_is_the_credential_without_its_line_end() {
        let issued = shell("echo ' sk-printed '; echo hint >&2").await.unwrap();
        assert!(issued.secret.matches(b"sk-printed"));
        assert!(issued.expires.is_some());
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted_with_the_first_line_of_its_complaint_and_not_its_output()
     {
        let trouble = shell("echo sk-secret; echo; echo 'no agent' >&2; echo more >&2; exit 3");
        let trouble = trouble.await.err().unwrap();
        assert_eq!(trouble.detail, "`sh`: exit status: 3: no agent");
    }

    #[tokio::test]
    async fn a_program_that_prints_no_key_has_failed_and_is_not_quoted() {
        for script in [
            "true",
            "echo sk-secret two",
            "echo sk-secret; echo sk-other",
        ] {
            let trouble = shell(script).await.err().unwrap();
            assert!(trouble.detail.contains("more than one word"), "{script}");
            assert!(!trouble.detail.contains("secret"), "{script}");
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let command = Command {
            program: "./no-such-helper".into(),
            arguments: Vec::new(),
            ttl: Duration::from_secs(60),
        };
        let trouble = run(&command).await.err().unwrap();
        assert!(
            trouble
                .detail
                .starts_with("`./no-such-helper` cannot be run: ")
        );
    }
}
