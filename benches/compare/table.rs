//! Figures: samples by row, printed as medians, ranges and ratios, with what was to be reached.
//!
//! Rows are measured in turn, round by round, so that whatever else the machine does hits all of them. A ratio is the
//! median of the ratios of each round, which drifts less than the ratio of two medians.

/// What a figure is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Mebibytes.
    Mebibytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Microseconds => "µs",
            Unit::Mebibytes => "MiB",
        }
    }
}

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// At most so many times what another row has.
    Times(f64, &'static str),
    /// At most so much.
    AtMost(f64),
}

/// One figure, measured in several rows.
pub struct Figure {
    title: String,
    unit: Unit,
    rows: Vec<(String, Vec<f64>)>,
    targets: Vec<(&'static str, Target)>,
}

/// A target, and what was measured, for the summary.
pub struct Verdict {
    figure: String,
    measured: String,
    wanted: String,
    reached: bool,
}

impl Figure {
    /// Begins a figure.
    pub fn new(title: &str, unit: Unit) -> Figure {
        Figure { title: title.to_owned(), unit, rows: Vec::new(), targets: Vec::new() }
    }

    /// Adds what row `row` is to reach.
    #[must_use]
    pub fn target(mut self, row: &'static str, target: Target) -> Figure {
        self.targets.push((row, target));
        self
    }

    /// Adds a sample.
    pub fn add(&mut self, row: &str, value: f64) {
        match self.rows.iter_mut().find(|(name, _)| name == row) {
            Some((_, values)) => values.push(value),
            None => self.rows.push((row.to_owned(), vec![value])),
        }
    }

    fn samples(&self, row: &str) -> Option<&[f64]> {
        self.rows.iter().find(|(name, _)| name == row).map(|(_, values)| values.as_slice())
    }

    fn ratio(&self, row: &str, reference: &str) -> Option<f64> {
        let (ours, theirs) = (self.samples(row)?, self.samples(reference)?);
        Some(median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs)))
    }

    /// Prints the figure, with ratios to `reference`, and returns what became of its targets.
    pub fn print(&self, reference: &str) -> Vec<Verdict> {
        let unit = self.unit.name();
        println!("\n| {} | median {unit} | range {unit} | × {reference} |\n|---|---|---|---|", self.title);
        for (row, values) in &self.rows {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            let ratio = self.ratio(row, reference).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
            println!("| {row} | {:.2} | {least:.2} – {most:.2} | {ratio} |", median(values.iter().copied()));
        }
        self.targets.iter().filter_map(|(row, target)| self.verdict(row, *target)).collect()
    }

    fn verdict(&self, row: &str, target: Target) -> Option<Verdict> {
        let unit = self.unit.name();
        let (measured, wanted, reached) = match target {
            Target::Times(most, reference) => {
                let ratio = self.ratio(row, reference)?;
                (format!("{ratio:.2} ×"), format!("≤ {most:.2} × {reference}"), ratio <= most)
            }
            Target::AtMost(most) => {
                let middle = median(self.samples(row)?.iter().copied());
                (format!("{middle:.2} {unit}"), format!("≤ {most} {unit}"), middle <= most)
            }
        };
        Some(Verdict { figure: format!("{}: {row}", self.title), measured, wanted, reached })
    }
}

/// Prints all verdicts.
pub fn summarise(verdicts: &[Verdict]) {
    if verdicts.is_empty() {
        return;
    }
    println!("\n| figure | measured | to reach | reached |\n|---|---|---|---|");
    for Verdict { figure, measured, wanted, reached } in verdicts {
        println!("| {figure} | {measured} | {wanted} | {} |", if *reached { "yes" } else { "NO" });
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}
