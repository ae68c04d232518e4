//! tidelock's own rules above TUF: which role may say what, and that environment and builder must agree.

use serde_json::json;
use tidelock_protocol::desired;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::release::Disagreement;
use tidelock_protocol::trust::Error;

use super::*;

/// Changes what the app's role says of a file of release 2, which `prod` wants; then asks for that release.
fn release_after(world: &mut World, change: impl FnOnce(&mut Repository)) -> Result<ReleaseTargets, Failure> {
    world.after(|repository| {
        repository.release("2");
        change(repository);
        repository.publish_release();
    })?;
    world.release()
}

attacks! {
    a_release_on_which_both_agree_is_taken(world) {
        let targets = release_after(&mut world, |_| ()).unwrap();
        assert_eq!((targets.counter, targets.tree), (2, Digest::of(b"2")));
        assert_eq!(targets.bundle.name, "app.web.2.any.tar.gz");
        let bytes = &world.site.repository().files[&targets.index.path()];
        assert_eq!((bytes.len() as u64, Digest::of(bytes)), (targets.index.length, targets.index.sha256));
    }

    an_environment_cannot_bring_an_index_that_the_builder_did_not_sign(world) {
        let found = release_after(&mut world, |repository| repository.want(|desired| {
            let web = desired.apps.get_mut(&"web".parse().unwrap()).unwrap();
            let build = web[0].stable.platforms.values_mut().next().unwrap();
            build.index.sha256 = Digest::of(b"the approvers' own");
        }));
        let error = found.unwrap_err();
        assert!(matches!(&error, Failure::Disagreement(Disagreement::Differ { what: "the SHA-256", .. })));
        assert_eq!(error.kind(), Kind::Disagreed);
    }

    a_builder_cannot_change_a_release_that_was_approved(world) {
        let found = release_after(&mut world, |repository| {
            repository.target("app.web", "app.web.2.any.index", b"the builder's own");
        });
        assert!(matches!(found, Err(Failure::Disagreement(_))), "{found:?}");
    }

    a_builder_cannot_put_another_tree_under_an_approved_index(world) {
        let found = release_after(&mut world, |repository| {
            repository["app.web"]["targets"]["app.web.2.any.tar.gz"]["custom"]["tidelock"]["tree"] = json!(Digest::of(b"x"));
        });
        assert!(matches!(found, Err(Failure::Disagreement(Disagreement::Differ { what: "the tree digest", .. }))));
    }

    an_environment_cannot_want_the_index_of_another_release(world) {
        let found = release_after(&mut world, |repository| repository.want(|desired| {
            let web = desired.apps.get_mut(&"web".parse().unwrap()).unwrap();
            web[0].stable.platforms.values_mut().next().unwrap().index.name = "app.web.1.any.index".into();
        }));
        assert!(matches!(found, Err(Failure::Disagreement(Disagreement::Name { .. }))));
    }

    a_release_that_the_builder_did_not_register_is_nowhere(world) {
        let found = release_after(&mut world, |repository| {
            repository["app.web"]["targets"].as_object_mut().unwrap().remove("app.web.2.any.tar.gz");
        });
        assert!(matches!(found, Err(Failure::Nowhere { name }) if name == "app.web.2.any.tar.gz"));
    }

    a_file_that_a_role_above_names_is_not_the_builders(world) {
        let found = release_after(&mut world, |repository| {
            let own = repository["app.web"]["targets"]["app.web.2.any.index"].clone();
            repository["targets"]["targets"]["app.web.2.any.index"] = own;
            repository.publish(&["targets"]);
        });
        assert!(matches!(found, Err(Failure::Disagreement(Disagreement::Role { .. }))), "{found:?}");
    }

    another_role_cannot_speak_for_the_environment(world) {
        let answer = world.after(|repository| {
            let own = repository["env.prod"]["targets"]["env.prod.desired.json"].clone();
            repository["targets"]["targets"]["env.prod.desired.json"] = own;
            repository.publish(&["targets", "snapshot", "timestamp"]);
        });
        assert!(matches!(answer, Err(Failure::WrongRole { .. })), "{answer:?}");
    }

    the_desired_state_of_another_environment_is_not_applied(world) {
        let answer = world.after(|repository| {
            repository.want(|desired| desired.environment = "staging".parse().unwrap());
            repository.publish_release();
        });
        assert!(matches!(answer, Err(Failure::Desired(desired::Error::Environment { .. }))), "{answer:?}");
    }

    a_desired_state_of_a_newer_format_applies_nothing(world) {
        let answer = world.after(|repository| {
            repository.want(|desired| desired.format = 2);
            repository.publish_release();
        });
        let error = answer.unwrap_err();
        assert!(matches!(error, Failure::Desired(desired::Error::Format { found: 2 })));
    }

    other_bytes_than_the_signed_desired_state_are_refused(world) {
        world.site.lie("env.prod.desired.json", Reply::Bytes(br#"{"format":1}"#.to_vec()));
        let answer = world.after(|repository| {
            repository.release("2");
            repository.publish_release();
        });
        disbelieved!(answer, Error::Length { .. } | Error::Digest { .. });
    }

    an_environment_cannot_name_files_of_an_app(world) {
        let found = release_after(&mut world, |repository| {
            let own = repository["app.web"]["targets"].as_object_mut().unwrap().remove("app.web.2.any.index").unwrap();
            repository["env.prod"]["targets"]["app.web.2.any.index"] = own;
        });
        assert!(matches!(found, Err(Failure::Nowhere { .. })), "{found:?}");
    }

    expired_builders_install_nothing_new_and_still_bring_back_what_was_committed(world) {
        let found = release_after(&mut world, |repository| repository["app.web"]["expires"] = day(1));
        let taken = found.unwrap();
        world.reading = reading(2);
        disbelieved!(world.release(), Error::Expired { .. });
        let manifest = world.trust.manifest(&prod()).unwrap();
        let (app, platform) = ("web".parse().unwrap(), Platform::any());
        let release = &manifest.desired.apps[&app][0].stable;
        let wanted = WantedBuild { app: &app, version: &release.version, platform: &platform, build: &release.platforms[&platform] };
        let again = world.trust.release(&world.http, wanted, Expiry::Ignored, world.reading);
        assert_eq!(again.unwrap(), taken);
    }
}

#[test]
fn the_root_is_asked_for_before_anything_is_installed_unless_it_just_was() {
    let mut world = World::new(Order::TimestampFirst);
    world.release().unwrap();
    assert_eq!(world.site.take_asked().join(" "), "1.app.web", "the first walk was just now");
    world.reading.boot += Duration::from_secs(3600);
    world.release().unwrap();
    assert_eq!(world.site.take_asked().join(" "), "2.root timestamp");
    world.restart();
    world.release().unwrap();
    assert_eq!(world.site.take_asked().join(" "), "2.root timestamp", "a new process does not know");
}
