//! What `publish` makes of real Git repositories: real trees, real mistakes, crashes, keys that come and go.

mod crashes;
mod keys;
mod moves;
mod proposals;
mod rewrites;
mod trees;
