//! A [`Table`]: rows under headings, fitted to the width of the terminal.

use super::{Paint, Terminal};

/// Between two columns.
const GAP: &str = "  ";

/// The narrowest that a column is cut to, in columns of the terminal.
const NARROWEST: usize = 8;

/// Stands for what was cut off.
const CUT: char = '…';

/// Rows under headings.
pub struct Table {
    headings: Vec<&'static str>,
    /// What gives way first, the last one first.
    flexible: Vec<usize>,
    rows: Vec<Vec<(Paint, String)>>,
}

impl Table {
    /// An empty table. Where it is too wide, the columns numbered in `flexible` are cut, the last one
    /// first.
    pub fn new(headings: &[&'static str], flexible: &[usize]) -> Self {
        Table { headings: headings.to_vec(), flexible: flexible.to_vec(), rows: Vec::new() }
    }

    /// Adds a row of harmless texts, one for each heading.
    pub fn row(&mut self, cells: Vec<(Paint, String)>) {
        self.rows.push(cells);
    }

    /// All of it, with a line break behind each row.
    pub fn render(&self, terminal: &Terminal) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| width(heading)).collect();
        for row in &self.rows {
            for (column, (_, text)) in widths.iter_mut().zip(row) {
                *column = (*column).max(width(text));
            }
        }
        // A column without a word in it only takes room.
        for (index, column) in widths.iter_mut().enumerate() {
            if self.rows.iter().all(|row| row.get(index).is_none_or(|(_, text)| text.is_empty())) {
                *column = 0;
            }
        }
        if let Some(limit) = terminal.width {
            let columns = widths.iter().filter(|&&column| column > 0).count();
            let taken = widths.iter().sum::<usize>() + GAP.len() * columns.saturating_sub(1);
            let mut excess = taken.saturating_sub(limit);
            for &index in self.flexible.iter().rev() {
                if let Some(column) = widths.get_mut(index) {
                    let given = excess.min(column.saturating_sub(NARROWEST));
                    *column -= given;
                    excess -= given;
                }
            }
        }
        let headings = self.headings.iter().map(|heading| (Paint::Heading, (*heading).to_owned())).collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            render_row(row, &widths, terminal, &mut text);
        }
        text
    }
}

fn render_row(row: &[(Paint, String)], widths: &[usize], terminal: &Terminal, out: &mut String) {
    // Spaces wait until something follows them, so that no line ends in one.
    let mut owed = String::new();
    for ((paint, text), &column) in row.iter().zip(widths).filter(|(_, column)| **column > 0) {
        let cell = cut(text, column);
        if !cell.is_empty() {
            out.push_str(&owed);
            owed.clear();
            out.push_str(&terminal.paint(*paint, &cell));
        }
        owed.push_str(&" ".repeat(column.saturating_sub(width(&cell))));
        owed.push_str(GAP);
    }
    out.push('\n');
}

/// `text`, cut to `limit` columns.
fn cut(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += columns(character);
        if used > limit {
            break;
        }
        kept.push(character);
    }
    kept.push(CUT);
    kept
}

/// How many columns of a terminal `text` takes.
fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// How many columns `character` takes: most take one, those of East Asian scripts and emoji two, and
/// marks that are put upon others none.
///
/// The ranges are coarse. What they get wrong shifts a column by one and loses nothing.
fn columns(character: char) -> usize {
    match u32::from(character) {
        0x0300..=0x036f | 0x1ab0..=0x1aff | 0x20d0..=0x20ff | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["ID", "TITLE", "LABELS"], &[1, 2]);
        let row = |cells: [&str; 3]| cells.iter().map(|cell| (Paint::Plain, (*cell).to_owned())).collect();
        table.row(row(["1", "a title that goes on and on", "first,second,third"]));
        table.row(row(["22", "short", ""]));
        table
    }

    #[test]
    fn a_table_is_not_cut_where_lines_may_be_long() {
        assert_eq!(
            table().render(&Terminal::none()),
            "ID  TITLE                        LABELS\n\
             1   a title that goes on and on  first,second,third\n\
             22  short\n"
        );
    }

    #[test]
    fn the_last_flexible_column_gives_way_first() {
        let line = |width| table().render(&Terminal::wide(width)).lines().nth(1).unwrap().to_owned();
        assert_eq!(line(45), "1   a title that goes on and on  first,secon…");
        assert_eq!(line(36), "1   a title that goes on …  first,s…");
        for width in 22..60 {
            assert!(
                table().render(&Terminal::wide(width)).lines().all(|line| super::width(line) <= width),
                "{width}"
            );
        }
    }

    #[test]
    fn an_empty_column_is_left_out() {
        let mut table = Table::new(&["ID", "NAMES", "TITLE"], &[1]);
        let row = |cells: [&str; 3]| cells.iter().map(|cell| (Paint::Plain, (*cell).to_owned())).collect();
        table.row(row(["1", "", "x"]));
        assert_eq!(table.render(&Terminal::none()), "ID  TITLE\n1   x\n");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
    }
}
