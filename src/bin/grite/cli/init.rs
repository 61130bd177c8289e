//! `grite init`: makes the state folder and an empty store in it.

use serde::Serialize;

use super::{Global, daemon};
use crate::engine::{self, Engine};
use crate::error::CliError;
use crate::folder;
use crate::output::{Output, line};
use crate::runtime::Place;
use crate::store::Store;

#[derive(Serialize)]
struct Made {
    dir: String,
    created: bool,
}

pub fn run(global: &Global, output: &Output) -> Result<(), CliError> {
    let (dir, created) = folder::make()?;
    if !Store::is_in(&dir) {
        // An empty store in its place would hide that it is lost, and what is left of it would go.
        if folder::has_remains(&dir) {
            engine::check(&dir)?;
        }
        // A daemon can only have a store that was there before: nobody is to be answered from that. One that is
        // out of reach notices by itself, if somewhat later.
        let _ = Place::of(&dir).and_then(|place| daemon::end(&place, global));
    }
    // A folder that cannot hold a store is found out here, and not at the first command.
    Engine::make(&dir)?;
    let made = Made { dir: dir.display().to_string(), created };
    output.report(&made, |_| {
        let dir = line(&made.dir);
        if created { format!("made {dir}\n") } else { format!("{dir} is there already\n") }
    })
}
