//! The three stages of the configuration, from files to settings and refusals.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::room::Room;

fn write(room: &Room, path: &str, text: &str) {
    let path = room.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn of(text: &str) -> Result<(Settings, Merged), Error> {
    let text = format!("url = \"https://fleet.example.org/\"\nenvironment = \"prod\"\n{text}");
    let merged = Merged::of(&[Fragment { path: "/etc/tidelock/config.toml".into(), text }])?;
    Ok((Settings::of(&merged, &Paths::under(Path::new("/")))?, merged))
}

fn refusal(text: &str) -> String {
    of(text).unwrap_err().to_string()
}

#[test]
fn two_keys_are_enough_and_the_rest_has_sound_defaults() {
    let (settings, merged) = of("").unwrap();
    assert_eq!(settings.connection.url, "https://fleet.example.org");
    assert_eq!(settings.poll, Duration::from_secs(300));
    assert_eq!((settings.mode, settings.reuse, settings.keep), (Mode::Apply, Reuse::Auto, 2));
    assert_eq!(settings.drift, Drift { every: Duration::from_secs(86_400), heal: true });
    assert!(settings.root_apps.is_empty() && settings.units.is_empty() && settings.labels.is_empty());
    assert!(merged.refuse_unknown().is_ok());
}

#[test]
fn every_key_is_taken_and_file_names_lie_below_the_root() {
    let room = Room::new();
    let text = r#"
        url = "http://10.0.0.1:8080/fleet"
        environment = "staging"
        id = "pump-7"
        poll = "90s"
        mode = "observe"
        reuse = "copy"
        keep = 4
        ca_file = "/etc/tidelock/ca.pem"
        header_file = "/run/credentials/header"
        client_cert = "/etc/tidelock/c.pem"
        client_key = "/etc/tidelock/k.pem"
        allow_root_apps = ["web"]
        allow_units = ["dnsmasq.service"]
        [labels]
        site = "north"
        [report]
        url = "https://fleet.example.org/api/"
        [drift]
        every = "6h"
        heal = false
    "#;
    write(&room, "etc/tidelock/config.toml", text);
    let paths = Paths::under(room.path());
    let merged = Merged::of(&read(&paths, None).unwrap()).unwrap();
    merged.refuse_unknown().unwrap();
    let settings = Settings::of(&merged, &paths).unwrap();
    assert_eq!(settings.connection.ca_file.unwrap(), room.path().join("etc/tidelock/ca.pem"));
    assert_eq!(settings.connection.client.unwrap().key, room.path().join("etc/tidelock/k.pem"));
    assert_eq!(settings.id.unwrap().as_str(), "pump-7");
    assert_eq!((settings.poll.as_secs(), settings.keep, settings.mode), (90, 4, Mode::Observe));
    assert_eq!(settings.labels[&"site".parse().unwrap()], "north");
    assert_eq!(settings.report.unwrap(), "https://fleet.example.org/api");
    assert_eq!(settings.drift, Drift { every: Duration::from_secs(21_600), heal: false });
}

#[test]
fn the_example_names_every_key_and_nothing_else() {
    let text = include_str!("../../../docs/config.example.toml").to_owned();
    let merged = Merged::of(&[Fragment { path: "config.example.toml".into(), text: text.clone() }]).unwrap();
    merged.refuse_unknown().unwrap();
    Settings::of(&merged, &Paths::under(Path::new("/"))).unwrap();
    for key in merged::KNOWN {
        let word = key.rsplit('.').next().unwrap();
        assert!(
            text.lines().any(|line| line.starts_with(&format!("{word} = "))),
            "{key} is not in the example"
        );
    }
}

#[test]
fn later_layers_win_key_by_key_and_only_toml_files_count() {
    let room = Room::new();
    write(&room, "usr/lib/tidelock/config.toml", "poll = \"1h\"\nkeep = 3\nurl = \"http://vendor\"\n");
    write(&room, "run/tidelock/config.d/50.toml", "keep = 4\n");
    write(
        &room,
        "etc/tidelock/config.toml",
        "environment = \"prod\"\nurl = \"http://owner\"\n[labels]\na = \"1\"\n",
    );
    write(&room, "etc/tidelock/config.d/20.toml", "[labels]\nb = \"2\"\n");
    write(&room, "etc/tidelock/config.d/10.toml", "[labels]\nb = \"1\"\n");
    write(&room, "etc/tidelock/config.d/note.txt", "not = [toml");
    let paths = Paths::under(room.path());
    let merged = Merged::of(&read(&paths, None).unwrap()).unwrap();
    let settings = Settings::of(&merged, &paths).unwrap();
    assert_eq!(settings.connection.url, "http://owner");
    assert_eq!((settings.poll.as_secs(), settings.keep), (3600, 4));
    let labels: Vec<_> = settings.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["a=1", "b=2"]);
    let only = room.path().join("run/tidelock/config.d/50.toml");
    assert_eq!(read(&paths, Some(&only)).unwrap().len(), 1);
    assert!(read(&paths, Some(Path::new("/nowhere.toml"))).is_err());
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_key_that_was_meant() {
    let (_, merged) = of("pol = \"5m\"\n[report]\nulr = \"http://x\"\n[lables]\nsite = \"n\"").unwrap();
    let said: Vec<_> = merged.unknown().iter().map(ToString::to_string).collect();
    assert_eq!(said[0], "/etc/tidelock/config.toml:3: unknown key `pol`; did you mean `poll`?");
    assert!(
        said.iter().any(|s| s.ends_with(":5: unknown key `report.ulr`; did you mean `report.url`?")),
        "{said:?}"
    );
    assert!(said.iter().any(|s| s.contains(":6: unknown key `lables`; did you mean `labels`?")), "{said:?}");
    let all = merged.refuse_unknown().unwrap_err().to_string();
    assert_eq!(all.lines().count(), 3);
    let (_, merged) = of("wholly_different_thing = 1").unwrap();
    assert_eq!(merged.unknown()[0].nearest, None);
}

#[test]
fn a_wrong_value_says_place_found_and_expected() {
    let said = refusal("poll = \"5 minutes\"");
    assert!(
        said.starts_with("/etc/tidelock/config.toml:3: `poll` is \"5 minutes\": expected a time such as"),
        "{said}"
    );
    for (wrong, word) in [
        ("poll = \"0s\"", "from 1s"),
        ("poll = \"8d\"", "to 7d"),
        ("poll = \"99999999999999999999d\"", "a time"),
        ("poll = 300", "a time"),
        ("poll = \"+5m\"", "a time"),
        ("mode = \"watch\"", "\"apply\" or \"observe\""),
        ("reuse = \"link\"", "\"auto\" or \"copy\""),
        ("keep = 1", "from 2 to 32"),
        ("keep = -1", "from 2 to 32"),
        ("id = \"Pump 7\"", "a device id"),
        ("ca_file = \"ca.pem\"", "absolute"),
        ("allow_root_apps = \"web\"", "a list"),
        ("allow_root_apps = [\"Web\"]", "an app name"),
        ("allow_units = [\"web\"]", "a unit name"),
        ("client_cert = \"/c.pem\"", "needs `client_key` as well"),
        ("client_key = \"/k.pem\"", "needs `client_cert` as well"),
        ("report.url = \"ftp://x\"", "http"),
        ("drift.heal = \"yes\"", "true or false"),
        ("drift.every = \"5s\"", "from 60s"),
        ("labels.Site = \"n\"", "a label key"),
        ("labels.site = \"a\\nb\"", "control"),
        ("labels = 3", "a table"),
        ("mode = ", ":3: "),
    ] {
        let said = refusal(wrong);
        assert!(said.contains(word), "{wrong}: {said}");
        assert!(said.starts_with("/etc/tidelock/config.toml:3: "), "{wrong}: {said}");
    }
}

#[test]
fn an_address_holds_no_secret_and_no_surprise() {
    for good in ["http://h", "https://h:8443/a/b/", "http://[::1]:80"] {
        assert_eq!(base_url(good).unwrap(), good.trim_end_matches('/'));
    }
    for bad in ["h", "ftp://h", "http://", "http://:80", "http://h?x", "http://h#x", "http://h /", "HTTP://h"]
    {
        assert!(base_url(bad).is_err(), "{bad}");
    }
    assert!(base_url("https://user:secret@h").unwrap_err().contains("header_file"));
}

#[test]
fn a_device_that_was_never_joined_is_told_what_to_do() {
    let merged = Merged::of(&[]).unwrap();
    let said = Settings::of(&merged, &Paths::under(Path::new("/"))).unwrap_err().to_string();
    assert!(said.contains("`url`") && said.contains("tidelock join"), "{said}");
}
