//! Counting: this program again, under valgrind.

use std::process::{Command, Stdio};

use crate::hot::Case;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub const ALL: [Self; 2] = [Side::Client, Side::Server];

    pub fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }

    /// The function that it is counted in.
    fn function(self) -> &'static str {
        match self {
            Side::Client => "on_client_side",
            Side::Server => "on_server_side",
        }
    }
}

/// Tells the counted process what to do.
const ORDER: &str = "INSTRUCTIONS_ORDER";

/// What this process is to do, if it is one that is counted.
pub fn ordered() -> Option<(Case, u32)> {
    let order = std::env::var(ORDER).ok()?;
    let (case, requests) = order.split_once(' ').expect("a case and a number");
    Some((Case::of_name(case).expect("a case"), requests.parse().expect("a number")))
}

/// Whether there is a valgrind.
pub fn can_count() -> bool {
    let asked = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// What compiles here, and for what.
pub fn compiler() -> String {
    let asked = Command::new("rustc").arg("--version").output().expect("there is a compiler");
    let version = String::from_utf8(asked.stdout).expect("its version is text");
    format!("{} for {}", version.trim(), std::env::consts::ARCH)
}

/// How many instructions a request takes on one side.
pub fn per_request(case: Case, side: Side) -> f64 {
    /// A server looks who has become quiet after so many requests: each count has the same share of that.
    const REQUESTS: u32 = 4096;
    // What is done once, or while buffers grow, is in both.
    let (once, twice) = (count(case, side, REQUESTS), count(case, side, 2 * REQUESTS));
    (twice - once) as f64 / f64::from(REQUESTS)
}

/// Has the C library copy as it does on the oldest machines, on every one.
const PLAIN_COPIES: &str =
    "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-SSSE3";

fn count(case: Case, side: Side, requests: u32) -> u64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{}*", side.function()))
        .arg(program)
        // Nothing else, since what lies on the stack moves what is counted.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env(ORDER, format!("{} {requests}", case.name()))
        .env("GLIBC_TUNABLES", PLAIN_COPIES)
        .output()
        .expect("valgrind starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let counted = said.lines().find_map(|line| line.split_once("Collected :"));
    let (_, number) = counted.unwrap_or_else(|| panic!("no count in what valgrind said:\n{said}"));
    number.trim().parse().expect("a number")
}
