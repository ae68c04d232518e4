//! Every limit of what comes over the wire: what a stranger can inflate has its bound here.
//!
//! Never here: limits of a device's own files (the agent's `config`) or of a fleet repository (the server's).

use std::ops::RangeInclusive;

/// Longest `N.root.json` that is read, in bytes.
pub const ROOT_BYTES: u64 = 64 * 1024;
/// Longest `timestamp.json`; its length is not signed, so this is the only bound (TUF 1.0.34 §5.4.1).
pub const TIMESTAMP_BYTES: u64 = 16 * 1024;
/// Longest snapshot when the timestamp does not state a length.
pub const SNAPSHOT_BYTES: u64 = 1024 * 1024;
/// Longest targets role, top-level or delegated, when the snapshot does not state a length.
pub const TARGETS_BYTES: u64 = 2 * 1024 * 1024;
/// Most new roots in one walk (TUF 1.0.34 §5.3.3); more are taken in the next one.
pub const ROOT_ROTATIONS: u32 = 256;
/// Most delegated roles visited in one search (TUF 1.0.34 §5.6.7.1).
pub const DELEGATIONS: usize = 32;
/// Most signatures that one metadata file may carry.
pub const SIGNATURES: usize = 64;
/// Longest desired state, in bytes.
pub const DESIRED_BYTES: u64 = 4 * 1024 * 1024;

/// Longest index as served (gzip), in bytes.
pub const INDEX_BYTES: u64 = 32 * 1024 * 1024;
/// Longest index after inflating.
pub const INDEX_INFLATED_BYTES: u64 = 64 * 1024 * 1024;
/// Most entries of a listing.
pub const ENTRIES: u64 = 1_000_000;
/// Most blocks of a bundle.
pub const BLOCKS: u64 = 1_000_000;
/// Longest block after inflating: 256 KiB.
pub const BLOCK_RAW_BYTES: u32 = 256 * 1024;
/// Longest block as served: incompressible data grows a little, and the full flush adds five bytes.
pub const BLOCK_BYTES: u32 = BLOCK_RAW_BYTES + 64 * 1024;
/// Longest path of an entry, in bytes.
pub const PATH_BYTES: usize = 4096;
/// Longest component of a path, in bytes.
pub const COMPONENT_BYTES: usize = 255;
/// Longest file of a tree: 64 GiB.
pub const FILE_BYTES: u64 = 64 << 30;

/// Longest `release.toml`, in bytes.
pub const RELEASE_BYTES: u64 = 64 * 1024;

/// Bounds of the numbers that a release sets and a desired state may tune; seconds except `successes`.
pub mod tuning {
    use super::RangeInclusive;

    /// Seconds after the start in which a failing check is not counted.
    pub const GRACE: RangeInclusive<u32> = 0..=3600;
    /// Seconds between two runs of a check.
    pub const INTERVAL: RangeInclusive<u32> = 1..=3600;
    /// Seconds after the start by which every check must have passed.
    pub const DEADLINE: RangeInclusive<u32> = 1..=86_400;
    /// Passes in a row that a check needs.
    pub const SUCCESSES: RangeInclusive<u32> = 1..=100;
    /// Seconds that a hook may take.
    pub const TIMEOUT: RangeInclusive<u32> = 1..=3600;
}
