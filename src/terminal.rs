//! The terminal: what is said, in which colour, and what is asked.
//!
//! Data goes to standard output, talk to standard error, so that output can be piped. Bars, prompts and colours
//! appear only where standard error (for prompts, standard input too) is a terminal; `CI=true` or `NO_COLOR` turn
//! colours off. Every text that came from outside has to pass [`visible`] on its way here.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use pack_schemas::time::civil_date;

use crate::failure::Failure;

pub use pack_schemas::text::visible;

/// Options that every verb takes.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// Colour the output
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// Where a verb talks to the person.
#[derive(Clone)]
pub struct Terminal {
    quiet: bool,
    verbose: bool,
    color: bool,
    interactive: bool,
}

/// A colour by its meaning.
#[derive(Clone, Copy)]
pub enum Style {
    /// Went wrong.
    Error,
    /// Needs attention.
    Warning,
    /// Is in order.
    Good,
    /// Stands out.
    Strong,
}

impl Terminal {
    /// Decides what this run may show, from the options and the environment.
    pub fn new(options: &Options) -> Terminal {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let interactive = io::stderr().is_terminal();
        let plain = set("NO_COLOR") || std::env::var_os("CI").is_some_and(|value| value == "true");
        let color = match options.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => interactive && !plain,
        };
        Terminal { quiet: options.quiet, verbose: options.verbose, color, interactive }
    }

    /// Whether colours are on.
    pub fn is_colored(&self) -> bool {
        self.color
    }

    /// Whether the person wants to know more.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Writes a line of data to standard output. A reader that has gone away is no failure.
    pub fn print(&self, line: impl AsRef<str>) {
        let _ = writeln!(io::stdout().lock(), "{}", line.as_ref());
    }

    /// Writes a value as indented JSON to standard output.
    pub fn print_json<T: Serialize>(&self, value: &T) {
        self.print(serde_json::to_string_pretty(value).expect("listings are JSON"));
    }

    /// Writes rows as columns, each as wide as its widest cell, to standard output.
    pub fn print_table(&self, header: &[&str], rows: &[Vec<String>]) {
        let widths: Vec<usize> = (0..header.len())
            .map(|column| {
                let cells = rows.iter().map(|row| row[column].chars().count());
                cells.chain([header[column].chars().count()]).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: Vec<&str>| {
            let padded: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            padded.join("  ").trim_end().to_owned()
        };
        self.print(self.paint(Style::Strong, &line(header.to_vec())));
        for row in rows {
            self.print(line(row.iter().map(String::as_str).collect()));
        }
    }

    /// Says a line to the person; silent with `-q`.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
        }
    }

    /// Says a line that was asked for, beside a program that writes to standard output.
    pub fn tell(&self, line: impl AsRef<str>) {
        let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
    }

    /// Says a line only with `-v`.
    pub fn detail(&self, line: impl AsRef<str>) {
        if self.verbose {
            self.say(line);
        }
    }

    /// Warns of something that does not stop the work.
    pub fn warn(&self, message: impl AsRef<str>) {
        let label = self.paint(Style::Warning, "warning:");
        let _ = writeln!(io::stderr().lock(), "{label} {}", message.as_ref());
    }

    /// Reports a failure and gives its exit status.
    pub fn report(&self, failure: &Failure) -> ExitCode {
        let mut text = format!("{} {}\n", self.paint(Style::Error, "error:"), failure.message);
        for cause in &failure.causes {
            text.push_str(&format!("  caused by: {cause}\n"));
        }
        if let Some(snippet) = &failure.snippet {
            text.push_str(&format!("{}\n", snippet.trim_end()));
        }
        if let Some(hint) = &failure.hint {
            text.push_str(&format!("\n{} {hint}\n", self.paint(Style::Strong, "hint:")));
        }
        let _ = io::stderr().lock().write_all(text.as_bytes());
        failure.exit_code()
    }

    /// Whether a person can be asked: standard input and standard error are terminals.
    pub fn can_ask(&self) -> bool {
        self.interactive && io::stdin().is_terminal()
    }

    /// Asks a question that is answered with yes or no; anything but `y` or `yes` is no.
    pub fn ask(&self, question: &str) -> bool {
        let _ = write!(io::stderr().lock(), "{question} [y/N] ");
        let _ = io::stderr().flush();
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }

    /// Asks for a line; an empty answer is what is offered.
    ///
    /// # Errors
    /// Where the person ends the input, or it cannot be read.
    pub fn ask_line(&self, question: &str, offered: &str) -> Result<String, Failure> {
        let shown = if offered.is_empty() { String::new() } else { format!(" [{}]", visible(offered)) };
        let _ = write!(io::stderr().lock(), "{question}{shown}: ");
        let _ = io::stderr().flush();
        let mut answer = String::new();
        let read = io::stdin().lock().take(4096).read_line(&mut answer);
        match read {
            Ok(0) => Err(Failure::new("the question was not answered")),
            Ok(_) if answer.trim().is_empty() => Ok(offered.to_owned()),
            Ok(_) => Ok(answer.trim().to_owned()),
            Err(error) => Err(Failure::new("cannot read the answer").because(&error)),
        }
    }

    /// Colours `text` if colours are on.
    pub fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Error => "1;31",
            Style::Warning => "1;33",
            Style::Good => "32",
            Style::Strong => "1",
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A bar for `total` bytes; hidden where there is no terminal, or with `-q`.
    pub fn bytes_bar(&self, what: &str, total: u64) -> ProgressBar {
        let bar = self.bar(ProgressBar::new(total), "{msg:20} {bar:30} {bytes}/{total_bytes} {elapsed}");
        bar.set_message(what.to_owned());
        bar
    }

    /// A bar for `total` bytes that come over a network, with their speed and the time that is left; hidden where there is no
    /// terminal, or with `-q`.
    pub fn download_bar(&self, what: &str, total: u64) -> ProgressBar {
        let template = "{msg:20} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
        let bar = self.bar(ProgressBar::new(total), template);
        bar.set_message(what.to_owned());
        bar
    }

    /// A sign of life for work of unknown length; hidden where there is no terminal, or with `-q`.
    pub fn spinner(&self, what: &str) -> ProgressBar {
        let bar = self.bar(ProgressBar::new_spinner(), "{spinner} {wide_msg} {elapsed}");
        bar.set_message(what.to_owned());
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        bar
    }

    fn bar(&self, bar: ProgressBar, template: &str) -> ProgressBar {
        let shown = self.interactive && !self.quiet;
        bar.set_draw_target(if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        bar.with_style(ProgressStyle::with_template(template).expect("the templates are constant"))
    }
}

/// A time for people and machines: `2026-05-09 07:29 UTC`, from seconds since 1970.
pub fn iso_time(seconds: u64) -> String {
    const DAY: u64 = 86_400;
    let (year, month, day) = civil_date(seconds / DAY);
    let minutes = seconds % DAY / 60;
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// A span of time for people: `0.3 s`, `12.3 s`, `2 min 5 s`, `1 h 2 min`.
pub fn human_time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A size for people: `1.5 MB` (powers of 1000).
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1000.0;
    let mut unit = 0;
    while size >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_as_exact_as_they_are_short() {
        for (milliseconds, expected) in [
            (0, "0.0 s"),
            (340, "0.3 s"),
            (59_900, "59.9 s"),
            (60_000, "1 min 0 s"),
            (3_599_999, "59 min 59 s"),
            (3_720_000, "1 h 2 min"),
        ] {
            assert_eq!(human_time(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn times_are_written_as_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_704_067_199, "2023-12-31 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(iso_time(seconds), expected);
        }
        iso_time(u64::MAX);
    }
}
