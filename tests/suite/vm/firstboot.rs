//! First boot without a keyboard: what lies on the boot partition, or in the user data of cloud-init, brings a machine with
//! nothing but the package into its fleet.

use std::fs;
use std::path::Path;
use std::time::Instant;

use tidelock_tests::program::{find, output};

use super::page::{FILL, INSTALL, configuration};
use super::stage::Stage;

/// The line of a `header_file`, and its word that nobody else may read.
const SECRET: &str = "the-word-of-this-fleet";

/// Which files hold that word.
const KEPT: &str = "grep -rl the-word-of-this-fleet /boot /etc /run /var /tmp /root";

/// A machine with the package, and a card whose first partition every computer can write, mounted where devices do.
fn with_card(name: &str, label: &str) -> Stage {
    let stage = Stage::blank(name);
    stage.hand_over_packages();
    stage.says(&stage.page(INSTALL));
    stage.says(&format!(
        "echo type=c | sfdisk --quiet /dev/vdc && mkfs.vfat -n {label} /dev/vdc1 && mkdir /boot/firmware && \
         echo '/dev/vdc1 /boot/firmware vfat defaults 0 2' >>/etc/fstab && mount /boot/firmware"
    ));
    stage
}

/// Lays a file on the card.
fn lay(stage: &Stage, name: &str, contents: &[u8]) {
    stage.machine.write(&format!("/boot/firmware/{name}"), std::str::from_utf8(contents).unwrap());
}

/// The root of trust, as it is published.
fn root(stage: &Stage) -> Vec<u8> {
    fs::read(stage.fleet.out().join("metadata/1.root.json")).unwrap()
}

/// Starts the machine with its card, and sees its first release committed.
fn starts(stage: &Stage, what: &str) {
    let begun = Instant::now();
    stage.machine.reboot();
    stage.becomes("Synced Healthy");
    println!("{what} -> first committed release: 0 commands, {:.1?} from the restart", begun.elapsed());
    stage.runs(1, "Synced Healthy");
}

#[test]
fn a_boot_partition_brings_a_machine_into_its_fleet_once_and_its_secret_is_gone_from_the_card() {
    let stage = with_card("card", "BOOTFS");
    let words = format!("header_file = \"header\"\n{}", configuration(&stage));
    lay(&stage, "tidelock.toml", words.as_bytes());
    lay(&stage, "root.json", &root(&stage));
    lay(&stage, "header", format!("X-Fleet: {SECRET}\n").as_bytes());
    let found = format!("sync; echo 3 >/proc/sys/vm/drop_caches; grep -zac {SECRET} /dev/vdc1");
    assert_eq!(stage.says(&found), "1\n");
    starts(&stage, "a card with the package");
    assert_eq!(stage.says("ls /boot/firmware"), "root.json\ntidelock.toml.imported\n");
    assert_eq!(stage.machine.run(&found).stdout, "0\n", "no byte of the card holds it");
    let kept = stage.says("stat --format='%a %U' /etc/tidelock/header; cat /etc/tidelock/header");
    assert_eq!(kept, format!("600 root\nX-Fleet: {SECRET}\n"));
    stage.is_well();

    // Another one's card makes nobody else of it.
    let before = stage.says("sha256sum /etc/tidelock/*.toml /etc/tidelock/root.json");
    lay(&stage, "tidelock.toml", b"url = \"https://10.0.2.2:1\"\nenvironment = \"prod\"\n");
    assert_ne!(stage.machine.run("systemctl start tidelock-firstboot.service").code, 0);
    assert_eq!(stage.says("sha256sum /etc/tidelock/*.toml /etc/tidelock/root.json"), before);
    let note = stage.says("cat /boot/firmware/tidelock.error.txt");
    assert!(note.contains("configured already"), "{note}");
    stage.says("systemctl reset-failed");
    stage.runs(1, "Synced Healthy");
    stage.is_well();
}

/// The user data of the page, filled in as the page says.
fn user_data(stage: &Stage) -> Vec<u8> {
    let place = &stage.room;
    let page = include_str!("../../../docs/first-boot/user-data");
    let ours = stage.ours(page).replace("0123456789", SECRET);
    assert!(ours.contains(SECRET));
    fs::write(place.join("user-data"), ours).unwrap();
    fs::write(place.join("1.root.json"), root(stage)).unwrap();
    run_in(place.path(), FILL);
    fs::read(place.join("user-data")).unwrap()
}

fn run_in(place: &Path, command: &str) {
    output(std::process::Command::new(find("sh")).args(["-ec", command]).current_dir(place));
}

#[test]
fn the_user_data_of_the_page_has_cloud_init_join_a_machine_and_keep_no_secret() {
    let stage = with_card("cloud", "CIDATA");
    lay(&stage, "user-data", &user_data(&stage));
    lay(&stage, "meta-data", b"instance-id: first\n");
    // The network is up already, and the image has one locale.
    stage
        .machine
        .write("/etc/cloud/cloud.cfg.d/99-test.cfg", "network: { config: disabled }\nlocale: C.UTF-8\n");
    stage.says("rm /etc/systemd/system-generators/cloud-init-generator");
    starts(&stage, "a card with the package and user data");
    stage.says("cloud-init status --wait");
    assert_eq!(stage.says("cat /boot/firmware/user-data"), "#cloud-config\n");
    assert_eq!(
        stage.says(&format!("stat --format=%a /etc/tidelock/header; {KEPT}")),
        "600\n/etc/tidelock/header\n"
    );
    stage.is_well();

    // It is the same device still, and nobody imports anything.
    let before = stage.says("sha256sum /etc/tidelock/*.toml /etc/tidelock/root.json");
    stage.machine.reboot();
    stage.says("cloud-init status --wait");
    let said = stage.says("cat /run/cloud-init/result.json; ls /var/lib/cloud/instances");
    assert!(said.contains("NoCloud") && said.ends_with("}\nfirst\n"), "{said}");
    assert_eq!(stage.says("sha256sum /etc/tidelock/*.toml /etc/tidelock/root.json"), before);
    stage.comes_to(1);
    stage.becomes("Synced Healthy");
    stage.is_well();
}
