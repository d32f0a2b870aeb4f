//! A page of HTML that refers to nothing outside itself: a chapter for each benchmark. Change here
//! how it looks; what is on it, those who found it say.
use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::goal::Outcome;
use crate::heading::Heading;
use crate::plot::{self, Axes, Bar, Line, Role};
use crate::report::{Curve, CurveKind};
use crate::statistics::Spread;
use crate::table::{cell, is_ratio};
use crate::verdict::Row;

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 1.5em; margin-bottom: 0.2em } h2 { font-size: 1.2em; margin-top: 2em }
h1 + p { margin-top: 0 } .chapter + .chapter { border-top: 2px solid #ccc; margin-top: 3em }
svg { width: 100%; height: auto; border: 1px solid #ddd }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.7em 0 }
td, th { padding: 0.15em 0.7em; text-align: right; border-bottom: 1px solid #e4e4e4;
  white-space: nowrap }
td:first-child, th:first-child { text-align: left }
td.text { text-align: left; white-space: normal }
.note { color: #666; font-size: 0.9em }
.warning { background: #fff1e0; border-left: 4px solid #d55e00; padding: 0.4em 0.8em }
.met, .ahead { color: #00724f } .missed, .behind { color: #b04400 }
code { background: #f4f4f4; padding: 0.1em 0.3em }
";

/// Most distributions of a plot: more of them cannot be told apart.
const CURVES_MAX: usize = 16;

/// What a page shows of a benchmark, from top to bottom.
pub struct Chapter {
    title: String,
    command: String,
    body: Vec<Markup>,
    facts: Vec<[Cell; 2]>,
}

/// A cell of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    class: Option<&'static str>,
}

impl Cell {
    pub(crate) fn of_class(text: impl Into<String>, class: &'static str) -> Self {
        Self { text: text.into(), class: Some(class) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), class: None }
    }
}

/// The page.
pub(crate) fn page(chapters: &[Chapter]) -> String {
    let titles: Vec<&str> = chapters.iter().map(|chapter| chapter.title.as_str()).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "tickcast: " (titles.join("; ")) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                @for chapter in chapters {
                    div.chapter {
                        h1 { "tickcast: " (chapter.title) }
                        p.note { code { (chapter.command) } }
                        @for part in &chapter.body { (part) }
                        h2 { "The machine and the run" }
                        (table(&[], chapter.facts.iter().map(|row| row.as_slice())))
                    }
                }
            }
        }
    };
    page.into_string()
}

impl Chapter {
    /// One that begins with what was run, and ends with what it was run on.
    pub fn new(heading: &Heading) -> Self {
        let body = Vec::new();
        let command = heading.command.join(" ");
        let mut chapter = Self { title: heading.title.clone(), command, body, facts: Vec::new() };
        let machine = &heading.machine;
        let cores = heading.cores;
        for (name, fact) in [
            ("version", heading.version.to_owned()),
            ("processor", machine.processor.clone()),
            ("cores", machine.cores.to_string()),
            ("caches", machine.caches.clone()),
            ("kernel", machine.kernel.clone()),
            ("hypervisor", machine.hypervisor.clone()),
            ("clock source of the kernel", machine.clock_source.clone()),
            ("isolated cores", machine.isolated_cores.clone()),
            ("tickless cores", machine.tickless_cores.clone()),
            ("governor", machine.governor.clone()),
            ("sides", format!("near on core {}, far on core {}", cores.near, cores.far)),
            ("clock of the benchmark", heading.about_clock()),
            ("put off a core", format!("{} times", heading.preemptions)),
        ] {
            chapter.fact(name, fact);
        }
        chapter
    }

    /// A line more about what it was run on.
    pub fn fact(&mut self, name: &str, fact: impl Into<String>) {
        self.facts.push([name.into(), Cell::of_class(fact, "text")]);
    }

    /// A heading.
    pub fn head(&mut self, title: &str) {
        self.body.push(html! { h2 { (title) } });
    }

    /// What to know.
    pub fn note(&mut self, text: &str) {
        self.body.push(html! { p.note { (text) } });
    }

    /// What makes it doubtful.
    pub fn warn(&mut self, text: &str) {
        self.body.push(html! { p.warning { (text) } });
    }

    /// Why it is not valid, and whether both sides shared a core.
    pub fn warn_invalid(&mut self, invalid_because: &[String], oversubscribed: bool) {
        for why in invalid_because {
            self.warn(&format!("Not valid: {why}."));
        }
        if oversubscribed {
            self.warn("Oversubscribed: both sides share one core, so times are the scheduler's.");
        }
    }

    /// A plot under its own heading; none where there is nothing to be seen.
    pub(crate) fn plot(&mut self, title: &str, note: &str, svg: Option<String>) {
        if let Some(svg) = svg {
            self.head(title);
            self.note(note);
            self.body.push(PreEscaped(svg));
        }
    }

    /// Distributions, over an axis that makes a nine more of each factor of ten.
    ///
    /// # Errors
    /// When they cannot be drawn.
    pub fn curves<'a>(
        &mut self,
        title: &str,
        note: &str,
        curves: impl IntoIterator<Item = &'a Curve>,
    ) -> Result<()> {
        let lines: Vec<Line> = curves.into_iter().take(CURVES_MAX).map(line_of).collect();
        if lines.iter().all(|line| line.role != Role::Subject) {
            return Ok(());
        }
        let axes = Axes {
            x: "percentile",
            y: "time",
            x_label: &|inverse| format!("{} %", plain(100.0 * (1.0 - 1.0 / inverse))),
            y_label: &ns,
            cross: "",
        };
        self.plot(title, note, plot::draw(&axes, &lines)?);
        Ok(())
    }

    /// Bars, one for each contender, of what is said in a few words.
    ///
    /// # Errors
    /// When they cannot be drawn.
    pub fn bars(&mut self, what: &str, bars: &[Bar]) -> Result<()> {
        if let Some(svg) = plot::draw_bars(bars)? {
            self.note(&format!(
                "{what}: the median over blocks; the thick line is between the quartiles, the thin \
                 one between the extremes"
            ));
            self.body.push(PreEscaped(svg));
        }
        Ok(())
    }

    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<Cell>]) {
        self.body.push(table(head, rows.iter().map(Vec::as_slice)));
    }

    /// What each contender showed: ratios with their quartiles, others by their median.
    pub fn rows(&mut self, columns: &[&str], rows: &[Row]) {
        let head: Vec<&str> = ["", "blocks", "n"].iter().chain(columns).copied().collect();
        let row = |row: &Row| {
            let blocks = match row.blocks_invalid {
                0 => row.blocks_valid.to_string(),
                invalid => format!("{} ({invalid} invalid)", row.blocks_valid),
            };
            let figures = columns.iter().zip(&row.figures).map(|(column, figure)| {
                figure.map_or("-".to_owned(), |spread| cell(spread, is_ratio(column)))
            });
            let all = [row.name.clone(), blocks, row.count.to_string()].into_iter().chain(figures);
            all.map(Cell::from).collect()
        };
        self.table(&head, &rows.iter().map(row).collect::<Vec<_>>());
    }

    /// What became of the goals.
    pub fn goals(&mut self, goals: &[Outcome]) {
        for outcome in goals {
            let class = match outcome.met {
                Some(true) => "met",
                Some(false) => "missed",
                None => "note",
            };
            self.body.push(html! { p class=(class) { (outcome.to_string()) } });
        }
    }
}

/// Every table of the page.
fn table<'a>(head: &[&str], rows: impl Iterator<Item = &'a [Cell]>) -> Markup {
    html! {
        div.wide {
            table {
                @if !head.is_empty() {
                    tr { @for name in head { th { (name) } } }
                }
                @for row in rows {
                    tr { @for Cell { text, class } in row { td class=[class] { (text) } } }
                }
            }
        }
    }
}

fn line_of(curve: &Curve) -> Line {
    Line {
        name: curve.name.clone(),
        role: match curve.kind {
            CurveKind::HandOff | CurveKind::BareDisk => Role::Limit,
            CurveKind::Hiccups => Role::Background,
            _ => Role::Subject,
        },
        points: curve.beyond_ns.iter().map(|&(share, ns)| (1.0 / share, ns)).collect(),
        crossed: Vec::new(),
    }
}

/// A figure with the digits that matter.
pub(crate) fn number(value: Option<f64>) -> String {
    value.and_then(|value| Spread::of(vec![value])).map_or("-".to_owned(), |one| cell(one, false))
}

/// A number as it stands at an axis.
pub(crate) fn plain(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A time as it stands at an axis.
pub(crate) fn ns(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} ms", plain(value / 1e6)),
        value if value >= 1e3 => format!("{} us", plain(value / 1e3)),
        value => format!("{} ns", plain(value)),
    }
}
