//! What the suites stand on: a repository that signs attacks in memory, a world around a device, the real programs.

pub mod authority;
pub mod client;
pub mod faults;
pub mod fetching;
pub mod filesystem;
pub mod machine;
pub mod miniature;
pub mod nginx;
pub mod power;
pub mod program;
pub mod programs;
pub mod publisher;
pub mod pushing;
pub mod relay;
pub mod release;
pub mod replay;
pub mod repository;
pub mod scratch;
pub mod served;
pub mod strace;
pub mod world;
