//! `grite init`: makes the state folder and an empty store in it.

use serde::Serialize;

use crate::engine::Engine;
use crate::error::CliError;
use crate::folder;
use crate::output::{Output, line};

#[derive(Serialize)]
struct Made {
    dir: String,
    created: bool,
}

pub fn run(output: &Output) -> Result<(), CliError> {
    let (dir, created) = folder::make()?;
    // A folder that cannot hold a store is found out here, and not at the first command.
    Engine::open(&dir)?;
    let made = Made { dir: dir.display().to_string(), created };
    output.report(&made, |_| {
        let dir = line(&made.dir);
        if created { format!("made {dir}\n") } else { format!("{dir} is there already\n") }
    })
}
