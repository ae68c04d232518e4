//! Where each byte of a tree stands in the tar stream of its bundle. It follows from the listing alone, so a device
//! needs no tar parser: this is the one definition that the packer writes by and the device cuts by.
//!
//! The stream holds the entries in the order of the listing, each as ustar: a pax extended header where a value does
//! not fit its ustar field, the header, the file's bytes, zeros up to a multiple of 512; and 1024 zeros at the end.
//! The `prefix` field of ustar is not used: a name fits in 100 bytes (a directory's with its closing `/`), or goes
//! into a pax record.
//!
//! Never here: the fields of a header that have one value only (the packer), or the blocks (`index`).

use std::ops::Range;

use crate::tree::{Entry, Kind};

/// The unit of a tar stream.
pub const RECORD: u64 = 512;
/// Zeros that end the stream.
pub const END: u64 = 2 * RECORD;
/// Longest name or link target of a plain ustar header, in bytes.
pub const NAME_BYTES: usize = 100;
/// Largest size of a plain ustar header: eleven octal digits.
pub const SIZE_MAX: u64 = (1 << 33) - 1;

/// Places entries one after the other.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    at: u64,
}

impl Layout {
    /// The start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the bytes of the next entry stand; an empty range for everything but files.
    pub fn place(&mut self, entry: &Entry) -> Range<u64> {
        let start = self.at + head_length(entry);
        let end = start + content_length(entry);
        self.at = padded(end);
        start..end
    }

    /// The length of the whole stream, its end included.
    pub fn finish(self) -> u64 {
        self.at + END
    }
}

/// The length of everything before an entry's content.
pub fn head_length(entry: &Entry) -> u64 {
    match pax(entry).len() as u64 {
        0 => RECORD,
        length => RECORD + padded(length) + RECORD,
    }
}

/// The length of an entry's content: a file's size, otherwise 0.
pub fn content_length(entry: &Entry) -> u64 {
    match &entry.kind {
        Kind::File(file) => file.size,
        Kind::Directory | Kind::Link(_) => 0,
    }
}

/// `length` rounded up to a multiple of 512.
pub fn padded(length: u64) -> u64 {
    length.next_multiple_of(RECORD)
}

/// An entry's name in the stream: its path, a directory's with a closing `/`.
pub fn name(entry: &Entry) -> String {
    let slash = if entry.kind == Kind::Directory { "/" } else { "" };
    format!("{}{slash}", entry.path)
}

/// The records of an entry's pax extended header (`path`, `linkpath`, `size`, in this order); empty when it needs none.
pub fn pax(entry: &Entry) -> String {
    let mut records = String::new();
    let slash = usize::from(entry.kind == Kind::Directory);
    if entry.path.as_str().len() + slash > NAME_BYTES {
        push_record(&mut records, "path", &name(entry));
    }
    match &entry.kind {
        Kind::Link(target) if target.len() > NAME_BYTES => push_record(&mut records, "linkpath", target),
        Kind::File(file) if file.size > SIZE_MAX => push_record(&mut records, "size", &file.size.to_string()),
        _ => {}
    }
    records
}

/// Appends `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn push_record(records: &mut String, key: &str, value: &str) {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != length.to_string().len() + rest.len() {
        length = length.to_string().len() + rest.len();
    }
    records.push_str(&length.to_string());
    records.push_str(&rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::tree::{File, Mode};

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.parse().unwrap(), kind }
    }

    fn file(size: u64) -> Kind {
        Kind::File(File { mode: Mode::Plain, size, sha256: Digest::of(b"") })
    }

    #[test]
    fn entries_follow_each_other_in_units_of_512() {
        let mut layout = Layout::new();
        assert_eq!(layout.place(&entry("a", Kind::Directory)), 512..512);
        assert_eq!(layout.place(&entry("a/b", file(1))), 1024..1025);
        assert_eq!(layout.place(&entry("a/c", file(512))), 2048..2560);
        assert_eq!(layout.place(&entry("a/d", file(0))), 3072..3072);
        assert_eq!(layout.place(&entry("l", Kind::Link("a".into()))), 3584..3584);
        assert_eq!(layout.finish(), 3584 + 1024);
        assert_eq!(Layout::new().finish(), 1024);
    }

    #[test]
    fn what_does_not_fit_ustar_goes_into_pax() {
        let fits = "x".repeat(100);
        assert_eq!(pax(&entry(&fits, file(SIZE_MAX))), "");
        assert_eq!(pax(&entry(&fits[..99], Kind::Directory)), "");
        assert_eq!(pax(&entry("l", Kind::Link(fits.clone()))), "");
        assert_eq!(pax(&entry(&fits, Kind::Directory)), format!("111 path={fits}/\n"));
        assert_eq!(
            pax(&entry("l", Kind::Link("y".repeat(101)))),
            format!("115 linkpath={}\n", "y".repeat(101))
        );
        assert_eq!(pax(&entry("f", file(SIZE_MAX + 1))), "19 size=8589934592\n");
        assert_eq!(head_length(&entry("f", file(SIZE_MAX + 1))), 3 * 512);
    }

    #[test]
    fn a_record_counts_the_digits_of_its_own_length() {
        for length in 1..1200 {
            let mut record = String::new();
            push_record(&mut record, "path", &"p".repeat(length));
            let (stated, _) = record.split_once(' ').unwrap();
            assert_eq!(stated.parse::<usize>().unwrap(), record.len());
        }
    }
}
