//! The page that a Prometheus server reads: text format 0.0.4.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::catalogue::{CATALOGUE, Family, Kind};
use super::meter::{Cell, Labels, Meter, Spread};

/// All series of `meters`, a family at a time, with `HELP` and `TYPE`.
pub fn render(meters: &[Meter]) -> String {
    let mut page = String::new();
    for family in CATALOGUE {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let Family { name, help, .. } = family;
        page.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for meter in meters {
            for (labels, cell) in meter.series(family.metric) {
                let labels = pairs(family, meter.operator(), &labels);
                write_series(&mut page, family.name, (&labels, &cell));
            }
        }
    }
    page
}

fn write_series(page: &mut String, name: &str, (labels, cell): (&str, &Cell)) {
    match cell {
        Cell::Count(count) => line(page, (name, ""), labels, count.load(Ordering::Relaxed)),
        Cell::Level(level) => line(page, (name, ""), labels, level.value()),
        Cell::Spread(spread) => write_spread(page, name, (labels, spread)),
    }
}

fn write_spread(page: &mut String, name: &str, (labels, spread): (&str, &Spread)) {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut below = 0;
    let mut bounds = spread.bounds.iter();
    for bucket in &spread.buckets {
        below += bucket.load(Ordering::Relaxed);
        let bound = bounds.next().map_or_else(|| String::from("+Inf"), ToString::to_string);
        line(
            page,
            (name, "_bucket"),
            &format!("{labels}{comma}le=\"{bound}\""),
            below,
        );
    }
    line(page, (name, "_sum"), labels, spread.sum.value());
    line(page, (name, "_count"), labels, below);
}

fn line(page: &mut String, (name, suffix): (&str, &str), labels: &str, value: impl std::fmt::Display) {
    let braces = if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    };
    // Writing to a string cannot fail.
    let _: std::fmt::Result = writeln!(page, "{name}{suffix}{braces} {value}");
}

/// `operator="lilas",face="smtp"`.
fn pairs(family: &Family, operator: &str, labels: &Labels) -> String {
    let own = (!operator.is_empty()).then_some(("operator", operator));
    let others = family.labels.iter().copied().zip(labels.iter().copied());
    let pairs: Vec<String> = own
        .into_iter()
        .chain(others)
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    pairs.join(",")
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metric;

    #[test]
    fn two_operators_share_a_family_and_each_has_its_line() {
        let (lilas, chu) = (Meter::new("lilas"), Meter::new("chu \"x\""));
        lilas.accepted("smtp", 100);
        chu.accepted("smtp", 200);
        chu.accepted("smtp", 300);
        let page = render(&[lilas, chu]);
        let lines: Vec<&str> = page.lines().filter(|line| line.contains("accepted_bytes")).collect();
        assert_eq!(
            lines,
            [
                "# HELP vaguemestre_messages_accepted_bytes_total Bytes of those messages, as received.",
                "# TYPE vaguemestre_messages_accepted_bytes_total counter",
                r#"vaguemestre_messages_accepted_bytes_total{operator="lilas",face="smtp"} 100"#,
                r#"vaguemestre_messages_accepted_bytes_total{operator="chu \"x\"",face="smtp"} 500"#,
            ]
        );
    }

    #[test]
    fn a_distribution_is_cumulative_and_sums_up() {
        let meter = Meter::new("lilas");
        for writes in [1, 3, 300] {
            meter.committed(writes, Duration::from_millis(2), Duration::from_millis(1));
        }
        let page = render(&[meter]);
        let named = "vaguemestre_store_commit_writes";
        for line in [
            "_bucket{operator=\"lilas\",le=\"1\"} 1",
            "_bucket{operator=\"lilas\",le=\"2\"} 1",
            "_bucket{operator=\"lilas\",le=\"4\"} 2",
            "_bucket{operator=\"lilas\",le=\"256\"} 2",
            "_bucket{operator=\"lilas\",le=\"+Inf\"} 3",
            "_sum{operator=\"lilas\"} 304",
            "_count{operator=\"lilas\"} 3",
        ] {
            assert!(page.contains(&format!("{named}{line}\n")), "{line}\n{page}");
        }
    }

    #[test]
    fn what_is_open_is_a_level_that_falls_again() {
        let meter = Meter::default();
        let open = meter.session("imaps");
        let mut spooled = meter.open(Metric::SpoolBytes, &[], 10.0);
        spooled.change(25.0);
        let page = render(std::slice::from_ref(&meter));
        assert!(page.contains("vaguemestre_sessions_open{face=\"imaps\"} 1\n"), "{page}");
        assert!(page.contains("vaguemestre_spool_memory_bytes 25\n"), "{page}");
        drop((open, spooled));
        let page = render(&[meter]);
        assert!(page.contains("vaguemestre_sessions_open{face=\"imaps\"} 0\n"), "{page}");
        assert!(page.contains("vaguemestre_spool_memory_bytes 0\n"), "{page}");
        assert!(
            page.contains("vaguemestre_sessions_total{face=\"imaps\"} 1\n"),
            "{page}"
        );
    }
}
