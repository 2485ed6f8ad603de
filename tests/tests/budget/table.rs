//! A table of budgets: a text file with a line for each command and a column for each figure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// How far below its budget a figure is before the table is asked to follow, in percent.
const SLACK: u64 = 3;

/// How often a command is measured at most.
const TRIES: usize = 3;

/// What a figure may be above its budget before it is too much: so many percent of it, and not more than so many units.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tolerance {
    /// In percent of the budget.
    pub(crate) percent: u64,
    /// In units of the figure.
    pub(crate) units: u64,
}

impl Tolerance {
    fn most(self, budget: u64) -> u64 {
        budget + self.units.min(budget * self.percent / 100)
    }
}

/// A file of budgets.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
    tolerance: Tolerance,
    tries: usize,
}

/// The figures of one command, by column.
pub(crate) type Figures = BTreeMap<String, u64>;

impl Table {
    /// The table `tests/budgets/NAME`.
    pub(crate) fn of(name: &str, tolerance: Tolerance) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("budgets");
        Self {
            path: directory.join(name),
            tolerance,
            tries: TRIES,
        }
    }

    /// The same, where measuring takes so long that it is done once.
    pub(crate) fn once(mut self) -> Self {
        self.tries = 1;
        self
    }

    /// Whether it was ever written, or is to be.
    pub(crate) fn is_there(&self) -> bool {
        self.path.exists() || is_update()
    }

    /// Compares what `command` costs with its budget, or writes the budget where `UPDATE_BUDGETS` is set.
    ///
    /// What else goes on on a machine adds to a figure and never takes from it: when one is too high, `measure` is called again, and the
    /// lowest counts; what is written is the median: a command in eight also does what those before it have left.
    ///
    /// # Panics
    /// When a figure is above its budget each time; `detail` tells more about the last measurement.
    pub(crate) fn check(
        &self,
        command: &str,
        columns: &[&str],
        mut measure: impl FnMut() -> Figures,
        detail: impl Fn() -> String,
    ) {
        let mut least = measure();
        if is_update() {
            let mut all = vec![least];
            all.extend((1..self.tries).map(|_| measure()));
            return self.write(command, columns, &median(&all));
        }
        let budget = self.read(command);
        for _ in 1..self.tries {
            if self.above(&budget, &least).is_empty() {
                break;
            }
            let again = measure();
            for (column, figure) in &mut least {
                *figure = again[column].min(*figure);
            }
        }
        let above = self.above(&budget, &least);
        assert!(
            above.is_empty(),
            "{command} costs more than {} allows:\n{}\n{}",
            self.path.display(),
            compared(columns, &budget, &least, &above),
            detail()
        );
        let first = columns[0];
        if least[first] + budget[first] * SLACK / 100 < budget[first] {
            println!(
                "{command} costs less than its budget; tighten it with hack/budgets:\n{}",
                compared(columns, &budget, &least, &[])
            );
        }
    }

    fn above(&self, budget: &Figures, figures: &Figures) -> Vec<String> {
        let is_above =
            |(column, figure): &(&String, &u64)| **figure > self.tolerance.most(budget[*column]);
        let above = figures.iter().filter(is_above);
        above.map(|(column, _)| column.clone()).collect()
    }

    fn read(&self, command: &str) -> Figures {
        let text = fs::read_to_string(&self.path)
            .unwrap_or_else(|error| panic!("read {}: {error} (hack/budgets)", self.path.display()));
        let (columns, rows) = parse(&text);
        let row = rows.get(command).unwrap_or_else(|| {
            panic!(
                "no budget of {command} in {} (hack/budgets)",
                self.path.display()
            )
        });
        columns.into_iter().zip(row.iter().copied()).collect()
    }

    /// Puts a command's line in the place of the one it had. Tests of other threads and processes do the same.
    fn write(&self, command: &str, columns: &[&str], figures: &Figures) {
        let directory = self.path.parent().expect("a directory");
        let lock = File::open(directory).expect("the directory of budgets");
        lock.lock().expect("lock the directory of budgets");
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let (old, mut rows) = parse(&text);
        if old != columns {
            rows.clear();
        }
        let row = columns.iter().map(|column| figures[*column]).collect();
        rows.insert(command.to_owned(), row);
        fs::write(&self.path, rendered(columns, &rows)).expect("write a table of budgets");
    }
}

fn is_update() -> bool {
    std::env::var_os("UPDATE_BUDGETS").is_some()
}

/// Column by column.
fn median(all: &[Figures]) -> Figures {
    let columns = all.iter().flat_map(Figures::keys);
    let of = |column: &_| {
        let mut figures: Vec<u64> = all.iter().map(|one| one[column]).collect();
        figures.sort_unstable();
        figures[figures.len() / 2]
    };
    columns.map(|column| (column.clone(), of(column))).collect()
}

type Rows = BTreeMap<String, Vec<u64>>;

/// The columns and, by command, the rows.
fn parse(text: &str) -> (Vec<String>, Rows) {
    let mut lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let columns = lines.next().map(words).unwrap_or_default();
    let rows = lines.map(words).map(|row| {
        let figures = row[1..].iter().map(|word| {
            word.parse()
                .unwrap_or_else(|error| panic!("{word} of {}: {error}", row[0]))
        });
        (row[0].clone(), figures.collect())
    });
    (columns.into_iter().skip(1).collect(), rows.collect())
}

fn rendered(columns: &[&str], rows: &Rows) -> String {
    let mut text = "# budgets of the binaries that hack/build makes (tests/tests/budget); written by hack/budgets\n".to_owned();
    let first = rows
        .keys()
        .map(String::len)
        .max()
        .unwrap_or(0)
        .max("command".len());
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let figures = rows.values().map(|row| row[at].to_string().len());
            figures.max().unwrap_or(0).max(column.len())
        })
        .collect();
    let mut line = |name: &str, cells: Vec<String>| {
        let _ = write!(text, "{name:first$}");
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    };
    line(
        "command",
        columns.iter().map(|column| (*column).to_owned()).collect(),
    );
    for (command, row) in rows {
        line(command, row.iter().map(u64::to_string).collect());
    }
    text
}

fn compared(columns: &[&str], budget: &Figures, figures: &Figures, above: &[String]) -> String {
    let mut text = format!("  {:<12} {:>10} {:>10} {:>8}\n", "", "budget", "now", "");
    for column in columns {
        let (budget, figure) = (budget[*column], figures[*column]);
        let change = figure.cast_signed() - budget.cast_signed();
        let mark = if above.iter().any(|name| name == column) {
            "  too many"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "  {column:<12} {budget:>10} {figure:>10} {change:>+8}{mark}"
        );
    }
    text
}

#[test]
fn a_table_is_read_as_it_was_written() {
    let rows = Rows::from([
        ("create".to_owned(), vec![12, 3]),
        ("delete-composed".to_owned(), vec![4, 123_456]),
    ]);
    let text = rendered(&["total", "open"], &rows);
    let (columns, read) = parse(&text);
    assert_eq!(columns, ["total", "open"]);
    assert_eq!(read, rows);
    assert!(text.ends_with("delete-composed      4  123456\n"), "{text}");
}

#[test]
fn a_figure_is_too_high_beyond_its_tolerance() {
    let tolerance = Tolerance {
        percent: 10,
        units: 3,
    };
    assert_eq!(
        [0, 9, 10, 25, 1000].map(|budget| tolerance.most(budget)),
        [0, 9, 11, 27, 1003]
    );
}
