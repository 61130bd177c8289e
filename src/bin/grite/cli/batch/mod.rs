//! `grite batch`: commands from stdin, a line each, over one connection.
//!
//! Every line is answered by one line, in order, with what `grite --json` prints for the same words. Reads
//! that stand together are under way together. A write goes alone: beside its way to the disk the way to
//! the daemon is nothing, and whatever fails, the lines before it are done and those behind it are not begun.
//! What is answered is written once no more lines are there to be read, so whoever waits for an answer
//! before the next line gets it, and who sends many costs few system calls.
//!
//! Bounded are the length of a line, the reads under way, and what waits to be written.

mod lines;
mod words;

use std::io::{BufReader, stdin};
use std::path::Path;

use libgrite_ipc::IpcCommand;

use super::issue::Issue;
use super::{Command, Global, Grite, carry_out, usage};
use crate::error::CliError;
use crate::output::Output;
use crate::tracker::Tracker;
use lines::{Line, Lines};
use words::Words;

/// How many reads are under way at once.
const MOST_READS: usize = 64;

/// How much waits to be written before it is, in bytes: as much as a pipe takes at once.
const MOST_WAITING: usize = 64 << 10;

pub fn run(global: &Global) -> Result<(), CliError> {
    let mut batch = Batch {
        global,
        words: Words::new(),
        tracker: None,
        questions: Vec::with_capacity(MOST_READS),
        reads: Vec::with_capacity(MOST_READS),
        output: Output::collected(),
    };
    let mut lines = Lines::of(BufReader::with_capacity(MOST_WAITING, stdin().lock()));
    loop {
        if !lines.has_next() {
            batch.settle();
            batch.output.write_collected()?;
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
    /// Reads that are not answered yet, and what they ask.
    questions: Vec<Issue>,
    reads: Vec<IpcCommand>,
    output: Output,
}

impl Batch<'_> {
    /// Takes the next line. What could not be written is the only failure of the batch itself.
    fn take(&mut self, line: Line<'_>) -> Result<(), CliError> {
        match self.words.read(line, self.global) {
            Ok(Ok(Grite { global, command: Command::Issue(issue) })) => self.ask(issue, &global),
            Ok(Ok(grite)) => {
                self.settle();
                // It may take its time.
                self.output.write_collected()?;
                let done = carry_out(grite, &self.output);
                self.tell(done);
            }
            Ok(Err(unusual)) => {
                self.settle();
                let explained = usage::explain(&unusual, &self.output);
                self.tell(explained);
            }
            Err(error) => {
                self.settle();
                self.tell(Err(error));
            }
        }
        if self.output.collected_len() >= MOST_WAITING { self.output.write_collected() } else { Ok(()) }
    }

    fn ask(&mut self, issue: Issue, global: &Global) {
        match issue.question().command(global) {
            Ok(command) => {
                let read = is_read(&command);
                if !read {
                    self.settle();
                }
                self.questions.push(issue);
                self.reads.push(command);
                if !read || self.reads.len() == MOST_READS {
                    self.settle();
                }
            }
            Err(error) => {
                self.settle();
                self.tell(Err(error));
            }
        }
    }

    /// Asks what is not asked yet, and answers it.
    fn settle(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let Batch { global, tracker, questions, reads, output, .. } = self;
        let opened = match tracker {
            Some(tracker) => Ok(tracker),
            none => global.tracker_for_several().map(|opened| none.insert(opened)),
        };
        match opened {
            Ok(tracker) => {
                let mut answered = questions.iter();
                tracker.ask_all(reads, &mut |answer| {
                    let Some(issue) = answered.next() else { return };
                    let reported = answer
                        .and_then(crate::tracker::unless_refused)
                        .and_then(|answer| issue.question().report(answer, output));
                    tell(output, reported);
                });
            }
            Err(error) => questions.iter().for_each(|_| output.fail(&error)),
        }
        questions.clear();
        reads.clear();
    }

    fn tell(&self, done: Result<(), CliError>) {
        tell(&self.output, done);
    }
}

fn tell(output: &Output, done: Result<(), CliError>) {
    if let Err(error) = done {
        output.fail(&error);
    }
}

/// Whether other questions may be under way beside this one.
fn is_read(command: &IpcCommand) -> bool {
    matches!(command, IpcCommand::IssueShow { .. } | IpcCommand::IssueList { .. })
}
