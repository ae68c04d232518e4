//! One bit per entry or block: all that is remembered of each while a tree is staged.

pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// `count` bits, none set.
    pub(super) fn none(count: u64) -> Self {
        Self(vec![0; usize::try_from(count.div_ceil(64)).unwrap_or(0)])
    }

    pub(super) fn set(&mut self, at: u64) {
        if let Some(word) = usize::try_from(at / 64).ok().and_then(|word| self.0.get_mut(word)) {
            *word |= 1 << (at % 64);
        }
    }

    pub(super) fn has(&self, at: u64) -> bool {
        let word = usize::try_from(at / 64).ok().and_then(|word| self.0.get(word));
        word.is_some_and(|word| word & (1 << (at % 64)) != 0)
    }
}
