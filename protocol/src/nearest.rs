//! The known name that somebody meant when they wrote another one: every file of both sides answers a slip alike.
//!
//! Never here: which names are known.

/// The one of `known` nearest to `written`, if it is near enough to be meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &&str| distance(written, name) <= 1 + name.chars().count() / 3;
    known.into_iter().filter(near).min_by_key(|name| distance(written, name))
}

/// How many characters must be put in, taken out or changed to make one of the other (Levenshtein).
pub fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_nonsense_finds_none() {
        assert_eq!(nearest("treshold", ["keys", "threshold"]), Some("threshold"));
        assert_eq!(nearest("key", ["keys", "life"]), Some("keys"));
        assert_eq!(nearest("banana", ["keys", "life"]), None);
    }
}
