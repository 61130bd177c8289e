//! How a daemon runs: [`Manner`], as its command line says, or else the environment.

use std::env;
use std::time::Duration;

use crate::duration::duration;
use crate::error::{CliError, Code};

/// How long a daemon waits for somebody to ask.
const IDLE: Duration = Duration::from_secs(600);

/// How a daemon runs.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// It ends when nobody was connected for this long.
    pub idle: Duration,
    /// It syncs with the usual remote this often, if at all.
    pub sync_every: Option<Duration>,
}

impl Manner {
    /// What was given, and for the rest what `$GRITE_IDLE_TIMEOUT` and `$GRITE_SYNC_EVERY` say.
    ///
    /// # Errors
    /// A [`CliError`] that names the variable that holds no time.
    pub fn of(idle: Option<Duration>, sync_every: Option<Duration>) -> Result<Self, CliError> {
        let given_or =
            |given: Option<Duration>, name| given.map_or_else(|| from(name), |given| Ok(Some(given)));
        let idle = given_or(idle, "GRITE_IDLE_TIMEOUT")?.unwrap_or(IDLE);
        Ok(Manner { idle, sync_every: given_or(sync_every, "GRITE_SYNC_EVERY")? })
    }
}

/// The time in the variable `name`, if it is set to something.
fn from(name: &str) -> Result<Option<Duration>, CliError> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let read = value.to_str().ok_or_else(|| "it is not UTF-8".to_owned()).and_then(duration);
    read.map(Some).map_err(|problem| {
        let message = format!("the variable {name} is {}: {problem}", value.display());
        CliError::new(Code::Usage, message, "set it to a time such as 90s or 10m, or to nothing")
    })
}
