//! `grite`: an issue tracker on your own machine, for agents and people.
//!
//! It is the reference user of the library: its commands ask a warm daemon, or work on the store
//! themselves where there is none. Read the modules in this order: `model` says what an issue is,
//! `store` keeps it, `engine` answers commands, `daemon` does so for all, `tracker` is the way from a command
//! to an engine, `cli` is what a person types, and `output` and `error` what comes back.

mod cli;
mod daemon;
#[cfg(test)]
mod dice;
mod doctor;
mod duration;
mod engine;
mod error;
mod fault;
mod folder;
mod foreign;
mod git;
mod locks;
mod measure;
mod model;
mod output;
mod random;
mod release;
mod runtime;
mod scratch;
mod store;
mod sync;
mod tracker;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGXFSZ;

fn main() -> ExitCode {
    // A file that may not grow any more is then an error of whoever writes, and not the end of the process. What
    // this one starts has the signal as it always is, since a handler does not outlive `exec`.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    cli::run()
}
