//! Options of every command that writes: the idempotency key, and texts from files.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use libgrite_ipc::IpcCommand;
use libgrite_ipc::grite::WriteContext;

use super::Global;
use crate::engine::MAX_TEXT;
use crate::error::{CliError, Code};
use crate::random;

/// Options of every command that writes.
#[derive(Args)]
pub struct Writing {
    /// Names this write: repeated with the same key it is not done again, and answers as before, or says who has the lock
    /// by now
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Writing {
    /// Who writes, under which key.
    pub fn context(&self, global: &Global) -> WriteContext {
        let idempotency_key = self.idempotency_key.clone().unwrap_or_else(random::digits);
        WriteContext { actor: global.actor(), idempotency_key }
    }
}

/// Says with which key to repeat `command` where it is a write and `error` leaves open whether it is carried out: with
/// another one it might be carried out twice.
pub fn with_key(error: CliError, command: &IpcCommand) -> CliError {
    let open = match error.code {
        Code::Timeout | Code::DaemonGone => true,
        Code::Storage | Code::Git => error.retryable,
        // Else the daemon has turned it away before it did anything.
        Code::Failure => !error.retryable,
        _ => false,
    };
    let Some(write) = written(command).filter(|_| open) else { return error };
    let key = write.idempotency_key.clone();
    let hint = format!("{}; repeat it with --idempotency-key {key}, so that it is done once", error.hint);
    CliError { hint, key: Some(key), ..error }
}

/// Who writes what `command` writes.
fn written(command: &IpcCommand) -> Option<&WriteContext> {
    match command {
        IpcCommand::IssueCreate { write, .. }
        | IpcCommand::IssueUpdate { write, .. }
        | IpcCommand::IssueClose { write, .. }
        | IpcCommand::IssueReopen { write, .. }
        | IpcCommand::IssueComment { write, .. }
        | IpcCommand::IssueClaim { write, .. }
        | IpcCommand::LockAcquire { write, .. }
        | IpcCommand::LockRenew { write, .. }
        | IpcCommand::LockRelease { write, .. } => Some(write),
        _ => None,
    }
}

/// A body: given, in a file, or from stdin.
#[derive(Args)]
#[group(multiple = false)]
pub struct Body {
    /// The text itself
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    body: Option<String>,

    /// A file with the text; - is stdin
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
}

impl Body {
    /// The text, if one was given.
    pub fn read(&self, global: &Global) -> Result<Option<String>, CliError> {
        match (&self.body, &self.body_file) {
            (Some(body), _) => Ok(Some(body.clone())),
            (None, Some(path)) => read_text(path, global).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// The text in the file `path`, or from stdin where that is `-`.
pub fn read_text(path: &Path, global: &Global) -> Result<String, CliError> {
    // One byte more than may be written, so that the engine sees that it is too much.
    let limit = MAX_TEXT as u64 + 1;
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        global.check_stdin()?;
        stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| CliError::io("read the text in", path, &error))?;
    if bytes.len() > MAX_TEXT {
        let message = format!("the text in {} has more than {MAX_TEXT} bytes", path.display());
        return Err(CliError::invalid(message, "keep long texts in files, and name them"));
    }
    String::from_utf8(bytes).map_err(|_| {
        CliError::invalid(format!("the text in {} is not UTF-8", path.display()), "convert it first")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_done_has_a_key_and_what_was_turned_away_has_none() {
        let write = WriteContext { actor: "ann".to_owned(), idempotency_key: "k".to_owned() };
        let command = IpcCommand::IssueClose { write, id: "4f21".to_owned() };
        for (code, retryable, has_key) in [
            (Code::Timeout, true, true),
            (Code::DaemonGone, true, true),
            (Code::Failure, false, true),
            (Code::Failure, true, false),
            (Code::Git, true, true),
            (Code::Conflict, true, false),
            (Code::Environment, false, false),
        ] {
            let error = CliError { retryable, ..CliError::new(code, "m", "h") };
            let key = with_key(error.clone(), &command).key;
            assert_eq!(key.is_some(), has_key, "{code:?}");
            assert_eq!(with_key(error, &IpcCommand::Ping).key, None);
        }
    }
}
