//! Spans of time as people write them, the same in files and on the command line.

use std::time::Duration;

/// The longest: ten years.
const MOST: u64 = 3_650 * 86_400;

/// A number and `s`, `m`, `h` or `d`, such as `30s` or `7d`; more than nothing and at most ten years.
pub fn span(text: &str) -> Option<Duration> {
    let unit = match text.chars().next_back()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?.parse::<u64>().ok()?;
    let seconds = number.checked_mul(unit).filter(|seconds| (1..=MOST).contains(seconds))?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units_and_bounds() {
        assert_eq!(span("2h"), Some(Duration::from_secs(7200)));
        for bad in ["", "5", "0s", "-1s", "1w", "1.5h", "5é", "9999999d", "99999999999999999999s"] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }
}
