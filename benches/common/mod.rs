//! What the benches share: numbers from the environment, child processes, an echo, quantiles.

#![allow(dead_code, reason = "each bench uses its part")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libgrite_ipc::{Protocol, Server, wire};

wire! {
    /// Bytes to give back.
    pub struct Load {
        /// The bytes.
        pub bytes: Vec<u8>,
    }
}

impl Load {
    /// So many bytes, not all alike.
    pub fn of(length: usize) -> Self {
        Load { bytes: (0..length).map(|index| index as u8).collect() }
    }
}

/// Gives back what it gets.
pub enum Echo {}

impl Protocol for Echo {
    type Request = Load;
    type Response = Load;
    const NAME: &'static str = "echo";
    const VERSION: u16 = 1;
}

/// Gives bytes back at `echo.sock` in `folder`, until the process is ended.
pub fn serve_echo(folder: &Path) {
    let server = Server::<Echo>::bind(folder.join("echo.sock")).expect("the server binds");
    server.serve(|load, _cx| Load { bytes: load.bytes.to_vec() }).expect("the server serves");
}

/// A number that the caller may have set.
pub fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Tells a child process which part it plays, and in which folder.
const ROLE: &str = "GRITE_BENCH_ROLE";
const FOLDER: &str = "GRITE_BENCH_FOLDER";

/// This program, started again for a part of its own; ends with this value.
pub struct Helper(pub Child);

impl Helper {
    /// Starts the part `role`, which finds its files in `folder`.
    pub fn start(role: &str, folder: &Path) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.env(ROLE, role).env(FOLDER, folder).stdin(Stdio::null());
        Helper(command.spawn().expect("the child starts"))
    }

    /// The part that this process plays, and its folder; nothing in the process that was started first.
    pub fn role() -> Option<(String, std::path::PathBuf)> {
        Some((std::env::var(ROLE).ok()?, std::env::var_os(FOLDER)?.into()))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a child has made `path`.
pub fn wait_for(path: &Path) {
    let end = Instant::now() + Duration::from_secs(10);
    while !path.exists() {
        assert!(Instant::now() < end, "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The time that `share` of `times` do not exceed.
pub fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}

/// The time that half of `times` do not exceed.
pub fn median(times: &mut [Duration]) -> Duration {
    quantile(times, 0.5)
}

/// User and system time of a process so far.
pub fn cpu(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process lives");
    let nanos = tasks.map(|task| {
        let path = task.expect("a thread").path().join("schedstat");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0)
    });
    Duration::from_nanos(nanos.sum())
}
