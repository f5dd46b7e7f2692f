//! The medians of a benchmark's runs, as a markdown table and as JSON.

use serde::Serialize;

use crate::bench::{
    outcome::{Latency, Outcome},
    statistics::{float, median, spread_percent},
};

const HEAD: &str = "| work | broker | runs | messages/s | spread | CPU s/M | peak RSS MiB \
                    | written MiB | latency µs p50 / p99 / p99.9 / max | remarks | generator CPU s/M |\n\
                    |---|---|---:|---:|---:|---:|---:|---:|---:|---|---:|\n";

/// All figures of a benchmark.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: String,
    seconds: f64,
    rows: Vec<Row>,
}

/// One scenario against one broker.
#[derive(Debug, Serialize)]
struct Row {
    scenario: String,
    broker: String,
    per_second: Option<f64>,
    spread_percent: Option<f64>,
    cpu_seconds_per_million: Option<f64>,
    generator_cpu_seconds_per_million: Option<f64>,
    resident_mib_max: Option<f64>,
    written_mib: Option<f64>,
    latency_us: Option<Latency>,
    fairness: Option<f64>,
    resident_bytes_each: Option<f64>,
    drained_per_second: Option<f64>,
    runs: Vec<Outcome>,
}

impl Report {
    /// An empty one, for runs of that length.
    pub(super) fn new(machine: String, seconds: f64) -> Self {
        Self {
            machine,
            seconds,
            rows: Vec::new(),
        }
    }

    /// Adds the runs of a scenario against one broker.
    pub(super) fn add(&mut self, scenario: &str, runs: Vec<Outcome>) {
        if !runs.is_empty() {
            self.rows.push(Row::new(scenario, runs));
        }
    }

    /// For people.
    pub(super) fn markdown(&self) -> String {
        let rows: String = self.rows.iter().map(Row::markdown).collect();
        format!(
            "{}; runs of {} s; medians, spread is largest less smallest run.\n\n{HEAD}{rows}",
            self.machine, self.seconds
        )
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers always serialise")
    }
}

impl Row {
    fn new(scenario: &str, runs: Vec<Outcome>) -> Self {
        let all = |value: fn(&Outcome) -> Option<f64>| runs.iter().filter_map(value).collect::<Vec<f64>>();
        let of = |value: fn(&Outcome) -> Option<f64>| median(&all(value));
        let rates = all(|run| Some(run.per_second));
        let latency = |value: fn(&Latency) -> f64| {
            median(
                &runs
                    .iter()
                    .filter_map(|run| run.latency_us.as_ref())
                    .map(value)
                    .collect::<Vec<f64>>(),
            )
        };
        Self {
            scenario: scenario.to_owned(),
            broker: runs.first().map(|run| run.broker.clone()).unwrap_or_default(),
            per_second: median(&rates),
            spread_percent: spread_percent(&rates),
            cpu_seconds_per_million: of(|run| run.cpu_seconds_per_million),
            generator_cpu_seconds_per_million: of(|run| run.generator_cpu_seconds_per_million),
            resident_mib_max: of(|run| run.resident_bytes_max.map(mib)),
            written_mib: of(|run| run.written_bytes.map(mib)),
            latency_us: latency(|latency| latency.p50).map(|p50| Latency {
                p50,
                p99: latency(|latency| latency.p99).unwrap_or(f64::NAN),
                p999: latency(|latency| latency.p999).unwrap_or(f64::NAN),
                max: latency(|latency| latency.max).unwrap_or(f64::NAN),
            }),
            fairness: of(|run| run.fairness),
            resident_bytes_each: of(|run| run.resident_bytes_each),
            drained_per_second: of(|run| run.drained_per_second),
            runs,
        }
    }

    fn markdown(&self) -> String {
        let latency = self.latency_us.as_ref().map_or_else(
            || "–".to_owned(),
            |it| format!("{:.0} / {:.0} / {:.0} / {:.0}", it.p50, it.p99, it.p999, it.max),
        );
        let fairness = self
            .fairness
            .map(|it| format!("slowest of the consumers has {:.0} % of the fastest", it * 100.0));
        let drained = self
            .drained_per_second
            .map(|it| format!("drained at {}/s", count(Some(it))));
        let each = self
            .resident_bytes_each
            .map(|it| format!("{:.1} KiB of memory for each", it / 1024.0));
        let remarks: Vec<String> = fairness.into_iter().chain(drained).chain(each).collect();
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {latency} | {} | {} |\n",
            self.scenario,
            self.broker,
            self.runs.len(),
            count(self.per_second),
            self.spread_percent
                .map_or_else(|| "–".to_owned(), |spread| format!("{spread:.0} %")),
            decimal(self.cpu_seconds_per_million, 2),
            decimal(self.resident_mib_max, 0),
            decimal(self.written_mib, 0),
            remarks.join("; "),
            decimal(self.generator_cpu_seconds_per_million, 3),
        )
    }
}

fn mib(bytes: u64) -> f64 {
    float(bytes) / 1024.0 / 1024.0
}

fn decimal(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.places$}"))
}

/// With three digits that mean something.
fn count(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 1e6 => format!("{:.2} M", value / 1e6),
        Some(value) if value >= 1e5 => format!("{:.0} k", value / 1e3),
        Some(value) if value >= 1e3 => format!("{:.1} k", value / 1e3),
        Some(value) => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(per_second: f64) -> Outcome {
        Outcome {
            broker: "Some 1.0".to_owned(),
            messages: 1000,
            seconds: 1.0,
            per_second,
            cpu_seconds: None,
            cpu_seconds_per_million: Some(per_second / 1000.0),
            generator_cpu_seconds_per_million: None,
            resident_bytes_max: Some(3 * 1024 * 1024),
            written_bytes: None,
            latency_us: None,
            fairness: None,
            resident_bytes_each: None,
            drained_per_second: Some(1_234_567.0),
        }
    }

    #[test]
    fn a_row_shows_medians_and_leaves_out_what_was_not_measured() {
        let mut report = Report::new("a machine".to_owned(), 5.0);
        report.add("some-16", vec![outcome(3000.0), outcome(1000.0), outcome(2000.0)]);
        let markdown = report.markdown();
        let row = markdown.lines().last().unwrap();
        let expected =
            "| some-16 | Some 1.0 | 3 | 2.0 k | 100 % | 2.00 | 3 | – | – | drained at 1.23 M/s | – |";
        assert_eq!(row, expected);
        assert_eq!(
            markdown.lines().nth(2).unwrap().matches('|').count(),
            row.matches('|').count()
        );
    }

    #[test]
    fn the_json_holds_every_run() {
        let mut report = Report::new("a machine".to_owned(), 5.0);
        report.add("some-16", vec![outcome(1.0), outcome(2.0)]);
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["rows"][0]["runs"].as_array().unwrap().len(), 2);
        assert_eq!(json["rows"][0]["per_second"], 1.5);
    }
}
