//! Lines of bounded length, and whether the next one is there already: [`Lines`].

use std::io::{self, BufRead, BufReader, Read};

/// The longest line, in bytes: a text of the longest kind has six bytes a character where all are escaped.
pub const MAX_LINE: usize = 8 << 20;

/// A line, without its end.
pub enum Line<'a> {
    Text(&'a [u8]),
    /// It has more than [`MAX_LINE`] bytes, which were skipped.
    TooLong,
}

/// The lines of an input.
pub struct Lines<R> {
    input: BufReader<R>,
    line: Vec<u8>,
}

impl<R: Read> Lines<R> {
    pub fn of(input: BufReader<R>) -> Self {
        Lines { input, line: Vec::new() }
    }

    /// Whether a whole line was read already, so that [`next`](Lines::next) does not wait.
    pub fn has_next(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    /// The next line; the last one needs no end.
    ///
    /// # Errors
    /// Those of the input.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        // One byte more than a line may have is its end, or too much.
        let most = MAX_LINE as u64 + 1;
        if self.input.by_ref().take(most).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() > MAX_LINE {
            self.line = Vec::new();
            self.input.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Text(&self.line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::of(BufReader::with_capacity(16, input));
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(match line {
                Line::Text(text) => Some(text.to_vec()),
                Line::TooLong => None,
            });
        }
        all
    }

    #[test]
    fn every_line_comes_once_with_or_without_an_end() {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(read(b""), []);
        assert_eq!(read(b"\n"), [text("")]);
        assert_eq!(read(b"a\n\nb"), [text("a"), text(""), text("b")]);
        let long = "x".repeat(100);
        assert_eq!(read(format!("{long}\n{long}\n").as_bytes()), [text(&long), text(&long)]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_not() {
        let input = |length: usize| [vec![b'x'; length], b"\nnext\n".to_vec()].concat();
        assert_eq!(read(&input(MAX_LINE))[0].as_ref().map(Vec::len), Some(MAX_LINE));
        for length in [MAX_LINE + 1, MAX_LINE + 100] {
            assert_eq!(read(&input(length)), [None, Some(b"next".to_vec())]);
        }
        assert_eq!(read(&vec![b'x'; MAX_LINE + 1]), [None]);
    }

    #[test]
    fn only_what_was_read_already_is_there() {
        let mut lines = Lines::of(BufReader::with_capacity(4, &b"a\nb\ncd"[..]));
        assert!(!lines.has_next(), "nothing was read");
        lines.next().unwrap();
        assert!(lines.has_next());
        lines.next().unwrap();
        assert!(!lines.has_next());
    }
}
