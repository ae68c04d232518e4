//! What `publish` makes of real Git repositories: real trees, real mistakes, crashes, keys that come and go.

mod crashes;
mod keys;
mod rewrites;
mod trees;
