//! Programs that tests run: to their end, within a limit, and with what they said in the error.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::cluster::ClusterError;

/// Longer than anything that kubectl is asked to wait for.
pub const KUBECTL_LIMIT: Duration = Duration::from_mins(2);
/// cargo may have to build first what makes a fault.
pub const XTASK_LIMIT: Duration = Duration::from_mins(5);

/// Runs a program to its end with `input` as standard input; a failure carries what it said. What does not end within
/// `limit` is killed.
pub async fn output(command: &mut Command, input: &str, limit: Duration) -> Result<String, ClusterError> {
    let line = describe(command.as_std());
    let start = |source| ClusterError::Start {
        program: line.clone(),
        source,
    };
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(start)?;
    let stdin = child.stdin.take();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input says why on its own.
            if let Err(error) = stdin.write_all(input.as_bytes()).await {
                eprintln!("standard input was not taken whole: {error}");
            }
        }
    };
    let end = async { tokio::join!(child.wait_with_output(), feed) };
    let (output, ()) = tokio::time::timeout(limit, end)
        .await
        .map_err(|_elapsed| ClusterError::Hung {
            command: line.clone(),
            limit,
        })?;
    let output = output.map_err(start)?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // `kubectl diff` tells on standard output what differs.
        let stdout = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        return Err(ClusterError::Failed {
            command: line,
            status: output.status,
            stderr: if stderr.is_empty() { stdout } else { stderr },
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn describe(command: &std::process::Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Scenario: a program reads its input and prints.
    /// Guarantees: all of it arrives, also when it is larger than a pipe holds.
    #[tokio::test]
    async fn output_large_input_comes_back_whole() {
        let input = "x".repeat(1 << 20);
        assert_eq!(
            output(&mut Command::new("cat"), &input, LIMIT).await.unwrap(),
            input
        );
    }

    /// Scenario: a program fails.
    /// Guarantees: the error has the command line, the status and what the program said.
    #[tokio::test]
    async fn output_failure_says_what_the_program_said() {
        let mut command = Command::new("sh");
        let error = output(command.args(["-c", "echo remedy >&2; exit 3"]), "", LIMIT)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sh -c") && text.contains("exit status: 3") && text.contains("remedy"),
            "{text}"
        );
    }

    /// Scenario: a program does not end.
    /// Guarantees: the wait does, and the error names the program.
    #[tokio::test]
    async fn output_hung_program_is_given_up() {
        let mut command = Command::new("sleep");
        let error = output(command.arg("1000"), "", Duration::from_millis(50))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("sleep 1000 did not end"), "{error}");
    }
}
