//! The figures as a picture: small charts one below the other, over one axis of time, with what happened as lines.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::figures::{Span, spans};
use crate::gauge::Row;
use crate::operator::Action;

type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SIZE: (u32, u32) = (1200, 1740);
const FONT: &str = "sans-serif";
const BLUE_DARK: RGBColor = RGBColor(20, 90, 170);
const ORANGE: RGBColor = RGBColor(215, 105, 0);
const GREEN_DARK: RGBColor = RGBColor(20, 130, 70);

struct Chart {
    title: &'static str,
    is_logarithmic: bool,
    /// Column, what it is called, and its colour.
    lines: &'static [(&'static str, &'static str, RGBColor)],
}

impl Chart {
    /// A column, as it is drawn.
    fn spans(&self, rows: &[Row], column: &str) -> Vec<Span> {
        let scale = |value: f64| {
            if self.is_logarithmic {
                value.max(0.01).log10()
            } else {
                value
            }
        };
        let spans = spans(rows, column).into_iter();
        spans
            .map(|span| Span {
                at: span.at,
                least: scale(span.least),
                median: scale(span.median),
                greatest: scale(span.greatest),
            })
            .collect()
    }

    /// From below the least to above the greatest value, with room for the legend.
    fn height(&self, lines: &[Vec<Span>]) -> Range<f64> {
        let all = || lines.iter().flatten();
        let most = all().map(|span| span.greatest).fold(0.1, f64::max);
        if self.is_logarithmic {
            let least = all().map(|span| span.median).fold(0.0, f64::min);
            least.floor()..most.ceil() + 1.0
        } else {
            0.0..most * 1.4
        }
    }

    fn label(&self, value: f64) -> String {
        let value = if self.is_logarithmic {
            10_f64.powf(value)
        } else {
            value
        };
        format!("{}", (value * 100.0).round() / 100.0)
    }
}

const CHARTS: [Chart; 7] = [
    Chart {
        title: "messages per second, all clients",
        is_logarithmic: false,
        lines: &[
            ("published_per_s", "published", BLUE_DARK),
            ("delivered_per_s", "delivered", ORANGE),
        ],
    },
    Chart {
        title: "memory of the broker (resident), MiB",
        is_logarithmic: false,
        lines: &[("rss_mib", "RSS", BLUE_DARK)],
    },
    Chart {
        title: "open file descriptors, threads",
        is_logarithmic: false,
        lines: &[("fds", "descriptors", BLUE_DARK), ("threads", "threads", ORANGE)],
    },
    Chart {
        title: "files, MiB",
        is_logarithmic: false,
        lines: &[
            ("database_mib", "database", BLUE_DARK),
            ("wal_mib", "write-ahead log", ORANGE),
        ],
    },
    Chart {
        title: "processor, cores in use",
        is_logarithmic: false,
        lines: &[
            ("cpu_cores", "broker", BLUE_DARK),
            ("clients_cpu_cores", "all clients", ORANGE),
        ],
    },
    Chart {
        title: "tasks of the whole machine that want a core (load average of a minute): others work on it too",
        is_logarithmic: false,
        lines: &[("load_average", "load", BLUE_DARK)],
    },
    Chart {
        title: "latency, ms (logarithmic): median and 99th percentile of each second, medians of ten",
        is_logarithmic: true,
        lines: &[
            ("transient_p50_ms", "transient to delivery, median", BLUE_DARK),
            ("transient_p99_ms", "99 %", RGBColor(110, 160, 220)),
            ("durable_p50_ms", "persistent to confirm, median", ORANGE),
            ("durable_p99_ms", "99 %", RGBColor(240, 175, 110)),
        ],
    },
];

pub fn draw(path: &Path, title: &str, rows: &[Row], events: &[(f64, Action)]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, charts) = root.split_vertically(64);
    head.draw(&Text::new(
        format!("Everything at once: {title}"),
        (12, 10),
        (FONT, 24),
    ))?;
    draw_key(&head)?;
    let minutes = rows.last().map_or(1.0, |row| row.at / 60.0);
    for (chart, area) in CHARTS.iter().zip(charts.split_evenly((CHARTS.len(), 1))) {
        draw_chart(&area, chart, rows, events, minutes)?;
    }
    root.present()?;
    Ok(())
}

/// What the vertical lines mean.
fn draw_key(head: &Drawing) -> Result<(), Box<dyn Error>> {
    let key = [
        (Action::Kill, "kill -9 and restart"),
        (Action::Stop, "stop and restart"),
        (Action::Backup, "backup"),
        (Action::Reload, "SIGHUP"),
    ];
    let mut left = 14;
    for (action, text) in key {
        head.draw(&PathElement::new(
            [(left, 42), (left, 60)],
            colour(action).stroke_width(2),
        ))?;
        head.draw(&Text::new(text, (left + 8, 43), (FONT, 16)))?;
        left += 190;
    }
    let text = "bands: least to greatest second of ten";
    head.draw(&Text::new(text, (left + 8, 43), (FONT, 16)))?;
    Ok(())
}

fn draw_chart(
    area: &Drawing,
    chart: &Chart,
    rows: &[Row],
    events: &[(f64, Action)],
    minutes: f64,
) -> Result<(), Box<dyn Error>> {
    let lines: Vec<_> = chart
        .lines
        .iter()
        .map(|(column, _, _)| chart.spans(rows, column))
        .collect();
    let height = chart.height(&lines);
    let mut context = ChartBuilder::on(area)
        .caption(chart.title, (FONT, 18))
        .margin_right(16)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..minutes, height.clone())?;
    context
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style((FONT, 14))
        .x_labels(13)
        .y_labels(6)
        .x_label_formatter(&|minute| format!("{} min", (minute * 10.0).round() / 10.0))
        .y_label_formatter(&|value| chart.label(*value))
        .draw()?;
    context.draw_series(
        events
            .iter()
            .map(|(at, action)| event_line(*at, *action, &height)),
    )?;
    for ((_, name, colour), spans) in chart.lines.iter().zip(&lines) {
        let colour = *colour;
        if !chart.is_logarithmic {
            for part in unbroken(spans) {
                context.draw_series([Polygon::new(band(part), colour.mix(0.2))])?;
            }
        }
        for (index, part) in unbroken(spans).enumerate() {
            let points = part.iter().map(|span| point(span.at, span.median));
            let series = context.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            if index == 0 {
                series
                    .label(*name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            }
        }
    }
    context
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 14))
        .draw()?;
    Ok(())
}

fn event_line(at: f64, action: Action, height: &Range<f64>) -> PathElement<(f64, f64)> {
    let minute = at / 60.0;
    PathElement::new(
        [(minute, height.start), (minute, height.end)],
        colour(action).stroke_width(1),
    )
}

fn colour(action: Action) -> RGBAColor {
    match action {
        Action::Kill => RED.mix(0.8),
        Action::Stop => BLACK.mix(0.8),
        Action::Backup => GREEN_DARK.mix(0.6),
        Action::Reload => BLACK.mix(0.15),
    }
}

fn point(at: f64, value: f64) -> (f64, f64) {
    (at / 60.0, value)
}

/// From the least to the greatest values and back.
fn band(spans: &[Span]) -> Vec<(f64, f64)> {
    let there = spans.iter().map(|span| point(span.at, span.least));
    let back = spans.iter().rev().map(|span| point(span.at, span.greatest));
    there.chain(back).collect()
}

/// Parts without a gap.
fn unbroken(spans: &[Span]) -> impl Iterator<Item = &[Span]> {
    spans.chunk_by(|one, next| next.at - one.at < 25.0)
}
