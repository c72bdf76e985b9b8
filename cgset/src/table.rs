//! What a look has found, in columns: for people, or for awk.

use common::size;

use crate::pressure::Pressure;
use crate::usage::{Look, Use};

/// The columns for people, the first of which is the group.
const HEADS: [&str; 11] = [
    "GROUP", "MEMORY", "LIMIT", "OF LIMIT", "CPU", "QUOTA", "PIDS", "MEM-PSI", "CPU-PSI", "IO-PSI",
    "OOM",
];

/// How wide they are at least, so that they stand still while numbers grow.
const LEAST: [usize; 11] = [0, 8, 0, 0, 6, 0, 5, 0, 0, 0, 0];

/// What goes first where there is no room: what people miss least.
const DROPPED: [usize; 10] = [9, 8, 5, 2, 7, 6, 3, 4, 10, 1];

/// The signs in a bar.
const BAR: usize = 10;

/// What is left of a long name where there is no room; of a narrow window a third.
const SHORT: usize = 20;

/// How CPU time is told: in all, or since the look before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cpu {
    InAll,
    Since(Option<f64>),
}

/// A group of this name with what was found; nothing when it is gone, for which there is a reason.
pub type Row = (String, Result<Vec<String>, &'static str>);

/// For people.
pub fn cells(look: &Look, cpu: Cpu) -> Vec<String> {
    let [memory, cpu_psi, io] = look.pressure.map(|p| decimal(p.and_then(Pressure::now), ""));
    let seconds = |us: u64| format!("{}.{:03}s", us / 1_000_000, us / 1000 % 1000);
    let size = |bytes: u64| size::human(bytes).replace(' ', "");
    vec![
        look.memory.current.map_or_else(none, size),
        limit(look.memory, size),
        look.memory.bar(BAR).unwrap_or_default(),
        match cpu {
            Cpu::InAll => look.cpu.map_or_else(none, seconds),
            Cpu::Since(percent) => percent.map_or_else(none, |percent| format!("{percent:.1}%")),
        },
        quota(look, "%"),
        match look.pids.current {
            Some(current) => format!("{current}/{}", limit(look.pids, |n| n.to_string())),
            None => none(),
        },
        memory,
        cpu_psi,
        io,
        look.kills.map_or_else(none, |kills| kills.to_string()),
    ]
}

/// For awk: plain numbers with one space between.
pub fn plain(path: &str, look: &Look, cpu: Cpu) -> String {
    let number = |number: Option<u64>| number.map_or_else(none, |number| number.to_string());
    let cpu = match cpu {
        Cpu::InAll => number(look.cpu),
        Cpu::Since(percent) => decimal(percent, ""),
    };
    let mut fields = vec![
        escaped(path),
        number(look.memory.current),
        limit(look.memory, |n| n.to_string()),
        cpu,
        quota(look, ""),
        number(look.pids.current),
        limit(look.pids, |n| n.to_string()),
    ];
    fields.extend(look.pressure.map(|p| decimal(p.and_then(Pressure::now), "")));
    fields.push(number(look.kills));
    fields.join(" ") + "\n"
}

fn none() -> String {
    "-".into()
}

fn decimal(number: Option<f64>, unit: &str) -> String {
    number.map_or_else(none, |number| format!("{number:.2}{unit}"))
}

fn limit(used: Use, shown: impl Fn(u64) -> String) -> String {
    match (used.counted, used.limit) {
        (_, Some(limit)) => shown(limit),
        (true, None) => "max".into(),
        (false, None) => none(),
    }
}

fn quota(look: &Look, unit: &str) -> String {
    match look.quota {
        Some(percent) => format!("{percent}{unit}"),
        None if look.has_quota => "max".into(),
        None => none(),
    }
}

/// A name in one word, as /proc/mounts has it, so that it neither looks like two nor moves the
/// cursor.
pub fn escaped(name: &str) -> String {
    let escape = |c: char| match c {
        '\\' | '\u{7f}' | '\0'..=' ' => format!("\\{:03o}", u32::from(c)),
        c if c.is_control() => "?".into(),
        c => c.to_string(),
    };
    name.chars().map(escape).collect()
}

/// Lines for a terminal of this width, of which none is longer.
pub fn lines(rows: &[Row], width: usize) -> Vec<String> {
    let heads = HEADS[1..].iter().map(|head| (*head).to_owned()).collect();
    let mut all: Vec<Row> = vec![(HEADS[0].to_owned(), Ok(heads))];
    all.extend(rows.iter().map(|(name, found)| (escaped(name), found.clone())));
    let mut shown: Vec<usize> = (0..HEADS.len()).collect();
    let widest = |column: usize, all: &[Row]| {
        let cells = all.iter().map(|row| cell(row, column).chars().count());
        cells.max().unwrap_or_default().max(LEAST[column])
    };
    let needed = |shown: &[usize], all: &[Row]| {
        shown.iter().map(|column| widest(*column, all) + 1).sum::<usize>() - 1
    };
    if needed(&shown, &all) > width {
        for (name, _) in &mut all {
            *name = shortened(name, SHORT.min(width / 3).max(2));
        }
    }
    for column in DROPPED {
        if needed(&shown, &all) > width {
            shown.retain(|other| *other != column);
        }
    }
    let widths: Vec<(usize, usize)> = shown.iter().map(|n| (*n, widest(*n, &all))).collect();
    all.iter().map(|row| cut(&line(row, &widths), width)).collect()
}

fn line(row: &Row, widths: &[(usize, usize)]) -> String {
    if let (name, Err(why)) = row {
        let width = widths.first().map_or(0, |(_, width)| *width);
        return format!("{name:width$} {why}");
    }
    let padded = |(column, width): &(usize, usize)| match *column {
        0 | 3 => format!("{:width$}", cell(row, *column)),
        _ => format!("{:>width$}", cell(row, *column)),
    };
    widths.iter().map(padded).collect::<Vec<_>>().join(" ")
}

fn cell(row: &Row, column: usize) -> &str {
    match (column, row) {
        (0, (name, _)) => name,
        (n, (_, Ok(cells))) => cells.get(n - 1).map_or("", String::as_str),
        (_, (_, Err(_))) => "",
    }
}

/// The end of a name says more than its start.
fn shortened(name: &str, most: usize) -> String {
    match name.chars().count() {
        count if count > most => "~".chars().chain(name.chars().skip(count - most + 1)).collect(),
        _ => name.to_owned(),
    }
}

fn cut(line: &str, width: usize) -> String {
    line.trim_end().chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look() -> Look {
        Look {
            memory: Use {
                current: Some(5 << 20),
                limit: None,
                effective: Some(10 << 20),
                counted: true,
            },
            pids: Use { current: Some(3), limit: Some(64), effective: Some(64), counted: true },
            cpu: Some(1_234_567),
            quota: Some(50.0),
            has_quota: true,
            kills: Some(2),
            ..Look::default()
        }
    }

    #[test]
    fn awk_gets_plain_numbers() {
        let line = plain("/c/a b", &look(), Cpu::InAll);
        assert_eq!(line, "/c/a\\040b 5242880 max 1234567 50 3 64 - - - 2\n");
        let line = plain("/c", &Look::default(), Cpu::Since(Some(12.5)));
        assert_eq!(line, "/c - - 12.50 - - - - - - -\n");
    }

    #[test]
    fn people_get_a_bar_and_a_heading() {
        let rows =
            [("a".to_owned(), Ok(cells(&look(), Cpu::InAll))), ("b".to_owned(), Err("gone"))];
        assert_eq!(
            lines(&rows, 100),
            [
                "GROUP   MEMORY LIMIT OF LIMIT        CPU QUOTA  PIDS MEM-PSI CPU-PSI IO-PSI OOM",
                "a         5MiB   max [#####-----] 1.234s   50%  3/64       -       -      -   2",
                "b     gone",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_window() {
        let name = "a-long-name/of-a-group/in-a-group".to_owned();
        let rows = [(name, Ok(cells(&look(), Cpu::Since(Some(1.0)))))];
        for width in 0..120 {
            assert!(lines(&rows, width).iter().all(|line| line.len() <= width), "{width}");
        }
        assert_eq!(lines(&rows, 51)[1], "~group/in-a-group     5MiB [#####-----]   1.0%   2");
        assert!(lines(&rows, 120)[1].starts_with("a-long-name/of-a-group/in-a-group "));
    }

    #[test]
    fn a_name_does_not_move_the_cursor() {
        assert_eq!(escaped("a\x1b[2J\t\u{9b}é\\"), "a\\033[2J\\011?é\\134");
    }
}
