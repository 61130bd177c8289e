//! Text of others, made harmless for a terminal.
//!
//! A title or body may hold anything, escape sequences that rewrite the screen included. What a
//! terminal would obey, or what would show text in another order than it is in, is shown as an escape.

use std::fmt::Write;

/// `raw` as one line.
pub fn line(raw: &str) -> String {
    escape(raw, |_| false)
}

/// `raw` with its line breaks and tabs.
pub fn text(raw: &str) -> String {
    escape(raw, |character| matches!(character, '\n' | '\t'))
}

fn escape(raw: &str, keep: impl Fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(raw.len());
    for character in raw.chars() {
        match character {
            kept if keep(kept) || !obeyed(kept) => plain.push(kept),
            '\n' => plain.push_str("\\n"),
            '\r' => plain.push_str("\\r"),
            '\t' => plain.push_str("\\t"),
            other => {
                // Writing to a string does not fail.
                let _ = write!(plain, "\\u{{{:x}}}", u32::from(other));
            }
        }
    }
    plain
}

/// Whether a terminal does something at `character` other than to show it in its place.
fn obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        for (raw, one_line, lines) in [
            ("plain é 日本 😀", "plain é 日本 😀", "plain é 日本 😀"),
            ("a\nb\tc\r", "a\\nb\\tc\\r", "a\nb\tc\\r"),
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}", "\\u{1b}[2J\\u{7}"),
            ("a\u{61c}b\u{200f}", "a\\u{61c}b\\u{200f}", "a\\u{61c}b\\u{200f}"),
            ("\u{9b}x\u{202e}y", "\\u{9b}x\\u{202e}y", "\\u{9b}x\\u{202e}y"),
        ] {
            assert_eq!((line(raw).as_str(), text(raw).as_str()), (one_line, lines));
        }
    }
}
