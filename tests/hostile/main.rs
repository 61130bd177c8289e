//! Peers that break the rules on purpose: a client that writes what it likes into its region, and a
//! daemon that sends what it likes in the handshake and afterwards.
//!
//! They speak the documented bytes by hand, so that nothing of the library keeps them honest.
#![cfg(all(target_os = "linux", not(grite_portable), not(loom)))]
#![allow(unsafe_code, reason = "a hostile peer writes raw memory")]

mod apart;
mod archives;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod daemon;
#[path = "../filter/mod.rs"]
mod filter;
mod foreign;
#[path = "../held/mod.rs"]
mod held;
mod hello;
mod liar;
mod marks;
mod memory;
mod news;
mod race;
mod random;
mod ring;
#[path = "../rounds/mod.rs"]
mod rounds;
mod secrets;
mod serving;
mod welcome;

/// The parts that this program plays when a test starts it again.
#[test]
fn role() {
    let Some((role, folder)) = common::process::role() else { return };
    match role.as_str() {
        "server" => common::process::serve(&folder),
        "client that dies of mapping" => welcome::meet_unfit_pairs_and_a_server(&folder),
        other => panic!("no such role: {other}"),
    }
}
