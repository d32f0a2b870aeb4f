//! Plots as SVG: lines over logarithmic axes, and bars beside each other.
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::statistics::Spread;
use crate::table::cell;

/// Width and height of a plot, in pixels.
const SIZE: (u32, u32) = (1160, 440);
/// The part of the width that names the lines.
const LEGEND_WIDTH: i32 = 270;
/// Room around everything.
const MARGIN: i32 = 12;
/// Room for what stands at the axes.
const X_LABELS: i32 = 46;
const Y_LABELS: i32 = 76;
/// A line of the legend, or a bar with the room around it.
const LEGEND_STEP: i32 = 19;
const BAR_STEP: i32 = 28;
/// A swatch of the legend.
const SWATCH: i32 = 26;
/// Where bars begin, and the room behind them for a number.
const BARS_AT: i32 = 240;
const NUMBER_WIDTH: i32 = 110;
/// Values up to so many have each its tick; those nearer than this part of the axis share one.
const TICKS_MAX: usize = 16;
const TICKS_APART: f64 = 1.0 / 20.0;

/// Colours that are told apart by those who see fewer of them, too: M. Okabe and K. Ito, "Color
/// Universal Design", 2008.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 240),
    RGBColor(100, 60, 20),
];
const REFERENCE: RGBColor = RGBColor(60, 60, 60);
const BACKGROUND_REFERENCE: RGBColor = RGBColor(160, 160, 160);
const FONT: &str = "sans-serif";

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;
type Point = (f64, f64);

/// One line of a plot.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) points: Vec<Point>,
    /// Those of them that are crossed out.
    pub(crate) crossed: Vec<Point>,
}

/// What a line or a bar is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is what the plot is about.
    Subject,
    /// The bare hand-off, or another limit.
    Limit,
    /// What the machine does by itself.
    Background,
}

/// What is on the axes.
pub(crate) struct Axes<'a> {
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    /// How a number on the x axis is written.
    pub(crate) x_label: &'a dyn Fn(f64) -> String,
    pub(crate) y_label: &'a dyn Fn(f64) -> String,
    /// What a cross means.
    pub(crate) cross: &'a str,
}

/// One bar: to the median, with a line over the quartiles and a thin one from the least to the
/// most.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What stands before it.
    pub name: String,
    /// How it is coloured.
    pub role: Role,
    /// How long it is.
    pub spread: Spread,
}

/// How a line is drawn.
#[derive(Clone, Copy)]
struct Pen {
    style: ShapeStyle,
    /// Where the colours come a second time.
    is_dashed: bool,
}

/// Draws the lines that have points; nothing where none has.
///
/// # Errors
/// When it cannot be drawn.
pub(crate) fn draw(axes: &Axes<'_>, lines: &[Line]) -> Result<Option<String>> {
    let positive = |points: &[Point]| -> Vec<Point> {
        points.iter().copied().filter(|&(x, y)| x > 0.0 && y > 0.0).collect()
    };
    let lines: Vec<Line> = lines
        .iter()
        .map(|line| Line {
            points: positive(&line.points),
            crossed: positive(&line.crossed),
            ..line.clone()
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (Some(x), Some(y)) = (span(points().map(|point| point.0)), span(points().map(|p| p.1)))
    else {
        return Ok(None);
    };
    svg(SIZE, |canvas| draw_lines(canvas, axes, &lines, x, y)).map(Some)
}

/// Draws the bars from 0 on, in the order of the list; nothing where there is none.
///
/// # Errors
/// When it cannot be drawn.
pub(crate) fn draw_bars(bars: &[Bar]) -> Result<Option<String>> {
    let most = bars.iter().map(|bar| bar.spread.max).fold(0.0, f64::max);
    if most <= 0.0 {
        return Ok(None);
    }
    let height = 2 * MARGIN as u32 + bars.len() as u32 * BAR_STEP as u32;
    svg((SIZE.0, height), |canvas| {
        let per_unit = f64::from(SIZE.0 as i32 - BARS_AT - NUMBER_WIDTH - MARGIN) / most;
        let x = |value: f64| BARS_AT + (value * per_unit).round() as i32;
        for (at, Bar { name, role, spread }) in (0..).zip(bars) {
            let middle = MARGIN + at * BAR_STEP + BAR_STEP / 2;
            text(canvas, name, (BARS_AT - 10, middle), HPos::Right)?;
            let colour = match role {
                Role::Subject => COLOURS[0],
                Role::Limit | Role::Background => BACKGROUND_REFERENCE,
            };
            let ends = [(x(0.0), middle - 9), (x(spread.median), middle + 9)];
            canvas.draw(&Rectangle::new(ends, colour.mix(0.75).filled()))?;
            let quartiles = (spread.first_quartile, spread.third_quartile);
            for ((from, to), width) in [((spread.min, spread.max), 1), (quartiles, 3)] {
                let ends = [(x(from), middle), (x(to), middle)];
                canvas.draw(&PathElement::new(ends, REFERENCE.stroke_width(width)))?;
            }
            text(canvas, &cell(*spread, false), (x(spread.max) + 8, middle), HPos::Left)?;
        }
        Ok(())
    })
    .map(Some)
}

/// A picture that scales with the page.
fn svg(size: (u32, u32), draw: impl FnOnce(&Canvas<'_>) -> Drawn) -> Result<String> {
    let mut svg = String::new();
    let canvas = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    let drawn = canvas.fill(&WHITE).map_err(Into::into).and_then(|()| draw(&canvas));
    let drawn = drawn.and_then(|()| Ok(canvas.present()?));
    drawn.map_err(|error| anyhow!("cannot draw a plot: {error}"))?;
    drop(canvas);
    let (width, height) = size;
    let fixed = format!("<svg width=\"{width}\" height=\"{height}\"");
    Ok(svg.replacen(&fixed, "<svg role=\"img\"", 1))
}

fn text(canvas: &Canvas<'_>, text: &str, at: (i32, i32), side: HPos) -> Drawn {
    let style = TextStyle::from((FONT, 13)).pos(Pos::new(side, VPos::Center));
    Ok(canvas.draw(&Text::new(text.to_owned(), at, style))?)
}

/// Least and greatest, with some room.
fn span(values: impl Iterator<Item = f64>) -> Option<Point> {
    let span = values.fold(None, |span, value| match span {
        None => Some((value, value)),
        Some((least, greatest)) => Some((f64::min(least, value), f64::max(greatest, value))),
    });
    span.map(|(least, greatest)| (least / 1.15, greatest * 1.15))
}

/// Where a logarithmic axis has its lines: powers of ten, and what is between where these are few.
fn round_ticks((least, greatest): Point) -> Vec<f64> {
    let between = |digits: &[f64]| -> Vec<f64> {
        let powers = least.log10().floor() as i32..=greatest.log10().ceil() as i32;
        let all =
            powers.flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)));
        all.filter(|tick| (least..=greatest).contains(tick)).collect()
    };
    let finer: [&[f64]; 3] = [&[1.0], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]];
    let found = finer.into_iter().map(between).find(|ticks| ticks.len() > 2);
    found.unwrap_or_else(|| vec![least, (least * greatest).sqrt(), greatest])
}

/// The values themselves where they are few, and round numbers otherwise.
fn ticks(values: impl Iterator<Item = f64>, span: Point) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    if values.len() > TICKS_MAX {
        return round_ticks(span);
    }
    let apart = (span.1 / span.0).powf(TICKS_APART);
    let mut ticks: Vec<f64> = Vec::new();
    for value in values {
        if ticks.last().is_none_or(|last| value >= last * apart) {
            ticks.push(value);
        }
    }
    ticks
}

fn pens(lines: &[Line]) -> Vec<Pen> {
    let pen = |(at, line): (usize, &Line)| {
        let (colours, width): (&[RGBColor], _) = match line.role {
            Role::Subject => (&COLOURS, 2),
            Role::Limit => (&[REFERENCE], 2),
            Role::Background => (&[BACKGROUND_REFERENCE], 1),
        };
        let before = lines[..at].iter().filter(|other| other.role == line.role).count();
        let colour = colours[before % colours.len()];
        Pen { style: colour.stroke_width(width), is_dashed: before >= colours.len() }
    };
    lines.iter().enumerate().map(pen).collect()
}

fn draw_lines(canvas: &Canvas<'_>, axes: &Axes<'_>, lines: &[Line], x: Point, y: Point) -> Drawn {
    let values = lines.iter().flat_map(|line| line.points.iter().map(|point| point.0));
    let mut chart = ChartBuilder::on(canvas)
        .margin(MARGIN)
        .margin_right(MARGIN + LEGEND_WIDTH)
        .x_label_area_size(X_LABELS)
        .y_label_area_size(Y_LABELS)
        .build_cartesian_2d(
            (x.0..x.1).log_scale().with_key_points(ticks(values, x)),
            (y.0..y.1).log_scale().with_key_points(round_ticks(y)),
        )?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&|x| (axes.x_label)(*x))
        .y_label_formatter(&|y| (axes.y_label)(*y))
        .draw()?;
    let pens = pens(lines);
    for (line, &Pen { style, is_dashed }) in lines.iter().zip(&pens) {
        let points = line.points.iter().copied();
        if is_dashed {
            chart.draw_series(DashedLineSeries::new(points, 7, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(points, style))?;
        }
        if line.points.len() <= TICKS_MAX {
            let dots = line.points.iter().map(|&point| Circle::new(point, 3, style.filled()));
            chart.draw_series(dots)?;
        }
        chart.draw_series(line.crossed.iter().map(|&point| Cross::new(point, 7, style)))?;
    }
    legend(canvas, axes, lines, &pens)
}

fn legend(canvas: &Canvas<'_>, axes: &Axes<'_>, lines: &[Line], pens: &[Pen]) -> Drawn {
    let left = SIZE.0 as i32 - LEGEND_WIDTH;
    let mut middle = MARGIN + LEGEND_STEP / 2;
    for (line, Pen { style, is_dashed }) in lines.iter().zip(pens) {
        let thick = style.stroke_width(style.stroke_width + 2);
        let parts: &[(i32, i32)] =
            if *is_dashed { &[(0, 10), (SWATCH - 10, SWATCH)] } else { &[(0, SWATCH)] };
        for (from, to) in parts {
            let ends = [(left + from, middle), (left + to, middle)];
            canvas.draw(&PathElement::new(ends, thick))?;
        }
        text(canvas, &line.name, (left + SWATCH + 8, middle), HPos::Left)?;
        middle += LEGEND_STEP;
    }
    if lines.iter().any(|line| !line.crossed.is_empty()) {
        let at = (left + SWATCH / 2, middle);
        canvas.draw(&Cross::new(at, 6, REFERENCE.stroke_width(2)))?;
        text(canvas, axes.cross, (left + SWATCH + 8, middle), HPos::Left)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes() -> Axes<'static> {
        Axes {
            x: "rate",
            y: "ns",
            x_label: &|x| format!("{x}"),
            y_label: &|y| format!("{y} ns"),
            cross: "too much",
        }
    }

    fn line(name: &str, points: &[Point]) -> Line {
        let (role, crossed) = (Role::Subject, Vec::new());
        Line { name: name.to_owned(), role, points: points.to_vec(), crossed }
    }

    #[test]
    fn lines_are_named_and_zeros_have_no_place() {
        let lines = [line("a < b", &[(1.0, 100.0), (10.0, 200.0)]), line("absent", &[(1.0, 0.0)])];
        let svg = draw(&axes(), &lines).unwrap().unwrap();
        assert!(svg.contains("a &lt; b") && !svg.contains("absent"), "{svg}");
        assert!(svg.contains("<polyline") && svg.starts_with("<svg role=\"img\""), "{svg}");
        assert!(!svg.contains("too much"), "nothing is crossed out: {svg}");
        assert_eq!(draw(&axes(), &lines[1..]).unwrap(), None);
    }

    #[test]
    fn each_line_has_a_swatch_of_its_colour_and_a_cross_is_explained() {
        let mut lines: Vec<Line> =
            (1..=9).map(|at| line(&format!("line {at}"), &[(1.0, 100.0), (10.0, 200.0)])).collect();
        lines[0].crossed.push((10.0, 200.0));
        let svg = draw(&axes(), &lines).unwrap().unwrap();
        let swatches = svg.matches("stroke-width=\"4\"").count();
        assert_eq!(swatches, 8 + 2, "the ninth is dashed: {svg}");
        assert!(svg.contains("too much"), "{svg}");
    }

    #[test]
    fn every_axis_has_ticks() {
        assert_eq!(round_ticks((1.0, 1_000.0)), [1.0, 10.0, 100.0, 1_000.0]);
        assert_eq!(round_ticks((15.0, 120.0)), [20.0, 50.0, 100.0]);
        assert_eq!(round_ticks((3.1, 7.9)), [4.0, 5.0, 6.0]);
        assert_eq!(round_ticks((3.1, 3.2)).len(), 3);
        let few = [16.0, 48.0, 16.0, 49.0, 1024.0];
        assert_eq!(ticks(few.into_iter(), (14.0, 1178.0)), [16.0, 48.0, 1024.0]);
    }

    #[test]
    fn bars_have_their_names_and_numbers() {
        let spread = |values: &[f64]| Spread::of(values.to_vec()).unwrap();
        let bar = |name: &str, values: &[f64]| Bar {
            name: name.to_owned(),
            role: Role::Subject,
            spread: spread(values),
        };
        let bars = [bar("one", &[1.0, 2.0, 3.0]), bar("other", &[5.0])];
        let svg = draw_bars(&bars).unwrap().unwrap();
        for told in ["one", "other", "2.000", "5.000", "<rect"] {
            assert!(svg.contains(told), "{told}: {svg}");
        }
        assert_eq!(draw_bars(&[]).unwrap(), None);
    }
}
