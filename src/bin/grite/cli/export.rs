//! `grite export`: all issues as JSON Lines, oldest first, as a stream.

use std::io::{BufWriter, Write, stdout};

use libgrite_ipc::{IpcCommand, IpcResponse};

use super::Global;
use crate::error::CliError;
use crate::foreign::Record;
use crate::output;
use crate::tracker;

/// How many issues are asked for at a time.
const PAGE: u32 = 1000;

pub fn run(global: &Global) -> Result<(), CliError> {
    let mut tracker = global.tracker_for_several()?;
    let mut out = BufWriter::new(stdout().lock());
    let mut cursor = None;
    loop {
        let page = match tracker::ask(&mut *tracker, &IpcCommand::IssueExport { limit: PAGE, cursor })? {
            IpcResponse::IssueExport(page) => page,
            _ => return Err(CliError::mismatched()),
        };
        for issue in &page.items {
            let line = output::document(&Record::from(issue))?;
            out.write_all(line.as_bytes()).map_err(|error| CliError::output(&error))?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return out.flush().map_err(|error| CliError::output(&error));
        }
    }
}
