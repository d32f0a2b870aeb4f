//! How far long work is: drawn on standard error where that is a terminal, and nothing elsewhere.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often what is drawn changes.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// A bar of bytes.
pub(crate) fn bar(what: String) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(what);
    // The template is ours: if it were wrong, the bar would be drawn in the usual style.
    if let Ok(style) = ProgressStyle::with_template(
        "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}",
    ) {
        bar.set_style(style);
    }
    bar
}

/// A line that says what it is told.
pub(crate) fn line() -> ProgressBar {
    let line = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        line.set_style(style);
    }
    line.enable_steady_tick(TICK);
    line
}

/// A line for work that prints, which it would disturb on the same terminal.
pub(crate) fn line_beside_output() -> ProgressBar {
    if stdout().is_terminal() { ProgressBar::hidden() } else { line() }
}
