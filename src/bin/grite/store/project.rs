//! Keeping folded issues, and making them searchable: [`Session::project`].

use std::collections::BTreeMap;

use rusqlite::types::ToSqlOutput;
use rusqlite::{ToSql, params, params_from_iter};

use super::{Session, StoreError};
use crate::model::{Issue, IssueId};

/// How many issues one statement makes searchable. The index writes itself out for each statement.
const TOGETHER: usize = 64;

/// What is searched of an issue, under its number.
struct Words<'a> {
    number: i64,
    issue: &'a Issue,
}

impl Session<'_> {
    /// Keeps folded issues, each in place of the one before, and makes them searchable.
    pub fn project(&self, issues: &BTreeMap<IssueId, Issue>) -> Result<(), StoreError> {
        let mut keep = self.0.prepare_cached(
            "INSERT INTO issues (id, folded) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET folded = excluded.folded RETURNING number",
        )?;
        // All rows first: each statement on another table makes the index write itself out, too.
        let mut words = Vec::with_capacity(issues.len());
        for (id, issue) in issues {
            let folded = issue
                .to_folded()
                .map_err(|error| StoreError::Damaged(format!("issue {id} cannot be written: {error}")))?;
            let number = keep.query_row(params![id.to_string(), folded.as_slice()], |row| row.get(0))?;
            words.push(Words { number, issue });
        }
        let (together, single) = words.as_chunks::<TOGETHER>();
        for together in together {
            self.index(together)?;
        }
        single.iter().try_for_each(|single| self.index(std::slice::from_ref(single)))
    }

    /// Makes as many issues searchable by one statement.
    fn index(&self, words: &[Words<'_>]) -> Result<(), StoreError> {
        let rows = vec!["(?, ?, ?, ?)"; words.len()].join(", ");
        let insert = format!("INSERT OR REPLACE INTO search (rowid, title, body, comments) VALUES {rows}");
        let mut values: Vec<ToSqlOutput<'_>> = Vec::with_capacity(4 * words.len());
        for Words { number, issue } in words {
            let said: Vec<&str> = issue.remarks().iter().map(|remark| remark.body.as_str()).collect();
            values.push(number.to_sql()?);
            values.push(issue.title().to_sql()?);
            values.push(issue.body().to_sql()?);
            values.push(said.join("\n").into());
        }
        self.0.prepare_cached(&insert)?.execute(params_from_iter(values))?;
        Ok(())
    }
}
