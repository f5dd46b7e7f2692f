//! What the rows say: thinned out, in a table, and whether anything grows.

use std::fmt::Write as _;

use crate::gauge::{COLUMNS, Row, column};

/// Runs that are shorter are not judged by their figures.
pub const SECONDS_MIN: f64 = 1800.0;
/// Seconds that are drawn and written as one.
const STRIDE: usize = 10;

/// Columns that may not grow, each with a factor and an allowance that its median and its greatest value may have over
/// those of the first quiet cycle.
const BOUNDED: [(&str, f64, f64); 5] = [
    ("rss_mib", 1.15, 8.0),
    ("fds", 1.0, 8.0),
    ("threads", 1.0, 2.0),
    ("wal_mib", 1.1, 16.0),
    ("database_mib", 1.1, 16.0),
];
/// MiB of the write-ahead log, ever: a multiple of `storage.checkpoint_bytes`.
const WAL_MAX: f64 = 128.0;

/// Least, median and greatest value of some seconds.
#[derive(Clone, Copy)]
pub struct Span {
    pub at: f64,
    pub least: f64,
    pub median: f64,
    pub greatest: f64,
}

/// A column, ten seconds in one. What is not known leaves a gap.
pub fn spans(rows: &[Row], name: &str) -> Vec<Span> {
    let column = column(name);
    let span = |rows: &[Row]| {
        let mut values: Vec<f64> = known(rows, column);
        values.sort_by(f64::total_cmp);
        Some(Span {
            at: rows[0].at,
            least: *values.first()?,
            median: values[values.len() / 2],
            greatest: *values.last()?,
        })
    };
    rows.chunks(STRIDE).filter_map(span).collect()
}

/// The medians of ten seconds, and of what has peaks the greatest value.
pub fn csv(rows: &[Row]) -> String {
    let mut text = format!("second,{}\n", COLUMNS.join(","));
    for rows in rows.chunks(STRIDE) {
        write!(text, "{:.0}", rows[0].at).expect("a string takes all");
        for (index, name) in COLUMNS.iter().enumerate() {
            let values = known(rows, index);
            let value = if name.contains("max") {
                greatest(&values)
            } else {
                median(&values)
            };
            match value {
                Some(value) => write!(text, ",{value:.2}"),
                None => write!(text, ","),
            }
            .expect("a string takes all");
        }
        text.push('\n');
    }
    text
}

/// The first and the last cycle without restarts, side by side.
pub fn table(rows: &[Row], seconds: f64) -> String {
    let mut text = String::from(
        "| | first quiet cycle | last cycle | least and greatest of all |\n| --- | --- | --- | --- |\n",
    );
    let (first, last) = (cycle(rows, seconds, 7), cycle(rows, seconds, 11));
    for (index, name) in COLUMNS.iter().enumerate() {
        let of = |rows: &[Row]| {
            let values = known(rows, index);
            let (median, greatest) = (median(&values), greatest(&values));
            format!(
                "{:.2}, at most {:.2}",
                median.unwrap_or(f64::NAN),
                greatest.unwrap_or(f64::NAN)
            )
        };
        let all = known(rows, index);
        let bottom = all.iter().copied().reduce(f64::min).unwrap_or(f64::NAN);
        let most = greatest(&all).unwrap_or(f64::NAN);
        writeln!(
            text,
            "| {name} | {} | {} | {bottom:.2}, {most:.2} |",
            of(first),
            of(last)
        )
        .expect("a string takes all");
    }
    text
}

/// What is more in the last cycle than it was in the same phases of the first one after the last restart but for the
/// time of warming up.
pub fn growth(rows: &[Row], seconds: f64) -> Vec<String> {
    let mut complaints = Vec::new();
    let (first, last) = (cycle(rows, seconds, 7), cycle(rows, seconds, 11));
    for (name, factor, allowance) in BOUNDED {
        let column = column(name);
        for (what, of) in [
            ("median", median as fn(&[f64]) -> Option<f64>),
            ("greatest", greatest),
        ] {
            let (Some(before), Some(after)) = (of(&known(first, column)), of(&known(last, column))) else {
                complaints.push(format!("{name} is not known"));
                continue;
            };
            if after > before * factor + allowance {
                complaints.push(format!("{name}: the {what} grew from {before:.1} to {after:.1}"));
            }
        }
    }
    let wal = greatest(&known(rows, column("wal_mib")));
    if wal.is_none_or(|wal| wal > WAL_MAX) {
        complaints.push(format!(
            "the write-ahead log was {wal:?} MiB; at most {WAL_MAX} are due"
        ));
    }
    complaints
}

/// It sees what grows, and nothing else. Else a run that finds nothing would say nothing.
pub fn prove() {
    let rows = |rise: f64, wal: f64| -> Vec<Row> {
        let row = |second: u32| {
            let mut values = [50.0; COLUMNS.len()];
            // Drains of the backlog are no growth.
            values[column("rss_mib")] += 30.0 * (f64::from(second) / 100.0).fract();
            values[column("rss_mib")] += rise * f64::from(second);
            values[column("wal_mib")] = wal;
            let at = f64::from(second);
            Row { at, values }
        };
        (0..1200).map(row).collect()
    };
    assert_eq!(growth(&rows(0.0, 40.0), 1200.0), Vec::<String>::new());
    assert_eq!(
        growth(&rows(0.1, 40.0), 1200.0).len(),
        2,
        "memory, by both measures"
    );
    assert_eq!(growth(&rows(0.0, WAL_MAX + 1.0), 1200.0).len(), 1, "the log");
}

/// The rows of a twelfth of the run.
fn cycle(rows: &[Row], seconds: f64, index: u32) -> &[Row] {
    let border = |index: u32| {
        let at = seconds / 12.0 * f64::from(index);
        rows.partition_point(|row| row.at < at)
    };
    &rows[border(index)..border(index + 1)]
}

fn known(rows: &[Row], column: usize) -> Vec<f64> {
    let values = rows.iter().map(|row| row.values[column]);
    values.filter(|value| !value.is_nan()).collect()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn greatest(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::max)
}
