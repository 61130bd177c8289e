//! The refs of the repository: [`Git::refs`], what they name, and removing one.

use super::{Git, GitError, ObjectId};

/// A ref, and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ref {
    /// Its whole name.
    pub name: String,
    /// What it names.
    pub id: ObjectId,
}

impl Git {
    /// The refs whose names begin with the folder `prefix`, without those that name nothing.
    ///
    /// # Errors
    /// [`GitError`] when git could not be run.
    pub fn refs(&self, prefix: &str) -> Result<Vec<Ref>, GitError> {
        // Unlike `for-each-ref` with more of a format, this does not open what the refs name.
        let text = self.run(&["for-each-ref", "--format=%(objectname) %(refname)", prefix])?;
        let parse = |line: &str| {
            let (id, name) = line.split_once(' ')?;
            Some(Ref { name: name.to_owned(), id: ObjectId::parse_present(id)? })
        };
        Ok(text.lines().filter_map(parse).collect())
    }

    /// What lies among the refs of the folder `prefix` and is none, by name.
    ///
    /// # Errors
    /// [`GitError`] when git could not be run.
    pub fn broken_refs(&self, prefix: &str) -> Result<Vec<String>, GitError> {
        let (_, finished) = self.try_run(&["for-each-ref", "--format=%(refname)", prefix], b"")?;
        let broken = finished.said.lines().filter_map(|line| line.split_once("ignoring broken ref "));
        Ok(broken.map(|(_, name)| name.trim().to_owned()).filter(|name| name.starts_with(prefix)).collect())
    }

    /// What the ref `name` names.
    ///
    /// # Errors
    /// [`GitError`] when git could not be run.
    pub fn resolve(&self, name: &str) -> Result<Option<ObjectId>, GitError> {
        let (text, _) = self.try_run(&["rev-parse", "--verify", "--quiet", name], b"")?;
        Ok(ObjectId::parse_present(text.trim()))
    }

    /// Whether the history of the commit `later` holds `earlier`; what git does not have is in none.
    ///
    /// # Errors
    /// [`GitError`] when git could not be run.
    pub fn descends(&self, later: &ObjectId, earlier: &ObjectId) -> Result<bool, GitError> {
        let arguments = ["merge-base", "--is-ancestor", earlier.as_str(), later.as_str()];
        let (_, finished) = self.try_run(&arguments, b"")?;
        Ok(finished.status.success())
    }

    /// Whether the histories of `later` hold all of `earlier`; what git does not have is in none.
    ///
    /// # Errors
    /// [`GitError`] when git could not be run.
    pub fn all_within(&self, earlier: &[ObjectId], later: &[&ObjectId]) -> Result<bool, GitError> {
        let earlier = earlier.iter().map(|id| format!("{id}\n"));
        let input: String = earlier.chain(later.iter().map(|id| format!("^{id}\n"))).collect();
        let (text, finished) = self.try_run(&["rev-list", "--max-count=1", "--stdin"], input.as_bytes())?;
        Ok(finished.status.success() && text.is_empty())
    }

    /// Removes the ref `name`, whatever it names.
    ///
    /// # Errors
    /// [`GitError`] when git refuses.
    pub fn delete_ref(&self, name: &str) -> Result<(), GitError> {
        self.run(&["update-ref", "--no-deref", "-d", name]).map(drop)
    }
}
