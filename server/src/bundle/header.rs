//! The tar headers of an entry: everything that is not path, kind, size and executable bit has one value only.

use tar::{EntryType, Header};
use tidelock_protocol::layout::{self, NAME_BYTES, SIZE_MAX};
use tidelock_protocol::tree::{Entry, File, Kind, Mode};

/// What an extended header calls itself, for readers that do not know it.
const PAX_NAME: &str = "././@PaxHeader";

/// The bytes before an entry's content: [`layout::head_length`] of them.
pub(super) fn head(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pax = layout::pax(entry);
    if !pax.is_empty() {
        let length = pax.len() as u64;
        bytes.extend_from_slice(header(EntryType::XHeader, PAX_NAME, "", 0o644, length).as_bytes());
        bytes.extend_from_slice(pax.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    let (kind, target, mode, size) = match &entry.kind {
        Kind::Directory => (EntryType::Directory, "", 0o755, 0),
        Kind::Link(target) => (EntryType::Symlink, target.as_str(), 0o755, 0),
        Kind::File(File { mode: Mode::Plain, size, .. }) => (EntryType::Regular, "", 0o644, *size),
        Kind::File(File { mode: Mode::Executable, size, .. }) => (EntryType::Regular, "", 0o755, *size),
    };
    // A size that stands in the extended header cannot stand here too.
    let size = if size > SIZE_MAX { 0 } else { size };
    bytes.extend_from_slice(header(kind, &layout::name(entry), target, mode, size).as_bytes());
    bytes
}

fn header(kind: EntryType, name: &str, target: &str, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    let fields = header.as_old_mut();
    fill(&mut fields.name, name);
    fill(&mut fields.linkname, target);
    header.set_cksum();
    header
}

/// Puts as much of `text` into a field as fits without cutting a character; the whole of it then stands in pax.
fn fill(field: &mut [u8; NAME_BYTES], text: &str) {
    let length = (0..=text.len().min(NAME_BYTES)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}
