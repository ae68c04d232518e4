//! `import`: makes a device part of a fleet by what lies on its boot partition, where nobody has a keyboard.
//!
//! Never here: when this is asked (its unit, at each boot), or what is then wanted of the device.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::join::{establish, existing, is_root, parsed, read, settings};
use super::say;
use super::session::{Failure, Status};
use crate::config::{Error::Read, Paths};
use crate::io::disk;
use crate::turn::in_words;

/// Where a boot partition is mounted, the newer place first.
const PLACES: [&str; 2] = ["/boot/firmware", "/boot"];
/// What a configuration is called there, before `config.toml` is made of it.
const NAME: &str = "tidelock.toml";
/// Where who pulls the card reads why nothing came of it.
const NOTE: &str = "tidelock.error.txt";
/// The keys that name a file; whether anybody who reads it could pass for this device.
const FILES: [(&str, bool); 4] =
    [("ca_file", false), ("client_cert", false), ("client_key", true), ("header_file", true)];

/// A file that is taken along.
struct Beside {
    from: PathBuf,
    to: PathBuf,
    is_secret: bool,
}

/// Takes the configuration and the root that lie in `from`, or where a boot partition is mounted; only while there is
/// none. What it took is called otherwise afterwards, its secrets are gone.
pub(super) fn import(paths: &Paths, config: Option<&Path>, from: Option<&Path>) -> Result<Status, Failure> {
    let mut places = PLACES.iter().map(|place| paths.rooted(Path::new(place)));
    let Some(from) = from.map(Path::to_owned).or_else(|| places.find(|place| place.join(NAME).exists()))
    else {
        say(&format!("there is no {NAME} in {}\n", PLACES.join(" or ")));
        return Ok(Status::Done);
    };
    let taken = take(paths, config, &from);
    let note = from.join(NOTE);
    let noted = match &taken {
        Ok(_) => disk::remove(&note),
        Err(failure) => disk::replace(&note, format!("{}\n", in_words(failure)).as_bytes()),
    };
    if let Err(error) = noted {
        ::log::warn!("{}", in_words(&error));
    }
    taken
}

/// Every step may be the last before the power goes: the next boot finds the rest to do, and does it.
fn take(paths: &Paths, config: Option<&Path>, from: &Path) -> Result<Status, Failure> {
    let source = from.join(NAME);
    let missing = || Read { path: source.clone(), source: std::io::ErrorKind::NotFound.into() };
    let mut table = existing(&source)?.ok_or_else(missing)?;
    let files = beside(&mut table, paths, from);
    let text = table.to_string();
    let target = config.map_or_else(|| paths.config_file(), Path::to_path_buf);
    let settings = settings(paths, config, &target, &text)?;
    let root = read(&from.join("root.json"))?;
    is_root(&root)?;
    match existing(&target)? {
        None => {
            disk::create_directories(&paths.etc())?;
            for Beside { from, to, .. } in &files {
                disk::replace_for_owner(to, &read(from)?)?;
            }
            establish(paths, &target, &text, &root, &settings)?;
        }
        Some(before) if before == parsed(&text) && read(&paths.root_json())? == root => {}
        Some(_) => {
            let why = "nothing is imported: tidelock join --force joins another fleet";
            return Err(Failure::Refused(format!(
                "this device is configured already by {}; {why}",
                target.display()
            )));
        }
    }
    for Beside { from, .. } in files.iter().filter(|file| file.is_secret) {
        disk::erase(from)?;
    }
    disk::set_aside(&source, ".imported")?;
    Ok(Status::Done)
}

/// The files that `table` names without a directory, which it says to be where they will be.
fn beside(table: &mut Table, paths: &Paths, from: &Path) -> Vec<Beside> {
    let mut files = Vec::new();
    for (key, is_secret) in FILES {
        let Some(Value::String(name)) = table.get_mut(key) else { continue };
        if name.contains('/') {
            continue;
        }
        files.push(Beside { from: from.join(&*name), to: paths.etc().join(&*name), is_secret });
        *name = format!("/etc/tidelock/{name}");
    }
    files
}
