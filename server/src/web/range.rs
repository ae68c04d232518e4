//! Which bytes a Range header asks for, and which validators a condition names: pure reading of header values.
//!
//! Never here: a file, a response.

use std::ops::Range;

/// What a request wants of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: no range, one that is not understood, or several (RFC 9110 §14.2 lets a server ignore them).
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Bytes behind the end.
    Nothing,
}

/// Reads the value of a Range header against the length of the file.
pub(super) fn wanted(header: &str, length: u64) -> Wanted {
    let Some((unit, range)) = header.split_once('=') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let Some((first, last)) = range.trim().split_once('-') else { return Wanted::Whole };
    let part = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(last)) if first.is_empty() => length.saturating_sub(last)..length,
        _ => return Wanted::Whole,
    };
    if part.is_empty() { Wanted::Nothing } else { Wanted::Part(part) }
}

/// Digits and nothing else; a number too large for a file stands for "the end".
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Whether a list of validators (If-None-Match) names `etag`; weak ones count as well (RFC 9110 §13.1.2).
pub(super) fn names(list: &str, etag: &str) -> bool {
    let same = |one: &str| one.strip_prefix("W/").unwrap_or(one) == etag;
    list.trim() == "*" || list.split(',').any(|one| same(one.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_rfc_9110_says() {
        let of_ten = |header| wanted(header, 10);
        assert_eq!(of_ten("bytes=0-0"), Wanted::Part(0..1));
        assert_eq!(of_ten("bytes=2-5"), Wanted::Part(2..6));
        assert_eq!(of_ten("BYTES = 2-5".trim()), Wanted::Part(2..6));
        assert_eq!(of_ten("bytes=2-"), Wanted::Part(2..10));
        assert_eq!(of_ten("bytes=2-99"), Wanted::Part(2..10));
        assert_eq!(of_ten("bytes=2-18446744073709551615"), Wanted::Part(2..10));
        assert_eq!(of_ten("bytes=2-99999999999999999999999"), Wanted::Part(2..10));
        assert_eq!(of_ten("bytes=-3"), Wanted::Part(7..10));
        assert_eq!(of_ten("bytes=-99"), Wanted::Part(0..10));
    }

    #[test]
    fn a_range_behind_the_end_is_unsatisfiable() {
        for header in ["bytes=10-", "bytes=10-20", "bytes=99999999999999999999999-", "bytes=-0"] {
            assert_eq!(wanted(header, 10), Wanted::Nothing, "{header}");
        }
        assert_eq!(wanted("bytes=0-0", 0), Wanted::Nothing);
        assert_eq!(wanted("bytes=-1", 0), Wanted::Nothing);
    }

    #[test]
    fn what_is_not_one_range_of_bytes_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=1-2,4-5",
            "bytes=+1-2",
            "bytes=1--2",
            "lines=1-2",
            "bytes=1-2x",
        ] {
            assert_eq!(wanted(header, 10), Wanted::Whole, "{header}");
        }
    }

    #[test]
    fn a_list_of_validators_is_searched_and_weak_ones_count() {
        let etag = "\"abc\"";
        for list in ["\"abc\"", "\"x\", \"abc\"", "W/\"abc\"", " * ", "\"abc\",\"y\""] {
            assert!(names(list, etag), "{list}");
        }
        for list in ["", "\"ab\"", "abc", "\"*\"", "\"x\""] {
            assert!(!names(list, etag), "{list}");
        }
    }
}
