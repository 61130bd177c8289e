//! `grite batch`: commands from stdin, a line each, over one connection.
//!
//! Every line is answered by one line, in order, with what `grite --json` prints for the same words. Reads
//! that stand together are under way together. A write goes alone: beside its way to the disk the way to
//! the daemon is nothing, and whatever fails, the lines before it are done and those behind it are not begun.
//! What is answered is written before anything is waited for that takes its time: the next line, or a write.
//! So whoever waits for an answer before the next line gets it, and who sends many reads costs few system calls.
//!
//! Bounded are the length of a line, the reads under way, and what waits to be written.

mod lines;
mod words;

use std::io::{BufReader, stdin};
use std::path::Path;

use libgrite_ipc::IpcCommand;

use super::issue::Issue;
use super::writing::with_key;
use super::{Command, Global, Grite, carry_out, usage};
use crate::error::{CliError, Code};
use crate::output::Output;
use crate::tracker::{Tracker, unless_refused};
use lines::{Line, Lines};
use words::Words;

/// How many reads are under way at once.
const MOST_READS: usize = 64;

/// How much waits to be written before it is, in bytes: as much as a pipe takes at once.
const MOST_WAITING: usize = 64 << 10;

pub fn run(global: &Global) -> Result<(), CliError> {
    answer_all(global).map_err(|error| match error.code {
        // Lines are unanswered, writes among them perhaps.
        Code::ClosedPipe => CliError { code: Code::Reported, ..error },
        _ => error,
    })
}

fn answer_all(global: &Global) -> Result<(), CliError> {
    let mut batch = Batch {
        global,
        words: Words::new(),
        tracker: None,
        questions: Vec::with_capacity(MOST_READS),
        commands: Vec::with_capacity(MOST_READS),
        output: Output::collected(),
    };
    let mut lines = Lines::of(BufReader::with_capacity(MOST_WAITING, stdin().lock()));
    loop {
        if !lines.has_next() {
            batch.clear_up()?;
        }
        match lines.next().map_err(|error| CliError::io("read", Path::new("stdin"), &error))? {
            Some(line) => batch.take(line)?,
            None => return batch.output.write_collected(),
        }
    }
}

struct Batch<'a> {
    global: &'a Global,
    words: Words,
    /// Opened by the first line that needs it.
    tracker: Option<Box<dyn Tracker>>,
    /// Lines that are not answered yet, and what they ask: several reads, or a write.
    questions: Vec<Issue>,
    commands: Vec<IpcCommand>,
    output: Output,
}

impl Batch<'_> {
    /// Takes the next line. What could not be written is the only failure of the batch itself.
    fn take(&mut self, line: Line<'_>) -> Result<(), CliError> {
        match self.words.read(line, self.global) {
            Ok(Ok(Grite { global, command: Command::Issue(issue) })) => {
                match issue.question().command(&global) {
                    Ok(command) => self.ask(issue, command),
                    Err(error) => self.answer(|_| Err(error)),
                }
            }
            Ok(Ok(grite)) => {
                self.clear_up()?;
                self.answer(|output| carry_out(grite, output))
            }
            Ok(Err(unusual)) => self.answer(|output| usage::explain(&unusual, output)),
            Err(error) => self.answer(|_| Err(error)),
        }
    }

    fn ask(&mut self, issue: Issue, command: IpcCommand) -> Result<(), CliError> {
        let read = is_read(&command);
        if !read {
            self.clear_up()?;
        }
        self.questions.push(issue);
        self.commands.push(command);
        if read && self.commands.len() < MOST_READS { Ok(()) } else { self.settle() }
    }

    /// Answers a line by what `answer` prints or fails with, once those before it are answered.
    fn answer(&mut self, answer: impl FnOnce(&Output) -> Result<(), CliError>) -> Result<(), CliError> {
        self.settle()?;
        let done = answer(&self.output);
        tell(&self.output, done)
    }

    /// Answers all lines so far and writes the answers: what comes next may take its time.
    fn clear_up(&mut self) -> Result<(), CliError> {
        self.settle()?;
        self.output.write_collected()
    }

    /// Asks what is not asked yet, and answers it.
    fn settle(&mut self) -> Result<(), CliError> {
        if self.commands.is_empty() {
            return Ok(());
        }
        let Batch { global, tracker, questions, commands, output, .. } = self;
        let opened = match tracker {
            Some(tracker) => Ok(tracker),
            none => global.tracker_for_several().map(|opened| none.insert(opened)),
        };
        let mut written = Ok(());
        match opened {
            Ok(tracker) => {
                let mut asked = questions.iter().zip(&*commands);
                tracker.ask_all(commands, &mut |answer| {
                    if let (Some((issue, command)), Ok(())) = (asked.next(), &written) {
                        let answer =
                            answer.and_then(unless_refused).map_err(|error| with_key(error, command));
                        let done = answer.and_then(|answer| issue.question().report(answer, output));
                        written = tell(output, done);
                    }
                });
            }
            Err(error) => questions.iter().for_each(|_| output.fail(&error)),
        }
        questions.clear();
        commands.clear();
        written
    }
}

/// Ends an answer, and writes what waits if that is much.
fn tell(output: &Output, done: Result<(), CliError>) -> Result<(), CliError> {
    if let Err(error) = done {
        output.fail(&error);
    }
    if output.collected_len() < MOST_WAITING { Ok(()) } else { output.write_collected() }
}

/// Whether other questions may be under way beside this one.
fn is_read(command: &IpcCommand) -> bool {
    matches!(command, IpcCommand::IssueShow { .. } | IpcCommand::IssueList { .. })
}
