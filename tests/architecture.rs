//! The layers of the library hold, and `unsafe` stays where it is allowed.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use sources::sources;

/// Each module's row: it may use itself and the rows below.
const ROWS: &[(u32, &[&str])] = &[
    (0, &["fault", "frame", "identity"]),
    (1, &["cpu", "payload", "shm", "sync"]),
    (2, &["ring", "wait", "stream"]),
    (3, &["channel", "handshake", "protocol"]),
    (4, &["error"]),
    (5, &["transport", "lock"]),
    (6, &["grite", "client", "server"]),
    (7, &["testing", "fuzz"]),
    (8, &["guide", "inside"]),
];

/// The files that may use `unsafe`.
const UNSAFE: &[&str] = &["src/protocol/message.rs", "src/ring/regions.rs", "src/shm.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The code of a file without comments and without its modules of tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//")).peekable();
    let mut code = String::new();
    while let Some(line) = lines.next() {
        let is_for_tests = line.starts_with("#[cfg(") && line.contains("test");
        if is_for_tests && lines.next_if(|next| next.starts_with("mod ") && next.ends_with('{')).is_some() {
            assert!(lines.any(|line| line == "}"), "{}: a module that does not end", relative(path));
        } else {
            code.extend([line, "\n"]);
        }
    }
    code
}

/// The module of the library that a file belongs to, if it belongs to one.
fn module(path: &Path) -> Option<String> {
    let within = path.strip_prefix(root().join("src")).ok()?;
    let first = within.components().next()?.as_os_str().to_str()?.trim_end_matches(".rs").to_owned();
    (first != "lib" && first != "bin").then_some(first)
}

/// The top-level modules that `code` names after `crate::`.
fn used(code: &str) -> BTreeSet<String> {
    let name = |rest: &str| {
        assert!(
            !rest.starts_with(['{', '*', '\n']),
            "each module is named in a line of its own: crate::{rest:.40}"
        );
        rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let names = code.split("crate::").skip(1).map(name);
    names.filter(|name| name.starts_with(char::is_lowercase)).collect()
}

#[test]
fn each_layer_uses_only_the_rows_below() {
    let rows: BTreeMap<&str, u32> =
        ROWS.iter().flat_map(|(row, modules)| modules.iter().map(move |module| (*module, *row))).collect();
    let mut seen = BTreeSet::new();
    for path in sources(&root().join("src")) {
        let Some(module) = module(&path) else { continue };
        let row = *rows.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no row"));
        for name in used(&code(&path)) {
            let Some(&other) = rows.get(name.as_str()) else { continue };
            assert!(
                name == module || other < row,
                "{} (row {row}) uses {name} (row {other})",
                relative(&path)
            );
        }
        seen.insert(module);
    }
    let all: BTreeSet<String> = rows.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(seen, all, "every row's module exists");
}

#[test]
fn unsafe_code_stays_in_the_files_that_may_have_it() {
    let mut opted = BTreeSet::new();
    for path in sources(&root().join("src")) {
        let code = code(&path);
        // The loom models are compiled for tests alone, and use unsafe for loom's own cells.
        if relative(&path).starts_with("src/channel/models") {
            continue;
        }
        if code.contains("allow(unsafe_code") || code.contains("expect(unsafe_code") {
            opted.insert(relative(&path));
        }
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        if words.clone().any(|word| word == "unsafe") {
            assert!(UNSAFE.contains(&relative(&path).as_str()), "{} contains unsafe", relative(&path));
        }
    }
    assert_eq!(opted, UNSAFE.iter().map(|file| (*file).to_owned()).collect());
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"deny\""));
}

#[test]
fn the_binary_uses_the_public_interface_alone() {
    for path in sources(&root().join("src/bin")) {
        let code = code(&path);
        assert!(!code.contains("#[path"), "{} reaches into the library", relative(&path));
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut in_dependencies = false;
    let mut before = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        } else if in_dependencies && line.contains(" = ") {
            let explained = before.starts_with('#') || before.contains(" = ");
            assert!(explained, "no reason stands above {line}");
        }
        before = line;
    }
}
