//! `grite export`: all issues, oldest first, as a stream.

use std::io::{BufWriter, Write, stdout};

use clap::{Args, ValueEnum};
use libgrite_ipc::grite::IssueShowResult;
use libgrite_ipc::{IpcCommand, IpcResponse};

use super::Global;
use crate::error::{CliError, Code};
use crate::foreign::{Record, markdown};
use crate::output;
use crate::tracker;

/// How many issues are asked for at a time.
const PAGE: u32 = 1000;

/// Arguments of `grite export`.
#[derive(Args)]
pub struct Export {
    /// As what
    #[arg(long, value_enum, default_value_t = Format::Jsonl, value_name = "FORMAT")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// JSON Lines, which `grite import` reads
    Jsonl,
    /// Markdown, for people
    Md,
}

pub fn run(export: &Export, global: &Global) -> Result<(), CliError> {
    if global.json && matches!(export.format, Format::Md) {
        let message = "an export as Markdown is for people, and --json asks for JSON";
        return Err(CliError::new(Code::Usage, message, "drop --json or --format md"));
    }
    let mut tracker = global.tracker_for_several()?;
    let mut out = BufWriter::new(stdout().lock());
    let mut cursor = None;
    loop {
        let page = match tracker::ask(&mut *tracker, &IpcCommand::IssueExport { limit: PAGE, cursor })? {
            IpcResponse::IssueExport(page) => page,
            _ => return Err(CliError::mismatched()),
        };
        for issue in &page.items {
            let text = export.format.write(issue)?;
            out.write_all(text.as_bytes()).map_err(|error| CliError::output(&error))?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return out.flush().map_err(|error| CliError::output(&error));
        }
    }
}

impl Format {
    fn write(self, issue: &IssueShowResult) -> Result<String, CliError> {
        match self {
            Format::Jsonl => output::document(&Record::from(issue)),
            Format::Md => Ok(markdown::write(issue)),
        }
    }
}
