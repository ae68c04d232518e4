//! How long an app does not run because of its update. Every figure is printed, none is asserted: emulation makes each
//! process that is started cost a large part of a second, and the bench says so.

use super::stage::{SERVICE, Stage};

/// How many rounds; the bench wants more.
const ROUNDS: &str = "TIDELOCK_DOWNTIME";
/// Seconds that a release which never passes is given.
const DEADLINE: u64 = 10;

const WEB: &str = "[Service]
Type=exec
ExecStart=/var/lib/tidelock/apps/web/current/tree/bin/web
EnvironmentFile=/var/lib/tidelock/apps/web/current/release.env

[Install]
WantedBy=multi-user.target
";

/// Seconds since boot.
type Moment = f64;

fn publish(stage: &Stage, version: u32, unit: &str, check: &str) {
    let recipe = format!(
        "format = 1\nuser = \"web\"\nunits = [\"web.service\"]\n[[check]]\nname = \"asks\"\n{check}\n\
         interval = 1\ndeadline = {DEADLINE}\n"
    );
    let program = format!(
        "#!/bin/sh\necho \"{version} $(cut -d' ' -f1 /proc/uptime)\" >>$TIDELOCK_DATA/starts\nexec sleep infinity\n"
    );
    stage.put("web", &[("release.toml", &recipe), ("web.service", unit), ("bin/web", &program)]);
}

/// When its service last left the state of running, and when it last came to it, by systemd's own clock.
fn times(stage: &Stage) -> [Moment; 2] {
    ["ActiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic"].map(|property| {
        let said = stage.says(&format!("systemctl show --property={property} --value {SERVICE}"));
        said.trim().parse::<f64>().unwrap() / 1e6
    })
}

/// How long the service did not run because of `act`.
fn downtime(stage: &Stage, act: impl FnOnce()) -> f64 {
    let [_, before] = times(stage);
    act();
    let [stopped, began] = times(stage);
    assert!(before < stopped && stopped < began, "it was not restarted");
    began - stopped
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

#[test]
fn the_downtime_of_an_update_is_measured_beside_a_bare_restart_and_so_is_a_way_back() {
    let rounds: u32 = std::env::var(ROUNDS).map_or(1, |rounds| rounds.parse().unwrap());
    let stage = Stage::new("downtime");
    let good = "unit = \"web.service\"";
    let (mut restarts, mut updates, mut changes, mut asks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    publish(&stage, 0, WEB, good);
    stage.tidelock("update").well();
    for round in 1..=rounds {
        restarts.push(downtime(&stage, || drop(stage.says(&format!("systemctl restart {SERVICE}")))));
        publish(&stage, 2 * round, WEB, good);
        updates.push(downtime(&stage, || drop(stage.tidelock("update").well())));
        let other = WEB.replace("[Service]", &format!("[Unit]\nDescription=round {round}\n\n[Service]"));
        publish(&stage, 2 * round + 1, &other, good);
        changes.push(downtime(&stage, || drop(stage.tidelock("update").well())));
        publish(&stage, 2 * round, WEB, good);
        stage.tidelock("update").well();
        // What one question to systemd costs here: the agent asks several while the app is down.
        let show = format!("systemctl show --property=Id {SERVICE} >/dev/null");
        let took = stage.says(&format!("read a _ </proc/uptime; {show}; read b _ </proc/uptime; echo $a $b"));
        let (begin, end) = took.trim().split_once(' ').unwrap();
        asks.push(end.parse::<f64>().unwrap() - begin.parse::<f64>().unwrap());
    }
    publish(&stage, 99, WEB, "tcp = \"127.0.0.1:9\"");
    assert_eq!(stage.tidelock("update").code, 3);
    let [_, back] = times(&stage);
    let bad = stage.says("grep '^99 ' /var/lib/tidelock/apps/web/data/starts | tail -n1 | cut -d' ' -f2");
    let back = back - bad.trim().parse::<f64>().unwrap();
    stage.is_well();
    let (restart, update, change) = (median(restarts), median(updates), median(changes));
    println!("downtime restart {restart:.3} update {update:.3} changed {change:.3} ask {:.3}", median(asks));
    println!("downtime back {back:.3} deadline {DEADLINE}");
}
