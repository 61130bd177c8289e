//! Tells the program what it was built with, and writes the code of the peers that generate some.

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

    #[cfg(feature = "tonic")]
    service();
    println!("cargo::rustc-check-cfg=cfg(capnp_compiler)");
    #[cfg(feature = "capnproto")]
    schema();
}

/// The gRPC service; its messages are written by hand in `src/peers/tonic.rs`.
#[cfg(feature = "tonic")]
fn service() {
    use tonic_build::manual::{Builder, Method, Service};
    let method = |name: &str, route: &str, input: &str, output: &str| {
        let [input, output] = [input, output].map(|name| format!("crate::peers::tonic::{name}"));
        let method = Method::builder().name(name).route_name(route).input_type(input).output_type(output);
        method.codec_path("tonic_prost::ProstCodec").build()
    };
    let service = Service::builder()
        .name("Asked")
        .package("peers")
        .method(method("echo", "Echo", "Echo", "Echo"))
        .method(method("show", "Show", "Empty", "Issue"))
        .method(method("list", "List", "Empty", "Issues"));
    Builder::new().compile(&[service.build()]);
}

/// Cap'n Proto's types. Their compiler is a program of its own; without it that peer is left out.
#[cfg(feature = "capnproto")]
fn schema() {
    println!("cargo::rerun-if-changed=schema/peers.capnp");
    println!("cargo::rerun-if-env-changed=PATH");
    if Command::new("capnp").arg("--version").output().is_ok() {
        capnpc::CompilerCommand::new()
            .src_prefix("schema")
            .file("schema/peers.capnp")
            .default_parent_module(vec!["peers".to_owned(), "capnproto".to_owned()])
            .run()
            .expect("the schema compiles");
        println!("cargo::rustc-cfg=capnp_compiler");
    } else {
        println!("cargo::warning=no program `capnp`: the peer Cap'n Proto RPC is left out");
    }
}
