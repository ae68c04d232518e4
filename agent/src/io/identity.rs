//! Who this device is: the id that its owner gave it, or one made from the machine's, or a random one that is kept.
//!
//! Never here: the machine-id itself leaves this file only as a hash.

use std::fs::File;
use std::io::Read;

use tidelock_protocol::names::{DeviceId, Platform};

use super::disk;
use crate::config::Paths;

/// The id of this device. Where the machine has none, one is made up and kept; a directory that cannot be written to
/// gives one for this process alone.
///
/// # Errors
/// No randomness.
pub fn device_id(paths: &Paths, given: Option<&DeviceId>) -> Result<DeviceId, disk::Error> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    let machine = std::fs::read_to_string(paths.machine_id()).unwrap_or_default();
    let machine = machine.trim();
    if machine.len() == 32 && machine.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(DeviceId::of_machine(machine));
    }
    let kept = paths.state().join("id");
    if let Some(id) = std::fs::read_to_string(&kept).ok().and_then(|text| text.trim().parse().ok()) {
        return Ok(id);
    }
    let mut random = [0; 16];
    let source = std::path::Path::new("/dev/urandom");
    let read = File::open(source).and_then(|mut file| file.read_exact(&mut random));
    read.map_err(|error| disk::Error { what: "read", path: source.to_owned(), source: error })?;
    let id = DeviceId::of_machine(&data_encoding::HEXLOWER.encode(&random));
    let keep = || {
        disk::create_directories(&paths.state()).and_then(|()| disk::replace(&kept, id.as_str().as_bytes()))
    };
    if let Err(error) = keep() {
        log::warn!("this device's made-up id is not kept: {error}");
    }
    Ok(id)
}

/// The platform that this agent was built for; bundles for older processors of its kind run here as well.
///
/// # Errors
/// The name of a processor that no platform is named after.
pub fn platform() -> Result<Platform, tidelock_protocol::names::NotAName> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "arm" if cfg!(target_feature = "v7") => "armv7",
        "arm" => "armv6",
        other => other,
    };
    format!("linux-{arch}").parse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Room;

    #[test]
    fn a_device_keeps_its_id_whatever_it_comes_from() {
        let room = Room::new();
        let paths = Paths::under(room.path());
        let made_up = device_id(&paths, None).unwrap();
        assert_eq!(device_id(&paths, None).unwrap(), made_up);
        std::fs::create_dir_all(paths.etc()).unwrap();
        std::fs::write(paths.machine_id(), "uninitialized\n").unwrap();
        assert_eq!(device_id(&paths, None).unwrap(), made_up);
        std::fs::write(paths.machine_id(), "0123456789abcdef0123456789abcdef\n").unwrap();
        let own = device_id(&paths, None).unwrap();
        assert_ne!(own, made_up);
        assert!(!own.as_str().contains("0123456789abcdef"));
        let given = "pump-7".parse().unwrap();
        assert_eq!(device_id(&paths, Some(&given)).unwrap(), given);
    }

    #[test]
    fn this_machine_is_a_platform() {
        assert!(platform().unwrap().as_str().starts_with("linux-"));
    }
}
