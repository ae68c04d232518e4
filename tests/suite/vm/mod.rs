//! The agent on a real machine that boots: systemd, a kernel that can panic, a plug that can be pulled.
//!
//! Most tests begin on a machine that has just booted, restored within a second or two; only those that are about boots
//! take the time of one.

mod adopted;
mod apps;
mod arm;
mod boots;
mod clocks;
mod cut;
mod firstboot;
mod gone;
mod itself;
mod jobs;
mod package;
mod page;
mod rig;
mod script;
mod settings;
mod stage;
mod swap;
mod updates;
