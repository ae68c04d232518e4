//! What the command line means, and that nothing of it is ignored silently.

use super::*;

fn of(line: &str) -> Result<Command, String> {
    parse(line.split_whitespace()).map(|arguments| arguments.command)
}

#[test]
fn each_command_is_read() {
    let web = || "web".parse::<AppName>().unwrap();
    assert_eq!(of("run"), Ok(Command::Run));
    assert_eq!(of("status --json"), Ok(Command::Status { json: true }));
    assert_eq!(of("verify"), Ok(Command::Verify));
    assert_eq!(of("verify --heal"), Ok(Command::Heal { owner: None }));
    assert_eq!(of("why web"), Ok(Command::Why { app: Some(web()) }));
    let rollback = Command::Rollback { app: web(), reason: "slow".into(), owner: Some("anna".into()) };
    assert_eq!(of("rollback web --reason slow --owner=anna"), Ok(rollback));
    assert_eq!(of("trust reset --reason new-root"), Ok(Command::TrustReset { reason: "new-root".into() }));
    assert_eq!(of("--help whatever"), Ok(Command::Help));
    let stop = || Stop { owner: None, reason: "fair".into(), time: Duration::from_secs(7200) };
    assert_eq!(of("hold --all --reason fair --for 2h"), Ok(Command::Hold { what: Scope::All, stop: stop() }));
    let what = Scope::App(web());
    assert_eq!(of("hold web --reason fair --for 2h"), Ok(Command::Hold { what, stop: stop() }));
    let version = "1.4.2".parse().unwrap();
    assert_eq!(
        of("pin web 1.4.2 --reason fair --for 2h"),
        Ok(Command::Pin { app: web(), version, stop: stop() })
    );
    assert_eq!(of("resume --all"), Ok(Command::Resume { what: Scope::All }));
    assert_eq!(of("resume web"), Ok(Command::Resume { what: Scope::App(web()) }));
    let hash = "0".repeat(64);
    let join =
        of(&format!("join http://h --root-sha256 {hash} --env prod --label site=north --label a=")).unwrap();
    let Command::Join(join) = join else { panic!() };
    assert_eq!(join.trust, Trust::Sha256(hash.parse().unwrap()));
    assert_eq!(join.labels.len(), 2);
}

#[test]
fn roots_and_files_may_stand_anywhere() {
    let arguments = parse(["update", "--root", "/tmp/x", "--config", "c.toml"]).unwrap();
    assert_eq!((arguments.root, arguments.config), ("/tmp/x".into(), Some("c.toml".into())));
    assert_eq!(parse(["run"]).unwrap().root, PathBuf::from("/"));
    assert!(parse(["run", "--root", "below/here"]).unwrap().root.is_absolute());
}

#[test]
fn nothing_is_ignored_silently() {
    for (line, said) in [
        ("", "no command"),
        ("updat", "no such command: updat"),
        ("hold web --reason x", "--for TIME is needed"),
        ("hold web --for 2h", "--reason R is needed"),
        ("hold --reason x --for 2h", "needs other words"),
        ("hold web --all --reason x --for 2h", "takes no --all"),
        ("hold web --reason x --for 91d", "at most 90d"),
        ("hold web --reason x --for soon", "such as 90s"),
        ("pin web --reason x --for 2h", "needs other words"),
        ("pin web ../x --reason x --for 2h", "not a version"),
        ("resume", "needs other words"),
        ("adopt web", "--unit NAME is needed"),
        ("adopt web --unit a\"b.service", "such as web.service"),
        ("adopt web --unit web", "such as web.service"),
        ("update --unit web.service", "takes no --unit"),
        ("resume web --for 2h", "takes no --for"),
        ("update now", "no such command: update now"),
        ("update --json", "takes no --json"),
        ("run --reason x", "takes no --reason"),
        ("status --label a=b", "takes no --label"),
        ("rollback web", "--reason R is needed"),
        ("rollback", "needs other words"),
        ("rollback Web --reason x", "not an app name"),
        ("join http://h --env prod", "which root"),
        ("join http://h --root-file f --root-sha256 00 --env prod", "digest"),
        ("join http://h --root-file f", "which environment"),
        ("join http://h --root-file f --env prod --label a", "KEY=VALUE"),
        ("update --frce", "--frce"),
    ] {
        let found = of(line).unwrap_err();
        assert!(found.contains(said), "{line}: {found}");
    }
    assert!(parse(["rollback", "web", "--reason", " \n"]).is_err());
}
