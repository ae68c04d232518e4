//! The journal: what it wrote once it reads for ever, and what it cannot read it says.

use std::time::Duration;

use super::*;
use crate::decide::model::{Begun, Cause, Ground, Outcome, Phase, Setup};
use crate::room::Room;

const TREE: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Records as the first version wrote them, with members that a later one may add.
fn recorded() -> [(&'static str, String); 9] {
    let setup = format!(r#"{{"tree":"{TREE}","tuning":{{"deadline":60}},"version":"1.4.2"}}"#);
    let back = r#"{"back":{"cause":{"check":{"name":"http","said":"503"}}}}"#;
    let until = r#"{"wall":"2026-11-24T10:00:00Z","boot":{"secs":7200,"nanos":0}}"#;
    let cause = r#"{"operator":{"owner":"anna","reason":"slow"}}"#;
    let setback = format!(r#"{{"setup":{setup},"cause":"starts","tries":1,"at":"2026-11-24T08:00:00Z"}}"#);
    [
        (
            "trial",
            format!(
                r#"{{"serial":7,"from":null,"to":{setup},"phase":{back},"starts":2,"retry":3,"earlier":{setback},"new":1}}"#
            ),
        ),
        (
            "committed",
            format!(
                r#"[{{"serial":6,"setup":{setup},"at":"2026-11-24T08:00:00Z","passed":{{"http":"{TREE}"}}}}]"#
            ),
        ),
        (
            "refusals",
            format!(
                r#"[{{"setup":{setup},"retry":0,"at":"2026-11-24T08:00:00Z","ground":{{"trial":{cause}}}}},
                    {{"setup":{setup},"retry":0,"at":"2026-11-24T08:00:00Z","ground":{{"recipe":"no hooks"}}}}]"#
            ),
        ),
        ("setback", setback.clone()),
        ("rollback", format!(r#"{{"leave":"{TREE}","owner":"anna","reason":"slow"}}"#)),
        ("retry", r#"{"owner":"anna"}"#.to_owned()),
        ("orphan", r#"{"since":"2026-11-24T08:00:00Z","trusted":true}"#.to_owned()),
        ("hold", format!(r#"["a boot",{{"owner":"anna","reason":"fair","until":{until}}}]"#)),
        ("pin", format!(r#"["a boot",{{"setup":{setup},"owner":"anna","reason":"fair","until":{until}}}]"#)),
    ]
}

fn web() -> AppName {
    "web".parse().unwrap()
}

fn journal(room: &Room) -> (Journal, Lock) {
    let paths = Paths::under(room.path());
    (Journal::at(&paths).unwrap(), Lock::take(&paths.lock()).unwrap().unwrap())
}

fn put(journal: &Journal, kind: &str, text: &str) {
    disk::create_directories(&journal.records).unwrap();
    std::fs::write(journal.file(&web(), kind), text).unwrap();
}

#[test]
fn records_of_the_first_version_are_read_and_written_alike() {
    let room = Room::new();
    let (journal, lock) = journal(&room);
    for (kind, record) in recorded() {
        put(&journal, kind, &format!(r#"{{"format":1,"record":{record}}}"#));
    }
    let read = journal.read(&web());
    assert_eq!(read.unreadable, []);
    let trial = read.trial.clone().unwrap();
    let cause = Cause::Check { name: "http".into(), said: "503".into() };
    assert_eq!((trial.serial, trial.starts, trial.phase), (7, 2, Phase::Back { cause }));
    assert_eq!(trial.earlier, read.setback);
    assert_eq!(trial.to.tuning.deadline, Some(60));
    assert_eq!(read.committed[0].passed["http"], TREE.parse().unwrap());
    assert_eq!(read.refusals[1].ground, Ground::Recipe("no hooks".into()));
    assert_eq!(read.rollback.as_ref().unwrap().owner, "anna");
    let until = Until { wall: "2026-11-24T10:00:00Z".parse().unwrap(), boot: None };
    assert_eq!(read.hold.as_ref().unwrap().until, until, "another boot: civil time counts");
    assert_eq!(read.pin.as_ref().unwrap().setup.tuning.deadline, Some(60));
    assert_eq!(journal.apps().unwrap(), BTreeSet::from([web()]));

    let records = [
        Record::Trial(read.trial.clone()),
        Record::Committed(read.committed.clone()),
        Record::Refusals(read.refusals.clone()),
        Record::Setback(read.setback.clone()),
        Record::Rollback(read.rollback.clone()),
        Record::Retry(read.retry.clone()),
        Record::Orphan(read.orphan),
        Record::Hold(read.hold.clone()),
        Record::Pin(read.pin.clone()),
    ];
    for record in records {
        journal.write(&lock, &web(), &record).unwrap();
    }
    assert_eq!(journal.read(&web()), read);
    // An agent that goes back reads what the newer one wrote during its trial: the same members, no others.
    for (kind, record) in recorded().into_iter().filter(|(kind, _)| !["hold", "pin"].contains(kind)) {
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let written = std::fs::read_to_string(journal.file(&web(), kind)).unwrap();
        let then = format!(r#"{{"format":1,"record":{}}}"#, record.replace(r#","new":1"#, ""));
        assert_eq!(json(&written), json(&then), "{kind}");
    }
}

#[test]
fn an_empty_record_is_no_file() {
    let room = Room::new();
    let (journal, lock) = journal(&room);
    for (kind, record) in recorded() {
        put(&journal, kind, &format!(r#"{{"format":1,"record":{record}}}"#));
    }
    let empty = [
        Record::Trial(None),
        Record::Committed(Vec::new()),
        Record::Refusals(Vec::new()),
        Record::Setback(None),
        Record::Rollback(None),
        Record::Retry(None),
        Record::Orphan(None),
        Record::Hold(None),
        Record::Pin(None),
    ];
    for record in empty {
        journal.write(&lock, &web(), &record).unwrap();
    }
    assert_eq!(journal.read(&web()), Records::default());
    assert!(journal.apps().unwrap().is_empty());
}

#[test]
fn an_unreadable_record_is_said_moved_aside_and_then_not_there() {
    let room = Room::new();
    let (journal, lock) = journal(&room);
    for (bad, word) in [
        ("", "EOF"),
        ("{\"format\":1,\"record\":{\"ser", "EOF"),
        ("{\"format\":1,\"record\":{\"serial\":\"x\"}}", "invalid type"),
        ("{\"format\":2,\"record\":{}}", "formats up to 1"),
        ("\0\0\0\0", "expected value"),
    ] {
        put(&journal, "trial", bad);
        let read = journal.read(&web());
        assert_eq!(read.trial, None);
        assert!(read.unreadable[0].problem.contains(word), "{bad}: {:?}", read.unreadable);
        let aside = journal.set_aside(&lock, &read.unreadable[0]).unwrap();
        assert!(aside.exists());
        assert_eq!(journal.read(&web()), Records::default());
    }
}

#[test]
fn what_runs_is_forgotten_with_the_boot() {
    let room = Room::new();
    let (mut journal, lock) = journal(&room);
    assert_eq!(journal.running(&web()), Running::default());
    let setup = Setup { tree: TREE.parse().unwrap(), tuning: Default::default(), version: None };
    let said = Said {
        outcome: Outcome::Failed,
        passes: 0,
        at: Duration::from_millis(1500),
        output: "connection refused".into(),
    };
    let running = Running {
        run: Run::Started { tree: setup.tree, at: Duration::from_secs(1) },
        said: BTreeMap::from([("http".to_owned(), said)]),
        trouble: None,
        untold: true,
        settings: Some("one".into()),
        tried: None,
        begun: Some(Begun { tree: setup.tree, times: 2, at: Duration::from_secs(3) }),
    };
    journal.keep_running(&lock, &web(), &running).unwrap();
    assert_eq!(journal.running(&web()), running);
    let file = journal.running.join("web.running.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "{").unwrap();
    assert_eq!(journal.running(&web()).run, Run::Unclear);
    std::fs::write(&file, text).unwrap();
    let told = Told {
        polled: Some((Timestamp::from_unix(7), Some("no answer".into()))),
        why: BTreeMap::from([(web(), ToldReason { code: "synced".into(), text: "all is well".into() })]),
    };
    journal.keep_told(&lock, &told).unwrap();
    assert_eq!(journal.told(), told);
    journal.boot = "another".into();
    assert_eq!(journal.told(), Told::default());
    assert_eq!(journal.running(&web()), Running::default());
}

#[test]
fn a_hold_of_everything_is_a_record_of_no_app_and_counts_by_the_boot_it_was_made_in() {
    let room = Room::new();
    let (mut journal, _lock) = journal(&room);
    let until = Until { wall: Timestamp::from_unix(9), boot: Some(Duration::from_secs(7)) };
    let hold = Hold { owner: "anna".into(), reason: "fair".into(), until };
    journal.ask_hold(None, &hold).unwrap();
    journal.ask_hold(Some(&web()), &hold).unwrap();
    assert_eq!(journal.apps().unwrap(), BTreeSet::from([web()]));
    let mut bad = Vec::new();
    assert_eq!(journal.hold(&mut bad), Some(hold.clone()));
    assert_eq!(journal.read(&web()).hold, Some(hold));
    journal.boot = "another".into();
    assert_eq!(journal.hold(&mut bad).unwrap().until.boot, None);
    std::fs::write(journal.records.join(HOLD), "{").unwrap();
    assert_eq!((journal.hold(&mut bad), bad.len()), (None, 1));
    journal.end_hold(None).unwrap();
    journal.end_hold(Some(&web())).unwrap();
    assert!(journal.apps().unwrap().is_empty());
}
