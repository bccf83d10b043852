//! Prometheus' text format 0.0.4 from OpenMetrics. The differences are the name of a counter in HELP and TYPE, and two
//! lines that the older format does not have.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// The registry in Prometheus' text format.
pub(super) fn prometheus(registry: &Registry) -> String {
    let mut open_metrics = String::new();
    // Writing into a string cannot fail.
    let _ = encode(&mut open_metrics, registry);
    let lines: Vec<&str> = open_metrics.lines().collect();
    let mut text = String::with_capacity(open_metrics.len() + 256);
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with("# EOF") || line.starts_with("# UNIT ") {
            continue;
        }
        match described(line) {
            Some((keyword, name, rest)) if is_counter(name, &lines[at..]) => {
                text.push_str(&format!("# {keyword} {name}_total {rest}\n"));
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// The parts of `# HELP name …` or `# TYPE name …`.
fn described(line: &str) -> Option<(&str, &str, &str)> {
    let mut parts = line.strip_prefix("# ")?.splitn(3, ' ');
    let keyword = parts.next().filter(|keyword| matches!(*keyword, "HELP" | "TYPE"))?;
    Some((keyword, parts.next()?, parts.next()?))
}

/// Whether the TYPE of this name, on this line or the next, is that of a counter.
fn is_counter(name: &str, from: &[&str]) -> bool {
    let found = from.iter().take(2).find_map(|line| described(line).filter(|(keyword, ..)| *keyword == "TYPE"));
    found.is_some_and(|(_, of, kind)| of == name && kind == "counter")
}
