//! How text looks where stdout goes: its width, and whether it may have colour.

use std::env;
use std::io::{IsTerminal, stdout};

/// A narrower terminal is written to as if it had this width, in columns.
const NARROWEST: usize = 40;

/// Where text goes.
pub struct Terminal {
    /// In columns; absent where lines may have any length.
    pub width: Option<usize>,
    colour: bool,
}

/// What a piece of text is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Names of columns and fields.
    Heading,
    /// An id.
    Id,
    /// Something that is open, or went well.
    Good,
    /// Something that is over.
    Done,
    /// What is less important.
    Faint,
    /// All else.
    Plain,
}

impl Terminal {
    /// A place where lines are not cut and nothing is coloured.
    pub fn none() -> Self {
        Terminal { width: None, colour: false }
    }

    /// A place without colour that is `width` columns wide.
    #[cfg(test)]
    pub fn wide(width: usize) -> Self {
        Terminal { width: Some(width), colour: false }
    }

    /// Looks at stdout.
    pub fn of_stdout() -> Self {
        let stdout = stdout();
        if !stdout.is_terminal() {
            return Terminal::none();
        }
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        // A terminal that does not know its width, such as a serial line, says zero.
        let width = if columns == 0 { 80 } else { columns.max(NARROWEST) };
        Terminal { width: Some(width), colour: !dumb && !set("NO_COLOR") }
    }

    /// `text` as this place shows it.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Heading => "1",
            Paint::Id => "33",
            Paint::Good => "32",
            Paint::Done => "35",
            Paint::Faint => "2",
            Paint::Plain => return text.to_owned(),
        };
        if self.colour && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_only_where_it_may_be() {
        assert_eq!(Terminal::none().paint(Paint::Good, "open"), "open");
        let coloured = Terminal { width: None, colour: true };
        assert_eq!(coloured.paint(Paint::Good, "open"), "\u{1b}[32mopen\u{1b}[0m");
        assert_eq!(coloured.paint(Paint::Plain, "open"), "open");
    }
}
