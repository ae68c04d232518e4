//! What a disk was asked to do while a program ran, and every image that a cut could have left meanwhile.
//!
//! Never here: what must hold on an image.

use super::disk::{Dice, Disk, Loss, Operation, kept, pieces};

/// A disk as it was, and what it was asked to do then.
#[derive(Clone, Debug)]
pub struct Recording {
    start: Disk,
    log: Vec<Operation>,
    /// How many operations were asked for when the program had ended.
    ended: usize,
}

/// One cut: after how many operations, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// Operations that were done.
    pub after: usize,
    /// What becomes of those that no flush followed.
    pub loss: Loss,
}

impl Recording {
    /// From the disk as it was, the log since then, and how much of that log there was when the program had ended.
    ///
    /// # Panics
    /// When something is pending on the disk already.
    pub fn new(start: Disk, log: Vec<Operation>, ended: usize) -> Self {
        assert!(ended <= log.len());
        Self { start, log, ended }
    }

    /// How many operations there are.
    pub fn length(&self) -> usize {
        self.log.len()
    }

    /// Whether at this cut the program had ended: what it said is true must be true.
    pub fn had_ended(&self, cut: Cut) -> bool {
        cut.after >= self.ended
    }

    /// One of all cuts: after any operation, with one of the losses, some blocks the likeliest.
    pub fn any_cut(&self, dice: &mut Dice) -> Cut {
        let after = usize::try_from(dice.throw(self.log.len() as u64 + 1)).unwrap();
        let loss = match dice.throw(4) {
            0 => Loss::Everything,
            1 => Loss::Nothing,
            _ => Loss::Some(dice.throw(u64::MAX)),
        };
        Cut { after, loss }
    }

    /// What tells the image of this cut from all others of this recording: after which flush, and which of the pieces
    /// that were pending are there.
    pub fn fingerprint(&self, cut: Cut) -> Vec<usize> {
        let done = &self.log[..cut.after];
        let flushed =
            done.iter().rposition(|operation| matches!(operation, Operation::Flush)).map_or(0, |at| at + 1);
        let pending = done[flushed..].iter().map(|operation| match operation {
            Operation::Write(offset, bytes) => pieces(*offset, bytes.len()).count(),
            Operation::WriteThrough(..) | Operation::Flush => 0,
        });
        std::iter::once(flushed).chain(kept(pending.sum(), cut.loss)).collect()
    }

    /// The disk as the cut leaves it.
    ///
    /// # Panics
    /// When the base of the disk cannot be read.
    pub fn image(&self, cut: Cut) -> Disk {
        let mut disk = self.start.clone();
        for operation in &self.log[..cut.after] {
            disk.perform(operation.clone()).unwrap();
        }
        disk.cut(cut.loss).unwrap();
        disk
    }

    /// How much it holds, in words.
    pub fn told(&self) -> String {
        let flushes = self.log.iter().filter(|operation| matches!(operation, Operation::Flush)).count();
        let bytes: usize = self
            .log
            .iter()
            .map(|operation| match operation {
                Operation::Write(_, bytes) | Operation::WriteThrough(_, bytes) => bytes.len(),
                Operation::Flush => 0,
            })
            .sum();
        format!("{} writes of {} kB, {flushes} flushes", self.log.len() - flushes, bytes / 1000)
    }
}
