//! How far a test is: a bar for a person, plain lines where standard error is no terminal.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output;
use crate::clock::Stopwatch;

/// One test's progress.
pub(super) struct Progress {
    unit: &'static str,
    total: u64,
    watch: Stopwatch,
    shown: Shown,
}

enum Shown {
    /// Nobody wants to know.
    Nothing,
    Bar(ProgressBar),
    /// The last line told so many, after so long.
    Lines {
        told: Cell<(u64, Duration)>,
    },
}

impl Progress {
    /// Of so many; silent where output is for scripts.
    pub(super) fn new(is_silent: bool, total: u64, unit: &'static str) -> Self {
        let shown = if is_silent {
            Shown::Nothing
        } else if stderr().is_terminal() {
            Shown::Bar(bar(total, unit))
        } else {
            Shown::Lines {
                told: Cell::new((0, Duration::ZERO)),
            }
        };
        Self {
            unit,
            total,
            watch: Stopwatch::start(),
            shown,
        }
    }

    /// So many are done.
    pub(super) fn at(&self, done: u64) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_position(done),
            Shown::Lines { told } => {
                let elapsed = self.watch.elapsed();
                if is_due((done, elapsed), told.get(), self.total) {
                    told.set((done, elapsed));
                    output::error_line(&line((done, self.total), self.unit, elapsed));
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {unit}, {{eta}} left")) {
        Ok(style) => bar.with_style(style),
        Err(error) => {
            tracing::debug!(%error, "the progress bar keeps its default look");
            bar
        }
    }
}

/// A line every five per cent, and where that takes long, every quarter of a minute; the first soon, for its estimate.
fn is_due((done, elapsed): (u64, Duration), (told, at): (u64, Duration), total: u64) -> bool {
    let since = elapsed.saturating_sub(at);
    let step = done.saturating_sub(told).saturating_mul(STEPS) >= total;
    let is_first = told == 0 && since >= FIRST;
    done == total || (step && since >= LINES_APART_MIN) || is_first || since >= LINES_APART_MAX
}

fn line((done, total): (u64, u64), unit: &str, elapsed: Duration) -> String {
    let percent = done.saturating_mul(100) / total.max(1);
    let seconds = elapsed.as_secs();
    let left = u128::from(total.saturating_sub(done)) * elapsed.as_millis() / u128::from(done.max(1)) / 1000;
    let left = u64::try_from(left).unwrap_or(u64::MAX);
    format!(
        "{done} of {total} {unit} ({percent} %) after {}, about {} left",
        clock(seconds),
        clock(left)
    )
}

/// 3:07, or 1:03:07.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 {
        format!("{minutes}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

const STEPS: u64 = 20;
const FIRST: Duration = Duration::from_secs(5);
/// Short runs need few lines.
const LINES_APART_MIN: Duration = Duration::from_secs(1);
const LINES_APART_MAX: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_line_says_how_far_it_is_and_how_long_it_will_take() {
        assert_eq!(
            line((1_000, 20_000), "images", seconds(41)),
            "1000 of 20000 images (5 %) after 0:41, about 12:59 left"
        );
        assert_eq!(
            line((1, 200), "kills", seconds(60)),
            "1 of 200 kills (0 %) after 1:00, about 3:19:00 left"
        );
    }

    #[test]
    fn lines_come_every_five_per_cent_and_every_quarter_of_a_minute() {
        let told = (1_000, seconds(60));
        assert!(is_due((2_000, seconds(62)), told, 20_000));
        assert!(!is_due((1_999, seconds(62)), told, 20_000));
        assert!(is_due((1_001, seconds(75)), told, 20_000));
        assert!(!is_due((1_001, seconds(74)), told, 20_000));
        assert!(is_due((20_000, seconds(60)), told, 20_000), "the end is told");
        assert!(
            is_due((3, seconds(5)), (0, seconds(0)), 20_000),
            "an estimate comes soon"
        );
        assert!(!is_due((3, seconds(4)), (0, seconds(0)), 20_000));
    }
}
