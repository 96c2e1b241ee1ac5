//! The output of a command: how a key management service hands over the master key.
//!
//! The command is started without a shell, with this process's environment (it needs its credentials
//! from somewhere), and its end is awaited for a bounded time. What it prints is the key; what it says
//! to standard error goes to ours.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use zeroize::Zeroizing;

/// Longest wait: a key management service answers within seconds, or its client gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than any key is.
const MOST_BYTES: u64 = 4 * 1024;

/// Runs the command and answers what it printed.
///
/// # Errors
/// In words: it cannot be started, failed, printed too much, or took too long.
pub(super) fn output(command: &[String]) -> Result<Zeroizing<String>, String> {
    within(command, PATIENCE)
}

fn within(command: &[String], patience: Duration) -> Result<Zeroizing<String>, String> {
    let (program, arguments) = command.split_first().ok_or("it is empty")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("it cannot be started: {e}"))?;
    let read = read(&mut child, patience);
    if read.is_err() {
        let _ended_already = child.kill();
    }
    let status = child.wait().map_err(|e| format!("its end cannot be seen: {e}"))?;
    let text = read?;
    if !status.success() {
        return Err(format!("it failed with {status}"));
    }
    Ok(text)
}

/// Reads to the end of its output, on a thread that can be given up.
fn read(child: &mut Child, patience: Duration) -> Result<Zeroizing<String>, String> {
    let stdout = child.stdout.take().ok_or("its output cannot be read")?;
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Zeroizing::new(String::new());
        let read = stdout.take(MOST_BYTES + 1).read_to_string(&mut text).map(|_| text);
        let _given_up = done.send(read);
    });
    match result.recv_timeout(patience) {
        Ok(Ok(text)) if text.len() as u64 > MOST_BYTES => Err("it prints more than any key is".to_owned()),
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(format!("its output cannot be read: {error}")),
        Err(_) => Err(format!("it did not end within {} s", patience.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(ToOwned::to_owned).to_vec()
    }

    #[test]
    fn what_a_command_prints_is_the_key_and_every_fault_has_its_sentence() {
        assert_eq!(output(&sh("echo abc")).unwrap().as_str(), "abc\n");
        assert!(output(&sh("echo abc; exit 3")).unwrap_err().contains("exit status: 3"));
        assert!(output(&["/does/not/exist".to_owned()]).unwrap_err().contains("cannot be started"));
        assert!(within(&sh("sleep 60"), Duration::ZERO).unwrap_err().contains("did not end"));
        assert!(output(&sh("yes")).unwrap_err().contains("prints more"));
    }
}
