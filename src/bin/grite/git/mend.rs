//! Objects that are damaged here and whole on a remote: [`Git::aside`] fetches them into a repository of
//! their own, and [`Git::mend_from`] puts them in the place of what is damaged.
//!
//! Git itself would not take them: it reads what it has, damaged or not, before it keeps another copy.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Git, GitError, Object, ObjectId, Ref};

impl Git {
    /// An empty repository in the folder `at`, with this one's configuration, remotes included.
    ///
    /// # Errors
    /// [`GitError`] when it cannot be made.
    pub fn aside(&self, at: &Path) -> Result<Git, GitError> {
        let aside = Git { dir: at.to_owned(), ..self.clone() };
        let format = self.run(&["rev-parse", "--show-object-format"])?;
        aside.run(&["init", "--quiet", "--bare", &format!("--object-format={}", format.trim())])?;
        let include = self.dir.join("config").display().to_string();
        aside.run(&["config", "include.path", &include])?;
        Ok(aside)
    }

    /// Puts each object of the histories of `tips`, which are refs of `other`, in the place of what this
    /// repository has under its name, where that is something else. Says how many there were.
    ///
    /// # Errors
    /// [`GitError`] when an object could not be put in its place.
    pub fn mend_from(&self, other: &Git, tips: &[Ref]) -> Result<usize, GitError> {
        let tips: String = tips.iter().map(|tip| format!("{}\n", tip.id)).collect();
        let arguments = ["rev-list", "--objects", "--no-object-names", "--stdin"];
        let listed = other.run_with_input(&arguments, tips.as_bytes())?;
        let ids: Vec<ObjectId> = listed.lines().filter_map(ObjectId::parse).collect();
        let (here, there) = (self.digests(&ids)?, other.digests(&ids)?);
        let wrong: Vec<&ObjectId> =
            ids.iter().filter(|id| there.contains_key(id) && here.get(id) != there.get(id)).collect();
        for id in &wrong {
            self.put(other, id)?;
        }
        Ok(wrong.len())
    }

    /// A digest of each object that can be read.
    fn digests(&self, ids: &[ObjectId]) -> Result<BTreeMap<ObjectId, [u8; 32]>, GitError> {
        let mut digests = BTreeMap::new();
        self.objects(ids, u64::MAX, &mut |index, object| {
            if let Object::Content(bytes) = object {
                digests.insert(ids[index].clone(), Sha256::digest(&bytes).into());
            }
        })?;
        Ok(digests)
    }

    /// Writes an object of `other` among our loose ones, over what is there.
    fn put(&self, other: &Git, id: &ObjectId) -> Result<(), GitError> {
        let kind = other.run(&["cat-file", "-t", id.as_str()])?;
        let mut content = Vec::new();
        other.objects(std::slice::from_ref(id), u64::MAX, &mut |_, object| {
            if let Object::Content(bytes) = object {
                content = bytes;
            }
        })?;
        let failed = |error: io::Error| GitError::Broken {
            what: "hash-object".to_owned(),
            problem: format!("object {id} cannot be put in its place: {error}"),
        };
        // Written into a folder where nothing of that name can be.
        let workshop = other.dir.join("mended");
        fs::create_dir_all(&workshop).map_err(failed)?;
        let writer = Git { objects: Some(workshop.clone()), ..other.clone() };
        writer.run_with_input(&["hash-object", "-t", kind.trim(), "-w", "--stdin"], &content)?;
        let (folder, file) = id.as_str().split_at(2);
        let place = self.dir.join("objects").join(folder);
        let draft = place.join(format!("tmp_obj_{file}"));
        fs::create_dir_all(&place)
            .and_then(|()| fs::copy(workshop.join(folder).join(file), &draft))
            .and_then(|_| fs::rename(&draft, place.join(file)))
            .map_err(failed)
    }
}
