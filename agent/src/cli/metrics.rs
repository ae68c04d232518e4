//! What `status` says as Prometheus text, and the socket that gives both to local programs.
//!
//! Never here: a value that `status` does not have.

use std::fmt::Write;

use super::status::{self, AppReport, Report};
use crate::io::socket;
use crate::look::Site;
use crate::turn::in_words;

/// Text format that every Prometheus reads.
const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers local programs for as long as the process lives; one that cannot is only said.
pub(super) fn serve(site: &Site) {
    let directory = site.paths.run();
    let site = site.clone();
    let answer = move |path: &str| {
        let report = || status::report(&site).map_err(|failure| in_words(&failure));
        match path {
            "/status" => Some(report().map(|report| ("application/json", report.json()))),
            "/metrics" => Some(report().map(|report| (KIND, metrics(&report)))),
            _ => None,
        }
    };
    let made = crate::io::disk::create_directories(&directory).map_err(|error| in_words(&error));
    let made = made.and_then(|()| socket::serve(&directory, answer).map_err(|error| in_words(&error)));
    if let Err(problem) = made {
        log::warn!("no local program can ask: cannot listen in {}: {problem}", directory.display());
    }
}

/// One family of metrics after the other.
fn metrics(report: &Report) -> String {
    let mut text = String::new();
    let version = env!("CARGO_PKG_VERSION");
    let own = [
        ("device", report.device.as_str()),
        ("environment", &report.environment),
        ("platform", &report.platform),
        ("mode", report.mode),
        ("version", version),
    ];
    family(&mut text, "info", "What this device is.", [(own.to_vec(), 1)]);
    single(
        &mut text,
        "clock_trusted",
        "Whether a time service keeps the clock.",
        report.clock_trusted.into(),
    );
    single(&mut text, "trust_lost", "Whether what was trusted could not be read.", report.trust_lost.into());
    single(&mut text, "held", "Whether a person holds the whole device.", report.hold.is_some().into());
    if let Some(desired) = &report.desired {
        let serial = i64::try_from(desired.serial).unwrap_or(i64::MAX);
        single(&mut text, "desired_serial", "Serial of the desired state that is believed.", serial);
        single(
            &mut text,
            "desired_expiry_timestamp_seconds",
            "From when on nothing new is entered.",
            desired.expires.unix(),
        );
    }
    if let Some(polled) = &report.polled {
        single(&mut text, "poll_timestamp_seconds", "When the publisher was last asked.", polled.at.unix());
        single(&mut text, "poll_success", "Whether it answered then.", polled.error.is_none().into());
    }
    text + &of_apps(report)
}

fn of_apps(report: &Report) -> String {
    let mut text = String::new();
    let apps = || report.apps.iter().map(|(app, found)| (("app", app.as_str()), found));
    let sync = apps().map(|(app, found)| (vec![app, ("state", found.sync.word())], 1));
    family(&mut text, "app_sync", "Whether the app is what is wanted.", sync);
    let health = apps().map(|(app, found)| (vec![app, ("state", found.health.word())], 1));
    family(&mut text, "app_health", "Whether the app does well.", health);
    let reason = |(app, found): (_, &'_ AppReport)| Some((app, found.reason.clone()?.code));
    let reasons: Vec<_> = apps().filter_map(reason).collect();
    let reasons = reasons.iter().map(|(app, code)| (vec![*app, ("code", code.as_str())], 1));
    family(&mut text, "app_reason", "Why the app is where it is, by its stable code.", reasons);
    let held = apps().map(|(app, found)| (vec![app], found.hold.is_some().into()));
    family(&mut text, "app_held", "Whether a person holds the app.", held);
    let release = |(app, found): (_, &'_ AppReport)| {
        let current = found.current.as_ref()?;
        Some((app, current.version.clone().unwrap_or_default(), current.tree.to_string()))
    };
    let releases: Vec<_> = apps().filter_map(release).collect();
    let releases =
        releases.iter().map(|(app, version, tree)| (vec![*app, ("version", version), ("tree", tree)], 1));
    family(&mut text, "app_release_info", "The release that the link names.", releases);
    text
}

fn single(text: &mut String, name: &str, help: &str, value: i64) {
    family(text, name, help, [(Vec::new(), value)]);
}

/// A gauge with its samples; none without a sample.
fn family<'a>(
    text: &mut String,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, i64)>,
) {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_some() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP tidelock_{name} {help}\n# TYPE tidelock_{name} gauge");
    }
    for (labels, value) in samples {
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "tidelock_{name}{labels} {value}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
