//! Honest power cuts on the host's own file systems: a disk that forgets what was not flushed, below the real agent.

mod rig;
