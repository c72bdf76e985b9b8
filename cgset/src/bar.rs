//! A bar: what is used of a limit, for a terminal.

/// `[####------]`, so many signs wide inside. What is used at all is seen.
pub fn drawn(current: u64, limit: u64, width: usize) -> String {
    let limit = u128::from(limit.max(1));
    let full = (u128::from(current) * width as u128).div_ceil(limit);
    let full = usize::try_from(full).unwrap_or(width).min(width);
    format!("[{}{}]", "#".repeat(full), "-".repeat(width - full))
}

/// A text of lines `name value`, with a bar behind those that have one.
pub fn beside(text: &str, bars: &[(&str, String)]) -> String {
    let line = |line: &str| {
        let name = line.split_whitespace().next();
        match bars.iter().find(|(of, _)| Some(*of) == name) {
            Some((_, bar)) => format!("{line} {bar}\n"),
            None => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_the_limit() {
        for (current, limit, bar) in [
            (0, 10, "[----]"),
            (1, 1000, "[#---]"),
            (5, 10, "[##--]"),
            (10, 10, "[####]"),
            (20, 10, "[####]"),
            (u64::MAX, u64::MAX, "[####]"),
            (0, 0, "[----]"),
            (1, 0, "[####]"),
        ] {
            assert_eq!(drawn(current, limit, 4), bar, "{current} of {limit}");
        }
    }

    #[test]
    fn a_bar_stands_behind_its_line() {
        let bars = [("b.now", "[#-]".to_owned())];
        assert_eq!(beside("  b.not 1\n  b.now 2\n", &bars), "  b.not 1\n  b.now 2 [#-]\n");
    }
}
