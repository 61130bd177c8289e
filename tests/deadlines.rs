//! Commands whose time is up before they are answered: they end then, and say what to do.
#![cfg(all(feature = "cli", target_os = "linux"))]

mod ended;
mod home;

use home::Home;
use serde_json::{Value, json};

/// Keeps all others from writing to the store until it is dropped.
fn writing(home: &Home) -> rusqlite::Connection {
    let store = rusqlite::Connection::open(home.path("state/issues.db")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    store
}

/// The error of a command.
fn error(document: &Value) -> &Value {
    assert_eq!(document["ok"], false, "{document}");
    &document["error"]
}

#[test]
fn a_write_whose_answer_did_not_come_in_time_is_done_once_with_the_key_that_the_error_names() {
    let home = Home::new();
    home.create("starts the daemon");
    for (number, way) in ["socket", "batch"].iter().enumerate() {
        let create = ["issue", "create", &format!("by {way}")].map(str::to_owned).to_vec();
        let run = |words: &[String], timeout: &str| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if *way == "batch" {
                let line = format!("{}\n", json!(words));
                home.run(&["batch", "--timeout", timeout, "--transport", "socket"], &line)
            } else {
                home.run(&[&words[..], &["--json", "--timeout", timeout, "--transport", way]].concat(), "")
            }
        };
        let other = writing(&home);
        let failed = run(&create, "300ms").document();
        drop(other);
        let error = error(&failed);
        assert!(error["retryable"] == true && error["code"] != "conflict", "{error}");
        let key = error["idempotency_key"].as_str().unwrap();
        let option = format!("--idempotency-key {key}");
        assert!(error["hint"].as_str().unwrap().contains(&option), "{error}");
        // The daemon may have carried it out by now, and may not.
        let repeat = [create, vec!["--idempotency-key".to_owned(), key.to_owned()]].concat();
        assert_eq!(run(&repeat, "60s").document()["ok"], true);
        assert_eq!(home.data(&["issue", "list"])["total"], 2 + number);
    }
    // Nobody has to be told for a read.
    let missing = home.run(&["issue", "show", "nothing", "--json"], "").document();
    assert_eq!(error(&missing)["idempotency_key"], Value::Null);
}
