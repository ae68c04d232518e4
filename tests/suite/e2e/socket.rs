//! The socket of the daemon, asked by curl, and judged by Prometheus' own tool.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use tidelock_tests::program::{find, output, until};
use tidelock_tests::world::Daemon;

use super::site::Site;

/// Asks as the documentation says, from the socket's own directory: the name of a socket must be short.
fn curl(site: &Site, path: &str) -> String {
    let mut curl = Command::new(find("curl"));
    curl.current_dir(site.device.root().join("run/tidelock"));
    curl.args(["--silent", "--fail", "--max-time", "20", "--unix-socket", "status.sock"]);
    let said = output(curl.arg(format!("http://localhost{path}")));
    String::from_utf8(said.stdout).unwrap()
}

/// What `promtool check metrics` says of a page.
fn promtool(page: &str) -> (bool, String) {
    let mut command = Command::new(find("promtool"));
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = command.spawn().unwrap();
    tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let ended = tool.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn local_programs_get_what_status_says_and_metrics_that_prometheus_reads() {
    let site = Site::new("socket");
    site.device.configure("test", "poll = \"1s\"\n");
    let daemon = Daemon::start(&site.device, &site.room.join("log"));
    until("the app is there", || site.device.state("files") == "Synced Healthy");
    let hold = ["hold", "files", "--reason", "a \"fair\" \\ day", "--for", "1h", "--owner", "anna"];
    site.device.run(&hold).well();
    let status: serde_json::Value = serde_json::from_str(&curl(&site, "/status")).unwrap();
    assert_eq!((&status["format"], &status["apps"]["files"]["hold"]["owner"]), (&1.into(), &"anna".into()));
    let own = site.device.status();
    assert_eq!(status["apps"], own["apps"], "the very words of `status --json`");
    let page = curl(&site, "/metrics");
    let (good, said) = promtool(&page);
    assert!(good && said.trim().is_empty(), "{said}\n{page}");
    for line in [
        "tidelock_app_sync{app=\"files\",state=\"Synced\"} 1",
        "tidelock_app_health{app=\"files\",state=\"Suspended\"} 1",
        "tidelock_app_reason{app=\"files\",code=\"hold\"} 1",
        "tidelock_app_held{app=\"files\"} 1",
        "tidelock_poll_success 1",
        "tidelock_trust_lost 0",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
    // The judge judges: a page without the type of a metric, or with a broken label, is refused.
    assert!(!promtool("tidelock_x{app=\"a\" 1\n").0);
    daemon.stop();
    let log = fs::read_to_string(site.room.join("log")).unwrap();
    assert!(!log.contains("no local program can ask"), "{log}");
}
