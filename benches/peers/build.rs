//! Tells the program what it was built with.

use std::env;
use std::fs;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../Cargo.toml");
    let rustc = env::var("RUSTC").expect("cargo names the compiler");
    let version = Command::new(rustc).arg("--version").output().expect("the compiler runs").stdout;
    println!("cargo::rustc-env=PEERS_COMPILER={}", String::from_utf8_lossy(&version).trim());
    let manifest = fs::read_to_string("../../Cargo.toml").expect("the library lies two folders up");
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = ")).unwrap_or("unknown");
    println!("cargo::rustc-env=PEERS_LIBRARY={}", version.trim_matches('"'));
}
