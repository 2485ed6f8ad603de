//! The name that was meant.

/// Of `known`, the name that `word` is most likely a slip of; none where none is near. Of a dotted name its last part will do,
/// and `-`, `_` and `.` are alike.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = plain(word);
    let most = (word.len() / 3).clamp(1, 4);
    let distance = |name: &'k str| {
        let leaf = name.rsplit('.').next().unwrap_or(name);
        let whole = slips(&word, &plain(name));
        // a name before its namesakes in other maps
        (whole.min(slips(&word, &plain(leaf))), whole, name)
    };
    let nearest = known.into_iter().map(distance).min()?;
    (nearest.0 <= most).then_some(nearest.2)
}

fn plain(name: &str) -> Vec<char> {
    let alike = |c: char| if "-_.".contains(c) { '_' } else { c };
    name.chars()
        .take(64)
        .map(|c| alike(c.to_ascii_lowercase()))
        .collect()
}

/// Characters to insert, remove, replace or exchange with their neighbour (optimal string alignment).
fn slips(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_a_guess_is_not() {
        let known = [
            "cache.size",
            "cache.cleanup_interval",
            "performance.load_timeout",
            "components",
            "exclude",
        ];
        for (word, expected) in [
            ("cache_size", Some("cache.size")),
            ("cache.sise", Some("cache.size")),
            ("load_timeout", Some("performance.load_timeout")),
            ("Load-Timeot", Some("performance.load_timeout")),
            ("compnoents", Some("components")),
            ("excludes", Some("exclude")),
            ("privileged", None),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest("bash", []), None);
    }
}
