//! What comes back: one JSON document for programs, or text for people.
//!
//! [`Output`] knows which of the two, and how the text must look where it goes. It never asks
//! anything, and what it cannot write because nobody reads any more is no failure.

mod page;
mod plain;
mod table;
mod terminal;

use std::cell::RefCell;
use std::io::{self, Write};

use serde::Serialize;

use crate::error::{CliError, Code};

pub use page::Page;
pub use plain::{line, text};
pub use table::Table;
pub use terminal::{Paint, Terminal};

/// The version of the documents that `--json` prints. It moves when a field changes its meaning.
const SCHEMA_VERSION: u32 = 1;

/// How much memory an output holds for what it keeps, once that is written, in bytes.
const MAX_KEPT: usize = 1 << 20;

/// Where and how to answer.
pub struct Output {
    json: bool,
    terminal: Terminal,
    /// What is printed, where it is not to be written at once.
    collected: Option<RefCell<Vec<u8>>>,
}

#[derive(Serialize)]
struct Success<'a, T> {
    schema_version: u32,
    ok: bool,
    data: &'a T,
}

#[derive(Serialize)]
struct StreamLine<'a, T> {
    schema_version: u32,
    #[serde(flatten)]
    data: &'a T,
}

#[derive(Serialize)]
struct Failure<'a> {
    schema_version: u32,
    ok: bool,
    error: Reason<'a>,
}

#[derive(Serialize)]
struct Reason<'a> {
    code: &'static str,
    message: &'a str,
    hint: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
}

impl Output {
    /// One document on stdout.
    pub fn json() -> Self {
        Output { json: true, terminal: Terminal::none(), collected: None }
    }

    /// Text, fitted to where stdout goes.
    pub fn human() -> Self {
        Output { json: false, terminal: Terminal::of_stdout(), collected: None }
    }

    /// One document a command, kept until [`write_collected`](Output::write_collected).
    pub fn collected() -> Self {
        Output { collected: Some(RefCell::default()), ..Output::json() }
    }

    /// How many bytes are kept.
    pub fn collected_len(&self) -> usize {
        self.collected.as_ref().map_or(0, |collected| collected.borrow().len())
    }

    /// Writes to stdout what is kept.
    pub fn write_collected(&self) -> Result<(), CliError> {
        let Some(collected) = &self.collected else { return Ok(()) };
        let mut collected = collected.borrow_mut();
        if collected.is_empty() {
            return Ok(());
        }
        let printed = print(&collected);
        collected.clear();
        // One long answer is no reason to hold its memory for ever.
        collected.shrink_to(MAX_KEPT);
        printed
    }

    fn print(&self, text: &str) -> Result<(), CliError> {
        match &self.collected {
            Some(collected) => {
                collected.borrow_mut().extend_from_slice(text.as_bytes());
                Ok(())
            }
            None => print(text.as_bytes()),
        }
    }

    /// Prints what a command did: `data` for programs, what `human` makes of it for people.
    pub fn report<T: Serialize>(
        &self,
        data: &T,
        human: impl FnOnce(&Terminal) -> String,
    ) -> Result<(), CliError> {
        let text = if self.json {
            document(&Success { schema_version: SCHEMA_VERSION, ok: true, data })?
        } else {
            human(&self.terminal)
        };
        self.print(&text)
    }

    /// Prints a line of a stream.
    pub fn report_line<T: Serialize>(
        &self,
        data: &T,
        human: impl FnOnce(&Terminal) -> String,
    ) -> Result<(), CliError> {
        let text = if self.json {
            document(&StreamLine { schema_version: SCHEMA_VERSION, data })?
        } else {
            human(&self.terminal) + "\n"
        };
        self.print(&text)
    }

    /// Prints why a command failed: for programs on stdout, for people on stderr.
    pub fn fail(&self, error: &CliError) {
        if matches!(error.code, Code::ClosedPipe | Code::Reported) {
            return;
        }
        // There is nobody left to tell when this cannot be written either.
        let _ = if self.json {
            let reason = Reason {
                code: error.code.name(),
                message: &error.message,
                hint: &error.hint,
                retryable: error.retryable,
                idempotency_key: error.key.as_deref(),
            };
            document(&Failure { schema_version: SCHEMA_VERSION, ok: false, error: reason })
                .and_then(|text| self.print(&text))
        } else {
            let hint =
                if error.hint.is_empty() { String::new() } else { format!("\nhint: {}", line(&error.hint)) };
            writeln!(io::stderr(), "grite: {}{hint}", text(&error.message))
                .map_err(|error| CliError::output(&error))
        };
    }
}

/// Writes `bytes` to stdout, to the last one.
fn print(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| CliError::output(&error))
}

/// `value` as one line of JSON.
pub fn document<T: Serialize>(value: &T) -> Result<String, CliError> {
    let mut text = serde_json::to_string(value)
        .map_err(|error| CliError::new(Code::Failure, format!("cannot write JSON: {error}"), ""))?;
    text.push('\n');
    Ok(text)
}
