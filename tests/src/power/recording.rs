//! What a disk was asked to do while a program ran, and every image that a cut could have left meanwhile.
//!
//! Never here: what must hold on an image.

use super::disk::{Disk, Loss, Lost, Operation};

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

    /// The operations that are flushes, by place; a cut right before one loses most.
    pub fn flushes(&self) -> Vec<usize> {
        let places = self.log.iter().enumerate();
        places
            .filter(|(_, operation)| matches!(operation, Operation::Flush))
            .map(|(place, _)| place)
            .collect()
    }

    /// The disk as the cut leaves it.
    ///
    /// # Panics
    /// When the base of the disk cannot be read.
    pub fn image(&self, cut: Cut) -> (Disk, Lost) {
        let mut disk = self.start.clone();
        for operation in &self.log[..cut.after] {
            disk.perform(operation.clone()).unwrap();
        }
        let lost = disk.cut(cut.loss).unwrap();
        (disk, lost)
    }
}
