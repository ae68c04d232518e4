//! Timers and sockets: what starts with the device is not what does the work.

use super::stage::Stage;

const RECIPE: &str = r#"format = 1
user = "web"
units = ["clean.service", "clean.timer", "echo.socket", "echo@.service"]

[[check]]
name = "cleans"
last-run = "clean.timer"
interval = 1
deadline = 20

[[check]]
name = "listens"
tcp = "127.0.0.1:7777"
interval = 1
deadline = 30
"#;

const TIMER: &str = "[Timer]
OnCalendar=Sun *-*-* 03:00:00

[Install]
WantedBy=timers.target
";

const SOCKET: &str = "[Socket]
ListenStream=127.0.0.1:7777
Accept=yes

[Install]
WantedBy=sockets.target
";

const ECHO: &str = "[Service]
ExecStart=/bin/cat
StandardInput=socket
StandardOutput=socket
StandardError=journal
";

/// A service that does `work` when its time comes.
fn job(work: &str) -> String {
    format!("[Service]\nType=oneshot\nExecStart=/bin/sh -c '{work}'\n")
}

#[test]
fn a_timer_and_a_socket_are_placed_and_known_to_work_before_their_day_comes() {
    let stage = Stage::new("jobs");
    let clean = job("echo clean >>/var/lib/tidelock/apps/jobs/data/cleaned");
    let files =
        [("release.toml", RECIPE), ("clean.timer", TIMER), ("echo.socket", SOCKET), ("echo@.service", ECHO)];
    let with = |job: &str| {
        let files: Vec<_> = files.iter().copied().chain([("clean.service", job)]).collect();
        stage.put("jobs", &files);
    };
    stage.fleet.want(&["jobs"]);
    with(&clean);
    stage.tidelock("update").well();
    assert_eq!(stage.says("cat /var/lib/tidelock/apps/jobs/data/cleaned"), "clean\n");
    let answer = || stage.says("echo hello | busybox nc 127.0.0.1 7777");
    assert_eq!(answer(), "hello\n");
    let timers = stage.says("systemctl list-timers --all --no-pager");
    assert!(timers.contains("tidelock-app-jobs.clean.timer"), "{timers}");
    let conversation = "(sleep 600 | busybox nc 127.0.0.1 7777) >/dev/null 2>&1 &";
    stage.says(conversation);
    let served = "systemctl list-units --plain --no-legend --state=running 'tidelock-app-jobs.echo@*'";
    stage.machine.until("somebody is served", &format!("{served} | grep ."));

    // A job that fails is known at once, not on Sunday; and whoever is being served was stopped with the rest.
    with(&job("exit 7"));
    let ran = stage.tidelock("update");
    assert_eq!(ran.code, 3, "{}", ran.said());
    let why = stage.says("tidelock why jobs");
    assert!(
        why.contains("check cleans failed: tidelock-app-jobs.clean.service ended with exit-code"),
        "{why}"
    );
    assert_eq!(stage.says(served), "");
    assert_eq!(answer(), "hello\n");

    // A unit that only the bad release had leaves no trace of its failure.
    let recipe = RECIPE.replace("[\"clean", "[\"boom.service\", \"clean");
    let boom = "[Service]\nExecStart=/bin/false\n\n[Install]\nWantedBy=multi-user.target\n";
    let checked = format!(
        "{recipe}\n[[check]]\nname = \"boom\"\nunit = \"boom.service\"\ninterval = 1\nsuccesses = 2\ndeadline = 3\n"
    );
    let bad: Vec<_> = [("release.toml", &*checked), ("boom.service", boom), ("clean.service", &clean)]
        .into_iter()
        .chain(files[1..].iter().copied())
        .collect();
    stage.put("jobs", &bad);
    let ran = stage.tidelock("update");
    assert_eq!(ran.code, 3, "{}", ran.said());
    stage.machine.until("the good one is back", "tidelock status | grep -E '^jobs +OutOfSync +Healthy '");
    stage.is_well();

    // The next good one, though its socket is another.
    let socket = SOCKET.replace("7777", "7778");
    let recipe = RECIPE.replace("7777", "7778");
    let good =
        [("release.toml", &*recipe), ("echo.socket", &socket), files[1], files[3], ("clean.service", &clean)];
    stage.put("jobs", &good);
    stage.tidelock("update").well();
    assert_eq!(stage.says("echo hello | busybox nc 127.0.0.1 7778"), "hello\n");
    assert_eq!(stage.machine.run("echo hello | busybox nc 127.0.0.1 7777").stdout, "");
    stage.is_well();
}
