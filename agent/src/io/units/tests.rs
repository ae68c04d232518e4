//! Units that are judged, rewritten, placed and taken away.

use super::*;
use crate::room::Room;

struct Stage {
    room: Room,
    app: AppName,
    recipe: Recipe,
    allowed: BTreeSet<String>,
    may_be_root: bool,
}

impl Stage {
    fn new(units: &[(&str, &str)]) -> Self {
        let room = Room::new();
        for (name, text) in units {
            std::fs::write(room.path().join(name), text).unwrap();
        }
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        let recipe = Recipe::parse(&format!("format = 1\nuser = \"daemon\"\nunits = {names:?}\n")).unwrap();
        Self { room, app: "web".parse().unwrap(), recipe, allowed: BTreeSet::new(), may_be_root: false }
    }

    fn wanted(&self) -> Result<Files, String> {
        let owner = Owner {
            app: &self.app,
            units: &self.recipe.units,
            allowed: &self.allowed,
            may_be_root: self.may_be_root,
            user: self.recipe.user.as_deref(),
            app_env: "/etc/tidelock/apps/web.env".into(),
            places: ["/var/lib/tidelock/apps/web".into(), "/etc/tidelock/credentials/web".into()],
            state: "/var/lib/tidelock".into(),
            data: "/var/lib/tidelock/apps/web/data".into(),
        };
        wanted(&owner, &self.recipe, self.room.path())
    }
}

/// What becomes of a service with these lines.
fn service(lines: &str) -> Result<String, String> {
    let text = format!("[Service]\nExecStart=/bin/web\n{lines}\n[Install]\nWantedBy=multi-user.target\n");
    let files = Stage::new(&[("web.service", &text)]).wanted()?;
    match &files["tidelock-app-web.web.service"] {
        Entry::Unit(text) => Ok(text.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_unit_gets_its_user_and_what_keeps_it_off_the_releases() {
    let text = service("").unwrap();
    for line in [
        "User=daemon",
        "ReadOnlyPaths=/var/lib/tidelock",
        "ReadWritePaths=-/var/lib/tidelock/apps/web/data",
        "RequiresMountsFor=/var/lib/tidelock",
        "After=tidelock-guard.service",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(!service("User=nobody").unwrap().contains("User=daemon"));
    assert!(!service("DynamicUser=yes").unwrap().contains("User=daemon"));
}

#[test]
fn siblings_are_called_by_their_own_names() {
    let text = "[Unit]\nAfter=db.service postgresql.service\nRequires=db.service worker@2.service\nWants=network-online.target\n\
                [Service]\nExecStart=/bin/web\n[Install]\nWantedBy=multi-user.target web.target\n";
    let stage = Stage::new(&[
        ("web.service", text),
        ("db.service", "[Service]\nExecStart=/bin/db\n"),
        ("worker@.service", "[Service]\nExecStart=/bin/worker %i\n"),
        ("web.target", "[Unit]\nDescription=all\n"),
        ("job.timer", "[Timer]\nOnCalendar=daily\nUnit=db.service\n[Install]\nWantedBy=timers.target\n"),
    ]);
    let files = stage.wanted().unwrap();
    let Entry::Unit(web) = &files["tidelock-app-web.web.service"] else { panic!() };
    assert!(web.contains("After=tidelock-app-web.db.service postgresql.service\n"), "{web}");
    assert!(
        web.contains("Requires=tidelock-app-web.db.service tidelock-app-web.worker@2.service\n"),
        "{web}"
    );
    let Entry::Unit(timer) = &files["tidelock-app-web.job.timer"] else { panic!() };
    assert!(timer.contains("Unit=tidelock-app-web.db.service\n"), "{timer}");
    let starts = [
        "multi-user.target.wants/tidelock-app-web.web.service",
        "tidelock-app-web.web.target.wants/tidelock-app-web.web.service",
        "timers.target.wants/tidelock-app-web.job.timer",
    ];
    for link in starts {
        assert!(matches!(files.get(link), Some(Entry::Start(Some(_)))), "{link}: {files:?}");
    }
    let expected =
        BTreeSet::from(["tidelock-app-web.job.timer", "tidelock-app-web.web.service"].map(String::from));
    assert_eq!(enabled(&files), expected);
    assert!(all(&files).contains("tidelock-app-web.worker@*.service"));
    assert_eq!(on_device(&stage.app, &stage.recipe.units, "db.service"), "tidelock-app-web.db.service");
    assert_eq!(on_device(&stage.app, &stage.recipe.units, "sshd.service"), "sshd.service");
}

#[test]
fn no_other_unit_is_named_unless_the_owner_allows_it() {
    let with = |line: &str| {
        format!("[Unit]\n{line}\n[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n")
    };
    for line in [
        "Conflicts=ssh.service",
        "Requires=tidelock.service",
        "Wants=reboot.target",
        "Conflicts=multi-user.target",
        "OnFailure=reboot.target",
        "Before=sysinit.target",
        "Wants=tidelock-app-other.web.service",
    ] {
        let said = Stage::new(&[("web.service", &with(line))]).wanted().unwrap_err();
        assert!(said.contains("allow_units"), "{line}: {said}");
    }
    let mut stage = Stage::new(&[("web.service", &with("Requires=mosquitto.service"))]);
    stage.allowed.insert("mosquitto.service".into());
    stage.wanted().unwrap();
    for install in ["Alias=ssh.service", "Also=ssh.service"] {
        let text = format!("[Service]\nExecStart=/x\n[Install]\n{install}\n");
        assert!(Stage::new(&[("web.service", &text)]).wanted().unwrap_err().contains("units of the system"));
    }
}

#[test]
fn an_app_that_may_not_be_root_does_not_become_root_by_any_setting() {
    for line in [
        "User=root",
        "User=0",
        "User=no-such-user",
        "ExecStartPre=+/bin/sh",
        "ExecStart=-!/bin/sh",
        "ExecStart=@!!/bin/sh sh",
        "ExecStop=/bin/true ; +/bin/sh",
        "ExecStart=\"+/bin/sh\"",
        "ExecStart=\"\\x2b/bin/sh\"",
        "ExecReload=|/bin/sh",
        "PermissionsStartOnly=yes",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_SYS_ADMIN",
        "SupplementaryGroups=disk",
        "Group=shadow",
        "EnvironmentFile=/etc/shadow",
        "EnvironmentFile=/var/lib/tidelock/apps/web/../../../etc/shadow",
        "EnvironmentFile=-/etc/tidelock/apps/other.env",
        "LoadCredential=key:/etc/ssl/private/key.pem",
        "LoadCredential=key",
        "StandardOutput=append:/etc/passwd",
        "StandardError=file:/etc/passwd",
        "StandardInput=file:/etc/shadow",
        "StateDirectory=tidelock",
        "StateDirectory=web:tidelock",
        "RuntimeDirectory=web/../systemd",
        "BindPaths=/tmp/sudoers:/etc/sudoers",
        "RootDirectory=/tmp",
        "PAMName=login",
        "PIDFile=/etc/passwd",
        "Slice=system.slice",
        "Delegate=yes",
    ] {
        assert!(service(line).is_err(), "{line}: {:?}", service(line));
    }
    for line in [
        "User=nobody",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
        "EnvironmentFile=-/etc/tidelock/apps/web.env",
        "EnvironmentFile=/var/lib/tidelock/apps/web/current/release.env",
        "LoadCredential=key:/etc/tidelock/credentials/web/key",
        "StateDirectory=web/cache",
        "RuntimeDirectory=web",
        "ExecStartPre=-/bin/mkdir -p x+y ; @/bin/true true",
        "StandardError=journal",
        "ProtectSystem=strict",
        "SystemCallFilter=@system-service",
    ] {
        assert!(service(line).is_ok(), "{line}: {:?}", service(line));
    }
    let mut stage = Stage::new(&[(
        "web.service",
        "[Service]\nUser=root\nExecStart=+/x\n[Install]\nWantedBy=multi-user.target\n",
    )]);
    stage.may_be_root = true;
    stage.wanted().unwrap();
}

#[test]
fn a_socket_listens_on_ports_and_in_the_app_s_own_directory() {
    let sockets = |line: &str| {
        let text = format!("[Socket]\n{line}\n[Install]\nWantedBy=sockets.target\n");
        Stage::new(&[("web.socket", &text), ("web.service", "[Service]\nExecStart=/x\n")]).wanted().is_ok()
    };
    assert!(
        sockets("ListenStream=80")
            && sockets("ListenStream=/run/web/socket")
            && sockets("ListenStream=[::1]:80")
    );
    for line in [
        "ListenStream=/run/dbus/system_bus_socket",
        "ListenFIFO=/run/web/x",
        "Symlinks=/etc/x",
        "SocketUser=root",
    ] {
        assert!(!sockets(line), "{line}");
    }
}

#[test]
fn a_service_without_a_user_and_units_that_nothing_starts_are_told() {
    let mut stage =
        Stage::new(&[("web.service", "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n")]);
    stage.recipe.user = None;
    assert!(stage.wanted().unwrap_err().contains("would run as root"));
    let never = Stage::new(&[("web.service", "[Service]\nExecStart=/x\n")]);
    assert!(never.wanted().unwrap_err().contains("[Install]"));
    let mut reload =
        Stage::new(&[("web.service", "[Service]\nExecStart=/x\n[Install]\nWantedBy=multi-user.target\n")]);
    reload.recipe.activate = Activate::Reload;
    assert!(reload.wanted().unwrap_err().contains("ExecReload"));
    let absent = Stage::new(&[]);
    let recipe = Recipe { units: vec!["gone.service".into()], ..absent.recipe.clone() };
    assert!(Stage { recipe, ..absent }.wanted().unwrap_err().starts_with("gone.service: "));
}

#[test]
fn files_are_placed_once_and_stale_ones_taken_away() {
    let room = Room::new();
    let paths = Paths::under(room.path());
    let lock = Lock::take(&paths.lock()).unwrap().unwrap();
    let install = "[Install]\nWantedBy=multi-user.target\n";
    let one = Stage::new(&[
        ("web.service", &format!("[Service]\nExecStart=/one\n{install}")),
        ("old.service", &format!("[Service]\nExecStart=/old\n{install}")),
    ]);
    let two = Stage::new(&[("web.service", &format!("[Service]\nExecStart=/two\n{install}"))]);
    let other = "web2".parse().unwrap();
    disk::create_directories(&paths.units().join("tidelock-app-web.web.service.d")).unwrap();
    std::fs::write(paths.units().join("tidelock-app-web2.x.service"), "[Service]\n").unwrap();
    let place = |files: &Files| place(&lock, &paths, &one.app, files).unwrap();
    let (first, second) = (one.wanted().unwrap(), two.wanted().unwrap());
    assert!(place(&first));
    assert!(!place(&first), "nothing is written twice");
    assert_eq!(of(&found(&paths).unwrap(), &one.app), first);
    // What somebody else made of them is put right.
    std::fs::write(paths.units().join("tidelock-app-web.web.service"), "[Service]\nExecStart=/evil\n")
        .unwrap();
    std::fs::remove_file(paths.units().join("multi-user.target.wants/tidelock-app-web.old.service")).unwrap();
    disk::point(
        &paths.units().join("multi-user.target.wants/tidelock-app-web.web.service"),
        Path::new("/dev/null"),
    )
    .unwrap();
    assert_ne!(of(&found(&paths).unwrap(), &one.app), first);
    assert!(place(&first) && !place(&first));
    assert!(place(&second));
    assert_eq!(of(&found(&paths).unwrap(), &one.app), second);
    assert!(place(&Files::new()));
    let left = found(&paths).unwrap();
    assert_eq!(of(&left, &other).len(), 1, "units of others stay");
    assert_eq!(left.len(), 1);
    assert!(paths.units().join("tidelock-app-web.web.service.d").is_dir(), "the owner's drop-ins stay");
}
