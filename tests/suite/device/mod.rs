//! The real agent against a really published fleet, over HTTP on this machine: what a person sees of it.

mod apps;
mod commands;
mod guard;
mod hooks;
mod import;
mod itself;
mod people;
mod service;
mod settings;
mod stage;
