//! Names that nobody has used: [`digits`].

use std::hash::{BuildHasher, RandomState};

/// 128 bits from the keys that the system gave our hash maps, as 32 hexadecimal digits.
pub fn digits() -> String {
    let half = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_names_differ() {
        let names: std::collections::HashSet<_> = (0..1000).map(|_| digits()).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 32));
    }
}
