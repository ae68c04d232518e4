//! The text of an index told by that of an earlier one: runs of lines that stand there too, and lines that do not.
//!
//! ```text
//! FIRST COUNT      so many lines of the earlier text, from that one on, counted from 0
//! +LINE            a line that is new
//! ```
//! Whoever applies one compares the digest of what comes out; a patch itself proves nothing.

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;

use flate2::{Compression, GzBuilder};
use tidelock_protocol::index::Error as Index;
use tidelock_protocol::limits::INDEX_INFLATED_BYTES;

use super::Error;
use super::compare::inflated;

/// The text of an index as it is served: the same text is the same bytes.
///
/// # Errors
/// Compressing fails.
pub fn served(text: &[u8]) -> Result<Vec<u8>, Error> {
    let mut gzip = GzBuilder::new().operating_system(3).write(Vec::new(), Compression::new(9));
    gzip.write_all(text).and_then(|()| gzip.finish()).map_err(Error::Write)
}

/// What makes `new` of `old`, both texts of indexes; compressed.
///
/// # Errors
/// Compressing fails.
pub fn patch(old: &[u8], new: &[u8]) -> Result<Vec<u8>, Error> {
    let lines: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let mut places: HashMap<&[u8], usize> = HashMap::with_capacity(lines.len());
    for (place, line) in lines.iter().enumerate() {
        places.entry(line).or_insert(place);
    }
    let mut text = Vec::new();
    let mut run = 0..0;
    for line in new.split_inclusive(|byte| *byte == b'\n') {
        if run.start < run.end && lines.get(run.end).is_some_and(|next| *next == line) {
            run.end += 1;
            continue;
        }
        close(&mut text, &mut run);
        match places.get(line) {
            Some(place) => run = *place..place + 1,
            None => {
                text.push(b'+');
                text.extend(line);
            }
        }
    }
    close(&mut text, &mut run);
    served(&text)
}

fn close(text: &mut Vec<u8>, run: &mut Range<usize>) {
    if run.start < run.end {
        text.extend(format!("{} {}\n", run.start, run.len()).into_bytes());
    }
    *run = 0..0;
}

/// The text that `patch` makes of `old`.
///
/// # Errors
/// It is no patch of that text, or makes more than an index may be.
pub fn patched(old: &[u8], patch: &[u8]) -> Result<Vec<u8>, Error> {
    let lines: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let patch = inflated(patch)?;
    let mut text = Vec::new();
    for (number, line) in patch.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let wrong = || Error::Disagree(format!("line {} of the patch is none", number + 1));
        let limit = || Error::Tree(Index::Limit { what: "bytes", limit: INDEX_INFLATED_BYTES });
        let new = line.strip_prefix(b"+");
        let added = match &new {
            Some(line) => std::slice::from_ref(line),
            None => run(line).and_then(|run| lines.get(run)).ok_or_else(wrong)?,
        };
        let length = added.iter().map(|line| line.len()).sum::<usize>() + text.len();
        if length as u64 > INDEX_INFLATED_BYTES {
            return Err(limit());
        }
        added.iter().for_each(|line| text.extend_from_slice(line));
    }
    Ok(text)
}

/// `FIRST COUNT` of a line.
fn run(line: &[u8]) -> Option<Range<usize>> {
    let (first, count) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let (first, count) = (first.parse::<usize>().ok()?, count.parse::<usize>().ok()?);
    Some(first..first.checked_add(count)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(old: &str, new: &str) -> usize {
        let made = patch(old.as_bytes(), new.as_bytes()).unwrap();
        assert_eq!(patched(old.as_bytes(), &made).unwrap(), new.as_bytes(), "{old:?} -> {new:?}");
        made.len()
    }

    #[test]
    fn a_patch_makes_the_new_text_of_the_old_one() {
        let texts = [
            "",
            "a\n",
            "a\nb\nc\n",
            "c\nb\na\n",
            "a\na\na\nb\n",
            "no end",
            "a\n+\n0 1\n\n",
            "b\na\na\nno end",
        ];
        for old in texts {
            for new in texts {
                there_and_back(old, new);
            }
        }
    }

    #[test]
    fn what_is_alike_costs_nothing_wherever_it_stands() {
        let line = |n: u64| format!("{}\n", tidelock_protocol::digest::Digest::of(&n.to_le_bytes()));
        let old: String = (0..5000).map(line).collect();
        let moved: String = (2500..5000).chain(0..2500).map(line).collect();
        let changed: String = (0..5000).map(|n| line(if n == 7 { 9999 } else { n })).collect();
        assert!(there_and_back(&old, &old) < 50);
        assert!(there_and_back(&old, &moved) < 60);
        assert!(there_and_back(&old, &changed) < 120);
    }

    #[test]
    fn what_is_no_patch_of_that_text_is_refused() {
        for bad in [
            "0 2\n",
            "1 1\n",
            "0\n",
            "-1 1\n",
            "0 1",
            "x\n",
            " \n",
            "18446744073709551615 1\n",
            "0 18446744073709551615\n",
        ] {
            let gzip = served(bad.as_bytes()).unwrap();
            assert!(patched(b"a\n", &gzip).is_err(), "{bad:?}");
        }
        assert!(patched(b"a\n", b"0 1\n").is_err(), "it is not compressed");
        let mut more = served(b"0 1\n").unwrap();
        more.push(0);
        assert!(patched(b"a\n", &more).is_err());
    }

    #[test]
    fn a_patch_that_makes_too_much_is_refused_before_it_does() {
        let old = vec![b'x'; 1 << 20];
        let bomb = served("0 1\n".repeat(100_000).as_bytes()).unwrap();
        assert!(bomb.len() < 2000);
        let error = patched(&old, &bomb).unwrap_err();
        assert!(matches!(error, Error::Tree(Index::Limit { .. })), "{error:?}");
        // And one that is a bomb itself.
        let zeros = served(&vec![b'+'; 65 << 20]).unwrap();
        assert!(patched(&old, &zeros).is_err());
    }
}
