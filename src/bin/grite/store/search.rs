//! [`Words`]: what a person typed to search for, as a query that cannot be malformed.
//!
//! SQLite's full-text search has a language of its own. Nothing of it reaches a user: each word is
//! quoted, all must match, and the last one may be the beginning of a longer word, as people type.

/// At least one word to search for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(String);

impl Words {
    /// Splits `text` at spaces and control characters. `None` when there is no word in it.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<String> = text
            .split(|character: char| character.is_whitespace() || character.is_control())
            // A quoted word without a letter or digit has no token, and would match nothing.
            .filter(|word| word.chars().any(char::is_alphanumeric))
            .map(|word| format!("\"{}\"", word.replace('"', "\"\"")))
            .collect();
        if words.is_empty() { None } else { Some(Words(words.join(" AND ") + "*")) }
    }

    /// The query in the language of FTS5.
    pub fn query(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_quoted() {
        for (text, query) in [
            ("warm", Some("\"warm\"*")),
            ("  warm\tdaemon ", Some("\"warm\" AND \"daemon\"*")),
            ("say \"hi\" OR -x", Some("\"say\" AND \"\"\"hi\"\"\" AND \"OR\" AND \"-x\"*")),
            ("a\0b", Some("\"a\" AND \"b\"*")),
            ("", None),
            ("-- ***", None),
        ] {
            assert_eq!(Words::parse(text).as_ref().map(Words::query), query, "{text:?}");
        }
    }
}
