//! How many instructions a hot request takes on each side, against limits that are committed.
//!
//! `cargo bench --profile counted --features inside --bench instructions`; it needs `valgrind`, which counts. Times
//! differ from run to run and from machine to machine; what the processor is told to do hardly does, so a change
//! that makes each request do more shows here, however busy the machine is. The whole way of a request is run on
//! one thread, client and server by turns, so that nobody ever waits: what waiting costs is not counted, nor what
//! the clock does when it is read. A CPU without AVX takes more to copy the 4 KiB of an `echo`.
//!
//! The limits in `limits.txt` are what was counted when they were last set, plus 3 %, with the compiler that
//! stands there. Another compiler's counts are shown and not judged. `LIMITS=write` sets them anew.

#[path = "../samples/mod.rs"]
mod samples;

mod count;
mod hot;
mod limits;

use std::process::ExitCode;

use count::Side;
use limits::Limits;

fn main() -> ExitCode {
    if let Some((case, requests)) = count::ordered() {
        case.run(requests);
        return ExitCode::SUCCESS;
    }
    if !count::can_count() {
        println!("no valgrind here: nothing is counted, and nothing judged");
        return ExitCode::SUCCESS;
    }
    let limits = Limits::read();
    let compiler = count::compiler();
    let judged = limits.compiler == compiler;
    if !judged {
        println!("note: counted with {compiler}, the limits with {}: shown, not judged", limits.compiler);
    }
    println!("{:<8}{:<8}{:>12}{:>8}{:>9}", "request", "side", "instructions", "limit", "by");
    let mut counts = Vec::new();
    let mut over = false;
    for case in hot::Case::ALL {
        for side in Side::ALL {
            let counted = count::per_request(case, side);
            let limit = limits.of(case, side);
            over |= limit.is_none_or(|limit| counted > limit as f64);
            let (limit, by) = match limit {
                Some(limit) => {
                    let by = (counted / limit as f64 - 1.0) * 100.0;
                    (limit.to_string(), format!("{by:+.1} %"))
                }
                None => ("none".to_owned(), String::new()),
            };
            println!("{:<8}{:<8}{counted:>12.1}{limit:>8}{by:>9}", case.name(), side.name());
            counts.push((case, side, counted));
        }
    }
    if std::env::var_os("LIMITS").is_some_and(|order| order == "write") {
        limits::write(&compiler, &counts);
        return ExitCode::SUCCESS;
    }
    if over && judged {
        println!("a request takes more than it may: make it take less, or say why and set the limit anew");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
