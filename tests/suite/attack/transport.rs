//! The way between: everything that a bad network, proxy or server does to answers. The device must notice, keep what it
//! believes, tell what happened, and be well again when the network is.

use tidelock::io::http::{self, Answer, Ask};
use tidelock_tests::faults::{Fault, Proxy};

use super::*;

/// A world behind a proxy.
fn behind(world: &mut World) -> Proxy {
    let proxy = Proxy::before(world.site.address(), None);
    world.http = client(&proxy.url());
    proxy
}

/// What kind of failure `fault` on the file whose name contains `part` leads to, when a new release is published.
fn kind(world: &mut World, part: &str, fault: Fault) -> Option<http::Kind> {
    let proxy = behind(world);
    proxy.always(part, fault);
    let answer = world.after(|repository| {
        repository.release("2");
        repository.publish_release();
    });
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error:?}");
    assert_eq!(world.believes(), "1", "half a walk takes nothing away");
    proxy.heal();
    world.update().unwrap();
    assert_eq!(world.believes(), "2");
    match error {
        Failure::Http(error) => error.kind().cloned(),
        _ => None,
    }
}

attacks! {
    a_connection_that_ends_at_once_is_no_news(world) {
        assert_eq!(kind(&mut world, "timestamp", Fault::HangUp), Some(http::Kind::Cut));
    }

    a_server_that_asks_to_be_left_alone_is_heard(world) {
        let proxy = behind(&mut world);
        proxy.always("timestamp", Fault::RetryAfter(503, 120));
        let error = world.update().unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
        assert_eq!(error.kind(), Kind::Unreachable);
    }

    a_broken_server_is_no_news(world) {
        let found = kind(&mut world, "timestamp", Fault::Status(502));
        assert_eq!(found, Some(http::Kind::Status { code: 502, retry_after: None }));
    }

    a_slow_loris_is_left(world) {
        assert_eq!(kind(&mut world, "2.snapshot", Fault::Trickle(1)), Some(http::Kind::Slow));
    }

    a_silent_server_is_left(world) {
        assert_eq!(kind(&mut world, "2.snapshot", Fault::Stall(10)), Some(http::Kind::TimedOut));
    }

    headers_that_do_not_come_are_not_waited_for(world) {
        let found = kind(&mut world, "timestamp", Fault::Delay(Duration::from_secs(3)));
        assert_eq!(found, Some(http::Kind::TimedOut));
    }

    an_endless_body_is_cut(world) {
        let limit = 16 * 1024;
        assert_eq!(kind(&mut world, "timestamp", Fault::Endless), Some(http::Kind::TooLong { limit }));
    }

    a_cut_connection_is_no_news(world) {
        assert_eq!(kind(&mut world, "2.env.prod", Fault::Cut(100)), Some(http::Kind::Cut));
    }

    a_page_for_people_is_no_metadata(world) {
        for part in ["timestamp", "2.root"] {
            let proxy = behind(&mut world);
            proxy.always(part, Fault::Html);
            let answer = world.after(|repository| repository.publish(&["timestamp"]));
            let error = answer.unwrap_err();
            assert!(matches!(error, Failure::WebPage { .. }), "{error:?}");
            assert_eq!(error.kind(), Kind::Unreachable);
        }
    }

    a_proxy_that_compresses_is_named(world) {
        let found = kind(&mut world, "timestamp", Fault::Gzip);
        assert_eq!(found, Some(http::Kind::Encoded("gzip".into())));
    }

    redirects_in_a_circle_end(world) {
        let found = kind(&mut world, "timestamp", Fault::Redirect);
        assert!(matches!(found, Some(http::Kind::Redirect(_))), "{found:?}");
    }

    a_truncated_file_that_claims_to_be_whole_is_not_believed(world) {
        let proxy = behind(&mut world);
        for part in ["timestamp", "snapshot", "env.prod.json", "desired"] {
            proxy.heal();
            proxy.always(part, Fault::Truncate(50));
            let answer = world.after(|repository| {
                repository.release("2");
                repository.publish_release();
            });
            assert_eq!(answer.unwrap_err().kind(), Kind::Unverified, "{part}");
        }
        proxy.heal();
        world.update().unwrap();
    }

    one_wrong_bit_is_not_believed(world) {
        let proxy = behind(&mut world);
        for part in ["timestamp", "snapshot", "env.prod.json", "desired"] {
            proxy.heal();
            proxy.always(part, Fault::Corrupt(60));
            let answer = world.after(|repository| {
                repository.release("2");
                repository.publish_release();
            });
            assert_eq!(answer.unwrap_err().kind(), Kind::Unverified, "{part}");
        }
        proxy.heal();
        world.update().unwrap();
    }

    nobody_there_is_no_news(world) {
        world.http = client("http://127.0.0.1:1");
        let Failure::Http(error) = world.update().unwrap_err() else { panic!() };
        assert_eq!(error.kind(), Some(&http::Kind::Refused));
        assert_eq!(world.believes(), "1");
    }
}

/// What a question for bytes 2–5 of a file of ten leads to.
fn part_through(fault: Option<Fault>) -> Result<Answer, http::Error> {
    let mut repository = Repository::tidelock();
    repository.files.insert("targets/file".into(), b"0123456789".to_vec());
    let site = Site::serve(repository);
    let proxy = Proxy::before(site.address(), None);
    if let Some(fault) = fault {
        proxy.always("file", fault);
    }
    let ask = Ask { range: Some(2..6), limit: 100, deadline: Duration::from_secs(5), etag: None };
    client(&proxy.url()).get("targets/file", &ask)
}

#[test]
fn a_range_is_answered_with_that_part() {
    let Answer::Part { range, total, body } = part_through(None).unwrap() else { panic!() };
    assert_eq!((range, total, body.into_bytes().unwrap()), (2..6, Some(10), b"2345".to_vec()));
}

#[test]
fn a_range_that_lies_is_refused() {
    let error = part_through(Some(Fault::WrongRange)).unwrap_err();
    assert_eq!(error.kind(), Some(&http::Kind::Range));
}

#[test]
fn a_server_that_knows_no_ranges_gives_the_whole() {
    let Answer::Whole { body, length, .. } = part_through(Some(Fault::NoRange)).unwrap() else { panic!() };
    assert_eq!((length, body.into_bytes().unwrap()), (Some(10), b"0123456789".to_vec()));
}
