//! The list of faults in the guide and the tests that hold its promises name each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// How many rows the list has.
const ROWS: u32 = 60;

/// All sources of a folder, in the order of their names.
fn sources(folder: &Path) -> Vec<String> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
    found
}

/// The numbers in `Fault 17.` or `Faults 1, 2 and 4.` at the start of a documentation.
fn faults(documentation: &str) -> BTreeSet<u32> {
    let Some(rest) = documentation.strip_prefix("Fault") else { return BTreeSet::new() };
    let Some((numbers, _)) = rest.trim_start_matches('s').split_once('.') else { return BTreeSet::new() };
    let words = numbers.split([' ', ',']).filter(|word| !word.is_empty() && *word != "and");
    assert!(!numbers.contains(" to ") || numbers.contains(", "), "name each number: {documentation}");
    // Other sentences may begin with the word.
    words.map(|word| word.parse().ok()).collect::<Option<_>>().unwrap_or_default()
}

/// Which tests say that they hold which rows.
fn held() -> BTreeMap<u32, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut held: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for source in ["src", "tests"].into_iter().flat_map(|folder| sources(&root.join(folder))) {
        let (mut rows, mut is_test) = (BTreeSet::new(), false);
        for line in source.lines().map(str::trim_start) {
            if let Some(text) = line.strip_prefix("/// ") {
                rows.extend(faults(text));
            } else if line == "#[test]" {
                is_test = true;
            } else if let Some(name) = line.strip_prefix("fn ") {
                let name = name.split(['(', '<']).next().unwrap();
                for row in std::mem::take(&mut rows).into_iter().filter(|_| is_test) {
                    held.entry(row).or_default().insert(name.to_owned());
                }
                is_test = false;
            } else if !line.starts_with("#[") && !line.starts_with("///") {
                rows.clear();
                is_test = false;
            }
        }
    }
    held
}

/// Which tests the guide names for which rows, in its order.
fn listed() -> Vec<(u32, BTreeSet<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide/faults.md");
    let page = fs::read_to_string(page).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let number = cells.next()?.parse().ok()?;
        let tests = cells.nth(2)?;
        Some((number, tests.split('`').skip(1).step_by(2).map(str::to_owned).collect()))
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn every_fault_has_its_row_and_every_row_its_tests() {
    let (held, listed) = (held(), listed());
    let numbers: Vec<u32> = listed.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=ROWS).collect::<Vec<_>>());
    for (number, tests) in listed {
        let documented = held.get(&number).cloned().unwrap_or_default();
        assert_eq!(tests, documented, "row {number}: in the guide, and in the tests' documentation");
        assert!(!tests.is_empty(), "row {number} has no test");
    }
    assert!(held.keys().all(|row| (1..=ROWS).contains(row)), "a test of a row that is not there");
}
