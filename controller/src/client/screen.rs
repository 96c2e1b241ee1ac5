//! How far an operation is, as it goes on: one line that is drawn over on a terminal, a line for each
//! step elsewhere.

use std::time::Duration;

use cratekube_common::visible::visible;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::console::Console;

/// How often the line is drawn while nothing happens, so that the time it shows goes on.
const TICK: Duration = Duration::from_millis(200);
const WAITING: &str = "{spinner} {prefix}: {msg} ({elapsed})";
const WORKING: &str = "{spinner} {prefix} [{bar:28}] {pos}/{len} {wide_msg} {elapsed}";

/// Shows one operation's progress.
#[derive(Debug)]
pub(super) struct Screen {
    console: Console,
    bar: Option<ProgressBar>,
    last: String,
}

impl Screen {
    /// A screen with the operation's name on it.
    pub(super) fn new(console: &Console, title: &str) -> Self {
        let bar = console.live.then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            bar.set_style(style(WAITING));
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(TICK);
            bar
        });
        console.draw(bar.clone());
        Self { console: console.clone(), bar, last: String::new() }
    }

    /// Shows how far it is: a `progress` event, or an operation.
    pub(super) fn show(&mut self, progress: &Value) {
        let Some(line) = Line::read(progress).filter(|line| line.plain() != self.last) else { return };
        self.last = line.plain();
        match &self.bar {
            Some(bar) => line.draw(bar),
            None => self.console.note(&self.last),
        }
    }

    /// Takes the drawn line away.
    pub(super) fn end(self) {
        drop(self);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.console.draw(None);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours; a test draws both.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// What is shown at one moment.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// It waits, or its state says all.
    Waiting(String),
    /// It is at a step.
    Step { step: u64, steps: u64, phase: String },
}

impl Line {
    fn read(progress: &Value) -> Option<Self> {
        let state = progress["state"].as_str()?;
        let waiting = progress["waiting_for"].as_str();
        match (state, progress["phase"].as_str(), progress["step"].as_u64(), progress["steps"].as_u64()) {
            ("running", Some(phase), Some(step), Some(steps)) => {
                Some(Self::Step { step, steps: steps.max(1), phase: visible(phase).into_owned() })
            }
            _ => Some(Self::Waiting(match waiting {
                Some(reason) => format!("{}: {}", visible(state), visible(reason)),
                None => visible(state).into_owned(),
            })),
        }
    }

    fn plain(&self) -> String {
        match self {
            Self::Waiting(text) => text.clone(),
            Self::Step { step, steps, phase } => format!("[{step:>2}/{steps}] {phase}"),
        }
    }

    fn draw(&self, bar: &ProgressBar) {
        match self {
            Self::Waiting(text) => {
                bar.set_style(style(WAITING));
                bar.set_message(text.clone());
            }
            Self::Step { step, steps, phase } => {
                bar.set_style(style(WORKING));
                bar.set_length(*steps);
                bar.set_position(*step);
                bar.set_message(phase.clone());
            }
        }
        bar.tick();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::console;
    use serde_json::json;

    #[test]
    fn elsewhere_than_on_a_terminal_each_step_is_one_line() {
        let (console, written) = console();
        let mut screen = Screen::new(&console, "provision of prod/web");
        let step = |step: u64, phase: &str| json!({"state": "running", "phase": phase, "step": step, "steps": 12});
        for progress in [
            json!({"state": "queued", "waiting_for": "An agent with a free slot is to take it."}),
            json!({"state": "running", "phase": null, "step": null}),
            step(1, "Reading the state"),
            step(1, "Reading the state"),
            step(10, "Deploying\u{1b}[2J workers"),
            json!({"state": "cancelling", "phase": "Deploying workers", "step": 10, "steps": 12}),
        ] {
            screen.show(&progress);
        }
        screen.end();
        insta::assert_snapshot!("plain_progress", written.err());
        assert_eq!(written.out(), "");
    }

    #[test]
    fn both_templates_are_templates() {
        for template in [WAITING, WORKING] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
