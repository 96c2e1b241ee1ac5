//! Reads what a program shows to Prometheus, and refuses what Prometheus or its conventions would not
//! like: OpenMetrics 1.0, families in one piece, types that fit their samples, base units.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};

/// Names of labels with their values.
pub type Labels = BTreeMap<String, String>;

/// One family of metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: String,
    /// What it is.
    pub help: String,
    /// Its samples, by full name.
    pub samples: Vec<Sample>,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Full name, such as `x_bucket`.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}

/// Everything that a program shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposition {
    /// Families by name.
    pub families: BTreeMap<String, Family>,
}

impl Exposition {
    /// Reads a text.
    ///
    /// # Errors
    /// The first thing that is not as it must be, with its line.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        let lines = text.strip_suffix("# EOF\n").context("does not end with `# EOF`")?;
        let (mut families, mut current, mut seen) = (BTreeMap::new(), None, BTreeSet::new());
        for line in lines.lines() {
            let read = read_line(line, &mut families, &mut current, &mut seen);
            read.with_context(|| format!("line {line:?}"))?;
        }
        for (name, family) in &families {
            check(name, family).with_context(|| format!("family {name}"))?;
        }
        Ok(Self { families })
    }

    /// The value of a sample that has these labels, and maybe others; their sum when there are several.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            sample.name == name && labels.iter().all(|(k, v)| sample.labels.get(*k).is_some_and(|value| value == v))
        };
        self.families.values().flat_map(|family| &family.samples).filter(has).map(|sample| sample.value).sum()
    }

    /// Every name that a query may use.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let samples = self.families.iter().flat_map(|(name, family)| {
            let shown = family.samples.iter().map(|sample| sample.name.clone());
            let histogram = ["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}"));
            let own = match family.kind.as_str() {
                "histogram" => histogram.to_vec(),
                "counter" => vec![format!("{name}_total")],
                _ => vec![name.clone()],
            };
            shown.chain(own)
        });
        samples.collect()
    }

    /// Every value of a label, anywhere.
    #[must_use]
    pub fn label_values(&self) -> BTreeSet<&str> {
        let samples = self.families.values().flat_map(|family| &family.samples);
        samples.flat_map(|sample| sample.labels.values().map(String::as_str)).collect()
    }
}

fn read_line(
    line: &str,
    families: &mut BTreeMap<String, Family>,
    current: &mut Option<String>,
    seen: &mut BTreeSet<(String, Labels)>,
) -> anyhow::Result<()> {
    if let Some(rest) = line.strip_prefix("# HELP ") {
        let (name, help) = rest.split_once(' ').context("a help without words")?;
        ensure!(!families.contains_key(name), "the family was there before, and is not in one piece");
        let family = Family { kind: String::new(), help: help.to_owned(), samples: Vec::new() };
        families.insert(name.to_owned(), family);
        *current = Some(name.to_owned());
        return Ok(());
    }
    let name = current.clone().context("nothing before the first help")?;
    let family = families.get_mut(&name).context("no family")?;
    if let Some(rest) = line.strip_prefix("# TYPE ") {
        let (of, kind) = rest.split_once(' ').context("a type without a word")?;
        ensure!(of == name && family.kind.is_empty(), "a type of another family, or twice");
        ensure!(["counter", "gauge", "histogram", "info"].contains(&kind), "type {kind}");
        kind.clone_into(&mut family.kind);
        return Ok(());
    }
    ensure!(!line.starts_with('#') && !family.kind.is_empty(), "neither help, type nor sample");
    let sample = read_sample(line)?;
    let suffix = sample.name.strip_prefix(name.as_str()).context("a sample of another family")?;
    let allowed: &[&str] = match family.kind.as_str() {
        "counter" => &["_total"],
        "histogram" => &["_bucket", "_sum", "_count"],
        "info" => &["_info"],
        _ => &[""],
    };
    ensure!(allowed.contains(&suffix), "a {} has no {suffix:?}", family.kind);
    ensure!(seen.insert((sample.name.clone(), sample.labels.clone())), "the same sample twice");
    family.samples.push(sample);
    Ok(())
}

fn read_sample(line: &str) -> anyhow::Result<Sample> {
    let end = line.find(['{', ' ']).context("no value")?;
    let (name, rest) = line.split_at(end);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = value.strip_prefix(' ').context("no space before the value")?;
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().context("no number")? };
    Ok(Sample { name: name.to_owned(), labels, value })
}

fn read_labels(text: &str) -> anyhow::Result<(Labels, &str)> {
    let (mut labels, mut rest) = (Labels::new(), text);
    loop {
        let (name, after) = rest.split_once("=\"").context("a label without a value")?;
        ensure!(is_name(name), "label {name:?}");
        let (value, after) = read_value(after)?;
        ensure!(labels.insert(name.to_owned(), value).is_none(), "label {name} twice");
        if let Some(end) = after.strip_prefix('}') {
            return Ok((labels, end));
        }
        rest = after.strip_prefix(',').context("neither a further label nor an end")?;
    }
}

fn read_value(text: &str) -> anyhow::Result<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"'))) => value.push(c),
                other => bail!("escape {other:?}"),
            },
            c => value.push(c),
        }
    }
    bail!("a value without an end")
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !name.contains("__")
}

/// Units that are not base units, and words that belong to the format.
const NOT_IN_NAMES: &[&str] = &[
    "ms",
    "millis",
    "milliseconds",
    "minutes",
    "hours",
    "days",
    "kb",
    "mb",
    "kib",
    "mib",
    "kilobytes",
    "megabytes",
    "percent",
    "count",
    "total",
    "info",
    "gauge",
    "counter",
    "histogram",
];

fn check(name: &str, family: &Family) -> anyhow::Result<()> {
    ensure!(is_name(name), "the name");
    ensure!(family.help.ends_with('.') && family.help.len() > 5, "the help {:?}", family.help);
    ensure!(!family.kind.is_empty(), "no type");
    let odd = name.split('_').find(|word| NOT_IN_NAMES.contains(word));
    ensure!(odd.is_none(), "{odd:?} in the name");
    for sample in &family.samples {
        if family.kind == "counter" {
            ensure!(sample.value >= 0.0, "a counter below zero: {sample:?}");
        }
    }
    if family.kind == "histogram" {
        ensure!(name.ends_with("_seconds") || name.ends_with("_bytes") || name.ends_with("_jobs"), "no unit");
        check_buckets(family)?;
    }
    Ok(())
}

/// Buckets grow, end with infinity, and agree with the count.
fn check_buckets(family: &Family) -> anyhow::Result<()> {
    let mut rows: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = sample.labels.clone();
        let le = labels.remove("le").context("a bucket without its bound")?;
        let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().context("a bound")? };
        rows.entry(labels).or_default().push((bound, sample.value));
    }
    for (labels, row) in rows {
        ensure!(row.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1), "{labels:?}: {row:?}");
        let last = row.last().filter(|last| last.0.is_infinite()).context("no last bucket")?;
        let count = family.samples.iter().find(|s| s.name.ends_with("_count") && s.labels == labels);
        ensure!(count.is_some_and(|count| count.value.total_cmp(&last.1).is_eq()), "{labels:?}: the count");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP x_a A thing.\n# TYPE x_a counter\nx_a_total{k=\"a\\\"\\n\\\\\"} 2\n# EOF\n";

    #[test]
    fn what_is_right_is_read() {
        let read = Exposition::read(GOOD).unwrap();
        assert_eq!(read.sum("x_a_total", &[("k", "a\"\n\\")]) as u64, 2);
        assert!(read.names().contains("x_a_total"));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (from, to) in [
            ("# EOF\n", ""),
            ("x_a_total", "x_a"),
            ("counter", "gauge"),
            ("counter", "summary"),
            ("x_a", "x_a_ms"),
            ("x_a", "X_a"),
            ("A thing.", "A"),
            (" 2\n", " two\n"),
            (" 2\n", "\n"),
            ("\\\"", "\""),
            ("k=", "K="),
            ("# EOF", "x_a_total{k=\"a\\\"\\n\\\\\"} 2\n# EOF"),
            ("# EOF", "# HELP x_a A thing.\n# TYPE x_a counter\n# EOF"),
            ("# EOF", "evil 1\n# EOF"),
        ] {
            let bad = GOOD.replace(from, to);
            assert!(Exposition::read(&bad).is_err(), "{bad}");
        }
        let bucket = |le: &str, n: u32| format!("x_s_bucket{{le=\"{le}\"}} {n}\n");
        let histogram = |rows: &str| {
            format!("# HELP x_s A time.\n# TYPE x_s histogram\n{rows}x_s_count 2\n# EOF\n").replace("x_s", "x_seconds")
        };
        assert!(Exposition::read(&histogram(&(bucket("1.0", 1) + &bucket("+Inf", 2)))).is_ok());
        for rows in [bucket("1.0", 2), bucket("1.0", 3) + &bucket("+Inf", 2), bucket("+Inf", 3)] {
            assert!(Exposition::read(&histogram(&rows)).is_err(), "{rows}");
        }
    }
}
