//! One plot: lines over logarithmic axes, as SVG.
use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// Width and height of a plot, in pixels.
const SIZE: (u32, u32) = (1160, 440);
/// The part of the width that names the lines.
const LEGEND_WIDTH: i32 = 260;
/// Room around everything.
const MARGIN: i32 = 12;
/// Room for what stands at the axes.
const X_LABELS: i32 = 46;
const Y_LABELS: i32 = 76;

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

/// One line of a plot.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What a line is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
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
}

/// Draws the lines that have points; nothing where none has.
///
/// # Errors
/// When it cannot be drawn.
pub(crate) fn draw(axes: &Axes<'_>, lines: &[Line]) -> Result<Option<String>> {
    let positive = |&(x, y): &(f64, f64)| x > 0.0 && y > 0.0;
    let lines: Vec<Line> = lines
        .iter()
        .map(|line| Line {
            points: line.points.iter().copied().filter(positive).collect(),
            ..line.clone()
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (Some(x), Some(y)) = (span(points().map(|point| point.0)), span(points().map(|p| p.1)))
    else {
        return Ok(None);
    };
    let mut svg = String::new();
    on(&mut svg, axes, &lines, x, y).map_err(|error| anyhow!("cannot draw a plot: {error}"))?;
    // It scales with the page.
    let (width, height) = SIZE;
    let fixed = format!("<svg width=\"{width}\" height=\"{height}\"");
    Ok(Some(svg.replacen(&fixed, "<svg role=\"img\"", 1)))
}

/// Least and greatest, with some room.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let span = values.fold(None, |span, value| match span {
        None => Some((value, value)),
        Some((least, greatest)) => Some((f64::min(least, value), f64::max(greatest, value))),
    });
    span.map(|(least, greatest)| (least / 1.15, greatest * 1.15))
}

fn on(
    svg: &mut String,
    axes: &Axes<'_>,
    lines: &[Line],
    x: (f64, f64),
    y: (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(MARGIN)
        .margin_right(MARGIN + LEGEND_WIDTH)
        .x_label_area_size(X_LABELS)
        .y_label_area_size(Y_LABELS)
        .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&|x| (axes.x_label)(*x))
        .y_label_formatter(&|y| (axes.y_label)(*y))
        .draw()?;
    let mut colours = COLOURS.iter().cycle();
    for line in lines {
        let (colour, width) = match line.role {
            Role::Subject => (colours.next().copied().unwrap_or(BLACK), 2),
            Role::Limit => (REFERENCE, 2),
            Role::Background => (BACKGROUND_REFERENCE, 1),
        };
        let style = ShapeStyle { color: colour.to_rgba(), filled: true, stroke_width: width };
        let with_dots = line.points.len() <= 16;
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        if with_dots {
            let dots = line.points.iter().map(|&point| Circle::new(point, 3, style));
            chart.draw_series(dots)?;
        }
    }
    let beside = SIZE.0 as i32 - LEGEND_WIDTH - Y_LABELS - 2 * MARGIN;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::Coordinate(beside, 0))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .label_font(("sans-serif", 13))
        .draw()?;
    area.present()?;
    drop(chart);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes() -> Axes<'static> {
        Axes { x: "rate", y: "ns", x_label: &|x| format!("{x}"), y_label: &|y| format!("{y} ns") }
    }

    #[test]
    fn lines_are_named_and_zeros_have_no_place() {
        let line = |name: &str, points: &[(f64, f64)]| Line {
            name: name.to_owned(),
            role: Role::Subject,
            points: points.to_vec(),
        };
        let lines = [line("a < b", &[(1.0, 100.0), (10.0, 200.0)]), line("absent", &[(1.0, 0.0)])];
        let svg = draw(&axes(), &lines).unwrap().unwrap();
        assert!(svg.contains("a &lt; b") && !svg.contains("absent"), "{svg}");
        assert!(svg.contains("<polyline") && svg.starts_with("<svg role=\"img\""), "{svg}");
        assert_eq!(draw(&axes(), &lines[1..]).unwrap(), None);
    }
}
