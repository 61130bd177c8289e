//! Bars on a logarithmic axis, as SVG that reads on light and dark ground: [`draw`].
//!
//! A bar ends at the p50, a thin line goes on to the p99, and a tick marks the p99.9. All panels of a plot
//! have one axis.

use std::fmt::Write;

/// One question: who took how long.
pub struct Panel {
    pub title: String,
    pub bars: Vec<Bar>,
}

/// The latencies of one who was asked.
pub struct Bar {
    pub label: String,
    pub tint: Tint,
    /// Its p50, p99 and p99.9 in nanoseconds; nothing if it could not keep up.
    pub latencies: Option<[u64; 3]>,
}

/// What a bar's colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tint {
    /// What the plot is about.
    Ours,
    /// What it is compared with.
    Other,
    /// What the machine can do at the best.
    Limit,
}

impl Tint {
    fn class(self) -> &'static str {
        match self {
            Tint::Ours => "ours",
            Tint::Other => "other",
            Tint::Limit => "limit",
        }
    }
}

/// A latency for people.
pub fn time(nanoseconds: u64) -> String {
    let (value, unit) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (nanoseconds as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanoseconds as f64 / 1e6, "ms"),
        _ => (nanoseconds as f64 / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// Panels stand so many abreast.
const ABREAST: usize = 2;
/// Sizes, in user units.
const PANEL: usize = 660;
const LABELS: usize = 264;
const VALUES: usize = 70;
const ROW: usize = 18;
const HEAD: usize = 56;
const TITLE: usize = 76;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:18px;font-weight:600}.head{font-size:14px;\
font-weight:600}.faint{fill:#59636e}.grid{stroke:#d1d9e0;stroke-width:1}.ours{fill:#0969da}.other{fill:#bc4c00}\
.limit{fill:#818b98}.mark{stroke:#1f2328;stroke-width:1.5;opacity:.75}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.faint{fill:#9198a1}.grid{stroke:#3d444d}.ours{fill:#4493f8}\
.other{fill:#db6d28}.limit{fill:#8b949e}.mark{stroke:#f0f6fc}}";

/// Draws the panels under one title; `legend` says what each colour stands for.
pub fn draw(title: &str, legend: &[(Tint, &str)], panels: &[Panel]) -> String {
    let axis = Axis::around(panels);
    let lines: Vec<&[Panel]> = panels.chunks(ABREAST).collect();
    let height =
        |line: &[Panel]| HEAD + 24 + ROW * line.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
    let whole = TITLE + lines.iter().map(|line| height(line)).sum::<usize>();
    let width = PANEL * ABREAST.min(panels.len().max(1));

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {whole}\" width=\"{width}\" role=\"img\">\
         <style>{STYLE}</style>\n"
    );
    text(&mut svg, (12, 28), "title", title);
    draw_legend(&mut svg, legend);
    let mut top = TITLE;
    for line in lines {
        for (place, panel) in line.iter().enumerate() {
            draw_panel(&mut svg, panel, &axis, (place * PANEL, top));
        }
        top += height(line);
    }
    svg + "</svg>\n"
}

fn draw_legend(svg: &mut String, legend: &[(Tint, &str)]) {
    let mut left = 12;
    for (tint, says) in legend {
        rectangle(svg, (left, 44), (12, 12), tint.class());
        text(svg, (left + 18, 54), "faint", says);
        left += 40 + 7 * says.len();
    }
    text(svg, (left, 54), "faint", "Bar: p50. Line: p99. Tick: p99.9. Logarithmic axis; shorter is better.");
}

fn draw_panel(svg: &mut String, panel: &Panel, axis: &Axis, (left, top): (usize, usize)) {
    text(svg, (left + 12, top + 20), "head", &panel.title);
    let (start, bottom) = (left + LABELS, top + HEAD + ROW * panel.bars.len());
    for power in axis.first..=axis.last {
        let x = start + axis.place(10u64.pow(power));
        line(svg, (x, top + HEAD - 6), (x, bottom), "grid");
        let label = time(10u64.pow(power)).replace(".00", "").replace(".0", "");
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" class=\"faint\" text-anchor=\"middle\">{label}</text>",
            top + HEAD - 12
        );
    }
    for (row, bar) in panel.bars.iter().enumerate() {
        let y = top + HEAD + ROW * row;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            start - 8,
            y + 13,
            escape(&bar.label)
        );
        let Some(latencies) = bar.latencies else {
            text(svg, (start + 6, y + 13), "faint", "cannot keep up");
            continue;
        };
        let [p50, p99, p999] = latencies.map(|nanoseconds| start + axis.place(nanoseconds));
        let middle = y + ROW / 2;
        rectangle(svg, (start, y + 3), (p50 - start, ROW - 6), bar.tint.class());
        line(svg, (p50, middle), (p99, middle), "mark");
        line(svg, (p999, middle - 4), (p999, middle + 4), "mark");
        text(svg, (p999.max(p99) + 6, y + 13), "faint", &time(latencies[0]));
    }
}

/// Powers of ten from below the quickest to above the slowest.
pub struct Axis {
    first: u32,
    last: u32,
}

impl Axis {
    /// An axis for all bars.
    pub fn around(panels: &[Panel]) -> Self {
        let bars = panels.iter().flat_map(|panel| &panel.bars);
        let all: Vec<u64> = bars.filter_map(|bar| bar.latencies).flatten().collect();
        let least = all.iter().min().map_or(1, |least| *least).max(1);
        let most = all.iter().max().map_or(10, |most| *most).max(2);
        Axis { first: least.ilog10(), last: (most - 1).ilog10() + 1 }
    }

    /// How far from its start a latency lies, as a share of the axis.
    pub fn share(&self, nanoseconds: u64) -> f64 {
        let share = ((nanoseconds.max(1) as f64).log10() - f64::from(self.first))
            / f64::from(self.last - self.first).max(1.0);
        share.clamp(0.0, 1.0)
    }

    fn place(&self, nanoseconds: u64) -> usize {
        (self.share(nanoseconds) * (PANEL - LABELS - VALUES) as f64).round() as usize
    }
}

fn text(svg: &mut String, (x, y): (usize, usize), class: &str, says: &str) {
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{}</text>", escape(says));
}

fn rectangle(svg: &mut String, (x, y): (usize, usize), (width, height): (usize, usize), class: &str) {
    let _ =
        writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" class=\"{class}\"/>");
}

fn line(svg: &mut String, (x1, y1): (usize, usize), (x2, y2): (usize, usize), class: &str) {
    let _ = writeln!(svg, "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" class=\"{class}\"/>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_takes_in_every_bar() {
        let bar =
            |p50, p999| Bar { label: String::new(), tint: Tint::Ours, latencies: Some([p50, p50, p999]) };
        let panel = Panel { title: String::new(), bars: vec![bar(150, 2_000), bar(1_000, 10_000)] };
        let axis = Axis::around(&[panel]);
        assert_eq!((axis.first, axis.last), (2, 4));
        let places = [100, 1_000, 10_000].map(|nanoseconds| axis.place(nanoseconds));
        assert_eq!(places, [0, (PANEL - LABELS - VALUES) / 2, PANEL - LABELS - VALUES]);
    }

    #[test]
    fn a_latency_has_the_unit_that_fits() {
        for (nanoseconds, expected) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (45_000, "45.0 µs"),
            (123_000, "123 µs"),
            (1_250_000, "1.25 ms"),
            (12_000_000_000, "12.0 s"),
        ] {
            assert_eq!(time(nanoseconds), expected);
        }
    }
}
