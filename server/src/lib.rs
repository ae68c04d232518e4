//! The publisher as a library: the rooms of the server's side. The binary `tidelock-server` is `main.rs`.
