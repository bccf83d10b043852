//! Ingestion latency: quantiles, the objective, and the 95th percentile over time.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::style::{Theme, panel};
use crate::ops::vitals::LatencyVitals;
use mfctl_core::humane;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, latency: &LatencyVitals, theme: Theme) {
    let title = format!("latency staged → enriched, last {}", seconds(latency.window_seconds as f64));
    let block = panel(&title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [text, spark] = Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(inner);
    frame.render_widget(Paragraph::new(vec![quantiles(latency), objective(latency, theme)]), text);
    if spark.height > 0 && latency.quantiles.is_some() {
        let bars = latency.p95_seconds_over_time.iter().map(|p95| p95.map(|p95| (p95 * 1000.0).max(1.0) as u64));
        frame.render_widget(Sparkline::default().data(bars.collect::<Vec<_>>()), spark);
    }
}

fn quantiles(latency: &LatencyVitals) -> Line<'static> {
    match &latency.quantiles {
        None => Line::raw("nothing was enriched in this time"),
        Some(q) => Line::raw(format!(
            "p50 {}   p95 {}   p99 {}   max {}   of {}",
            seconds(q.p50_seconds),
            seconds(q.p95_seconds),
            seconds(q.p99_seconds),
            seconds(q.max_seconds),
            humane::counted(q.count, "asset", "assets"),
        )),
    }
}

fn objective(latency: &LatencyVitals, theme: Theme) -> Line<'static> {
    let target = format!("{} within {}", humane::percent(latency.objective), seconds(latency.objective_seconds));
    match (latency.within_objective, latency.met) {
        (Some(within), Some(met)) => {
            let (word, style) = if met { ("met", theme.good()) } else { ("MISSED", theme.alarm()) };
            let result = format!("{word}: {} of them", humane::percent(within));
            Line::from(vec![Span::raw(format!("objective {target} — ")), Span::styled(result, style)])
        }
        _ => Line::raw(format!("objective {target}")),
    }
}

fn seconds(value: f64) -> String {
    humane::duration(Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX))
}
