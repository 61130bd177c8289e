//! Bars in a terminal: [`chart`].
//!
//! What [`draw`](super::draw) draws as a picture, as lines of text: a bar ends at the p50, and all bars have
//! one logarithmic axis.

use super::plot::{Axis, Panel, Tint, time};
use crate::output::{Paint, Terminal};

/// How wide a chart is where lines may have any length, in columns.
const USUAL: usize = 80;

/// Columns for the longest latency, and a space before it.
const VALUE: usize = 9;

/// Blocks of one to seven eighths of a column.
const EIGHTHS: [&str; 7] = ["▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// The panels, one below the other.
pub fn chart(panels: &[Panel], terminal: &Terminal) -> String {
    let axis = Axis::around(panels);
    let label_of = |bar: &super::Bar| bar.label.chars().count();
    let labels = panels.iter().flat_map(|panel| &panel.bars).map(label_of).max().unwrap_or(0);
    let room = terminal.width.unwrap_or(USUAL).saturating_sub(labels + VALUE + 3);
    let mut text = String::new();
    for panel in panels {
        text += &format!("\n{}\n", terminal.paint(Paint::Heading, &panel.title));
        for bar in &panel.bars {
            let Some([p50, ..]) = bar.latencies else { continue };
            let paint = match bar.tint {
                Tint::Ours => Paint::Good,
                Tint::Other => Paint::Plain,
                Tint::Limit => Paint::Faint,
            };
            let blocks = blocks((axis.share(p50) * (room * 8) as f64).round() as usize);
            let padding = labels - label_of(bar);
            text +=
                &format!("{}{:padding$}  {} {}\n", bar.label, "", terminal.paint(paint, &blocks), time(p50));
        }
    }
    text
}

/// A bar of so many eighths of a column; the shortest one can still be seen.
fn blocks(eighths: usize) -> String {
    let eighths = eighths.max(1);
    let rest = (eighths % 8).checked_sub(1).and_then(|index| EIGHTHS.get(index));
    "█".repeat(eighths / 8) + rest.unwrap_or(&"")
}

#[cfg(test)]
mod tests {
    use super::super::Bar;
    use super::*;

    #[test]
    fn bars_grow_with_the_logarithm_and_fit_the_terminal() {
        let bar = |label: &str, p50| Bar {
            label: label.to_owned(),
            tint: Tint::Ours,
            latencies: Some([p50, p50, p50]),
        };
        let bars = vec![bar("none", 1), bar("half", 100), bar("all", 10_000)];
        let panels = [Panel { title: "ping".to_owned(), bars }];
        let text = chart(&panels, &Terminal::wide(40));
        let full = "█".repeat(24);
        let half = "█".repeat(12);
        assert_eq!(text, format!("\nping\nnone  ▏ 1 ns\nhalf  {half} 100 ns\nall   {full} 10.0 µs\n"));
        assert!(text.lines().all(|line| line.chars().count() <= 40));
    }

    #[test]
    fn a_bar_has_eighths_of_a_column() {
        assert_eq!([0, 1, 7, 8, 9, 20].map(blocks), ["▏", "▏", "▉", "█", "█▏", "██▌"]);
    }
}
