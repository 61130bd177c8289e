//! Answers that are archived already: [`Cache`], from what was asked to the bytes to send.
//!
//! An answer stands for one generation of the engine; the first look with another one empties the
//! cache. What is kept is bounded in answers and in bytes: two halves, where the older one goes as a
//! whole when the younger one is full, and what is asked for again moves to the younger one. So what is
//! hot stays, and nothing is sorted or counted on the way.

use std::collections::HashMap;
use std::sync::Arc;

use libgrite_ipc::{Encoded, IpcResponse};

/// An answer's archive, shared with whoever is sending it.
pub type Archive = Arc<Encoded<IpcResponse>>;

/// How many answers one half holds.
const MAX_ENTRIES: usize = 4096;

/// How many bytes one half holds; an answer that takes a quarter of it is not kept.
const MAX_BYTES: usize = 16 << 20;

/// What an answer takes beside its archive and its key, in bytes.
const ENTRY: usize = 128;

/// Answers of one generation.
#[derive(Default)]
pub struct Cache {
    generation: u64,
    young: Half,
    old: Half,
}

#[derive(Default)]
struct Half {
    answers: HashMap<Box<[u8]>, Archive>,
    bytes: usize,
}

impl Cache {
    /// The answer to the question `key`, if it is one of `generation`.
    pub fn find(&mut self, generation: u64, key: &[u8]) -> Option<Archive> {
        if self.generation != generation {
            *self = Cache { generation, ..Cache::default() };
        }
        if let Some(answer) = self.young.answers.get(key) {
            return Some(Arc::clone(answer));
        }
        let (key, answer) = self.old.answers.remove_entry(key)?;
        self.add(key, Arc::clone(&answer));
        Some(answer)
    }

    /// Keeps an answer that was made after `generation` was looked up.
    pub fn keep(&mut self, generation: u64, key: &[u8], answer: &Archive) {
        if self.generation == generation && weight(key, answer) <= MAX_BYTES / 4 {
            self.add(key.into(), Arc::clone(answer));
        }
    }

    fn add(&mut self, key: Box<[u8]>, answer: Archive) {
        let weight = weight(&key, &answer);
        if self.young.answers.len() >= MAX_ENTRIES || self.young.bytes + weight > MAX_BYTES {
            self.old = std::mem::take(&mut self.young);
        }
        // Two threads may have made the same answer at once.
        if self.young.answers.insert(key, answer).is_none() {
            self.young.bytes += weight;
        }
    }
}

fn weight(key: &[u8], answer: &Archive) -> usize {
    ENTRY + key.len() + answer.len()
}

#[cfg(test)]
mod tests {
    use libgrite_ipc::grite::IssueCreateResult;

    use super::*;

    fn answer(length: usize) -> Archive {
        let response = IpcResponse::IssueCreate(IssueCreateResult { id: "x".repeat(length) });
        Arc::new(Encoded::new(&response).unwrap())
    }

    fn key(number: usize) -> [u8; 8] {
        (number as u64).to_le_bytes()
    }

    #[test]
    fn an_answer_stands_for_one_generation() {
        let mut cache = Cache::default();
        assert!(cache.find(1, b"a").is_none());
        cache.keep(1, b"a", &answer(10));
        assert!(cache.find(1, b"a").is_some());
        assert!(cache.find(1, b"b").is_none());
        assert!(cache.find(2, b"a").is_none());
        cache.keep(1, b"a", &answer(10));
        assert!(cache.find(2, b"a").is_none(), "made for a generation that is over");
        assert!(cache.find(1, b"a").is_none());
    }

    #[test]
    fn the_count_and_the_bytes_are_bounded() {
        let mut cache = Cache::default();
        cache.find(1, b"");
        for number in 0..3 * MAX_ENTRIES {
            cache.keep(1, &key(number), &answer(10));
            assert!(cache.young.answers.len() <= MAX_ENTRIES && cache.old.answers.len() <= MAX_ENTRIES);
        }
        let large = answer(MAX_BYTES / 8);
        for number in 0..20 {
            cache.keep(1, &key(number), &large);
            assert!(cache.young.bytes <= MAX_BYTES && cache.old.bytes <= MAX_BYTES);
        }
        cache.keep(1, b"too large", &answer(MAX_BYTES / 4));
        assert!(cache.find(1, b"too large").is_none());
    }

    #[test]
    fn what_is_asked_for_again_stays() {
        let mut cache = Cache::default();
        cache.find(1, b"");
        cache.keep(1, b"hot", &answer(10));
        for number in 0..5 * MAX_ENTRIES {
            cache.keep(1, &key(number), &answer(10));
            assert!(cache.find(1, b"hot").is_some(), "{number}");
        }
        assert!(cache.find(1, &key(0)).is_none());
    }

    #[test]
    fn a_repeat_weighs_once() {
        let mut cache = Cache::default();
        cache.find(1, b"");
        cache.keep(1, b"a", &answer(10));
        let bytes = cache.young.bytes;
        cache.keep(1, b"a", &answer(10));
        assert_eq!(cache.young.bytes, bytes);
    }
}
