//! The examples of the documentation are read, and every kind of mistake is found with its line.

use super::*;

const FLEET: &str = include_str!("example/fleet.toml");
const ENVIRONMENT: &str = include_str!("example/environment.toml");
const APP: &str = include_str!("example/app.toml");

fn example() -> Texts {
    let mut texts = Texts::from([
        ("fleet.toml".to_owned(), FLEET.into()),
        ("environments/prod.toml".to_owned(), ENVIRONMENT.into()),
        ("environments/staging.toml".to_owned(), b"[apps]\n".to_vec()),
        ("apps/proxy/app.toml".to_owned(), Vec::new()),
    ]);
    for app in ["hello", "web", "db"] {
        texts.insert(format!("apps/{app}/app.toml"), format!("path = \"apps/{app}/tree/\"\n").into());
    }
    texts.insert("apps/api/app.toml".to_owned(), APP.into());
    texts
}

fn problems_of(texts: &Texts) -> Vec<String> {
    let mut problems = Problems::default();
    let apps = apps(texts, &mut problems);
    let fleet = fleet(texts, &mut problems);
    for (name, role) in fleet.iter().flat_map(|fleet| &fleet.environments) {
        if role.owner == Owner::Git {
            environment(texts, name, &apps, &mut problems);
        }
    }
    let found = problems.settle().err().unwrap_or_default();
    found.0.iter().map(|problem| format!("{}: {}", problem.place, problem.message)).collect()
}

#[test]
fn the_examples_are_read() {
    let texts = example();
    assert_eq!(problems_of(&texts), Vec::<String>::new());
    let mut problems = Problems::default();
    let fleet = fleet(&texts, &mut problems).unwrap();
    assert_eq!((fleet.root.threshold, fleet.root.keys.len(), fleet.retained), (2, 3, 20));
    assert_eq!(fleet.resign.as_secs(), 6 * 3600);
    let apps = apps(&texts, &mut problems);
    assert_eq!(apps.len(), 5);
    let Origin::Paths(paths) = &apps[&"web".parse().unwrap()].origin else { panic!("a path app") };
    assert_eq!(paths[&"any".parse().unwrap()].value, "apps/web/tree");
    let prod = environment(&texts, &"prod".parse().unwrap(), &apps, &mut problems).unwrap();
    assert_eq!(prod.branch.unwrap().value, "release");
    let api = &prod.apps[&"api".parse().unwrap()][0];
    assert_eq!((api.retry, api.floor, api.tuning.deadline), (1, 12, Some(90)));
    let proxy = &prod.apps[&"proxy".parse().unwrap()];
    assert_eq!(proxy[0].wish.place.line, 13);
    assert_eq!(proxy[1].wish.value, Wish::Version("1.9.4".parse().unwrap()));
}

#[test]
fn every_problem_is_named_at_once_with_file_and_line() {
    let mut texts = example();
    let fleet = FLEET
        .replace("threshold = 2\nlife", "treshold = 2\nlife")
        .replace("keys = [\"ci\"]\n\n[roles.rollout]", "keys = [\"cy\"]\n\n[roles.rollout]")
        .replace("resign = \"6h\"", "resign = \"6 hours\"")
        .replace("owner = \"push\"", "owner = \"pull\"");
    texts.insert("fleet.toml".into(), fleet.into());
    texts.insert("environments/nowhere.toml".into(), Vec::new());
    texts.insert("apps/db/app.toml".into(), b"path = \"../outside\"\npaht = 1\n".to_vec());
    texts.insert("apps/Web/app.toml".into(), b"path = \"x\"\n".to_vec());
    texts.insert("apps/api/app.toml".into(), b"path = 1\n[platforms]\nwindows = \"x\"\n".to_vec());
    let found = problems_of(&texts);
    let has = |start: &str, part: &str| {
        assert!(
            found.iter().any(|line| line.starts_with(start) && line.contains(part)),
            "{start} {part}: {found:#?}"
        );
    };
    has("fleet.toml:19:", "unknown key `roles.root.treshold`; did you mean `threshold`?");
    has("fleet.toml:23:", "[keys] has no \"cy\"; did you mean `ci`?");
    has("fleet.toml:35:", "a span of time");
    has("fleet.toml:47:", "expected \"git\" or \"push\"");
    has("apps/db/app.toml:1:", "no directory of this repository");
    has("apps/Web/app.toml:", "not an app name");
    has("apps/api/app.toml:2:", "beside `path`");
    has("apps/api/app.toml:3:", "is not a platform");
    assert!(found.len() >= 10, "{found:#?}");
}

#[test]
fn an_environment_names_apps_releases_and_bounds_that_exist() {
    let mut texts = example();
    let prod = "[apps]\nhelo = \"follow\"\nweb = \"1+2\"\ndb = \"tree:abc\"\nproxy = []\n\
        [[apps.api]]\nrelease = \"tree:9f2c1e7b9f2c1e7b9f2c1e7b9f2c1e7b9f2c1e7b\"\n\
        [[apps.api]]\nwhere = { site = 1 }\nrelease = \"1\"\ntuning = { deadline = 0, dedline = 1 }\n";
    texts.insert("environments/prod.toml".into(), prod.into());
    texts.insert("environments/lab.toml".into(), Vec::new());
    texts.remove("environments/staging.toml");
    let found = problems_of(&texts);
    for (start, part) in [
        ("environments/prod.toml:2:", "did you mean `hello`?"),
        ("environments/prod.toml:3:", "is not a version"),
        ("environments/prod.toml:4:", "full Git tree id"),
        ("environments/prod.toml:5:", "is empty"),
        ("environments/prod.toml:7:", "one per platform"),
        ("environments/prod.toml:9:", "a label's value as a string"),
        ("environments/prod.toml:11:", "from 1 to 86400"),
        ("environments/prod.toml:11:", "did you mean `deadline`?"),
        ("environments/lab.toml:", "owned by push"),
        ("environments/staging.toml:", "is missing"),
    ] {
        assert!(
            found.iter().any(|line| line.starts_with(start) && line.contains(part)),
            "{start} {part}: {found:#?}"
        );
    }
}

#[test]
fn a_choice_behind_one_that_takes_everything_is_a_problem() {
    let mut texts = example();
    let prod = "[[apps.web]]\nrelease = \"1\"\n[[apps.web]]\nwhere = { site = \"a\" }\nrelease = \"2\"\n";
    texts.insert("environments/prod.toml".into(), prod.into());
    assert!(
        problems_of(&texts).iter().any(|line| line.contains("line 5 is never reached")),
        "{:?}",
        problems_of(&texts)
    );
}

#[test]
fn broken_files_are_named_by_line_and_nothing_else_is_guessed_about_them() {
    let mut texts = example();
    texts.insert("fleet.toml".into(), b"format = 1\n[keys\nx = \n".to_vec());
    texts.insert("apps/web/app.toml".into(), b"path = \"a\"\n\xff\n".to_vec());
    texts.insert("apps/db/app.toml".into(), b"path = \"a\"\npath = \"b\"\n".to_vec());
    let found = problems_of(&texts);
    assert!(found.iter().any(|line| line.starts_with("fleet.toml:2:")), "{found:#?}");
    assert!(found.iter().any(|line| line.starts_with("apps/web/app.toml:2:")), "{found:#?}");
    assert!(found.iter().any(|line| line.starts_with("apps/db/app.toml:2:")), "{found:#?}");
    assert!(!found.iter().any(|line| line.contains("`roles` is missing")), "{found:#?}");
    texts.remove("fleet.toml");
    assert!(problems_of(&texts).iter().any(|line| line.starts_with("fleet.toml: is missing")));
}

#[test]
fn one_key_under_two_names_is_a_problem() {
    let mut texts = example();
    let twice = FLEET.replace(
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    );
    texts.insert("fleet.toml".into(), twice.into());
    assert!(problems_of(&texts).iter().any(|line| line.contains("is the same key as `keys.anna`")));
}
