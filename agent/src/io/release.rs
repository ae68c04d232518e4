//! A sealed release as the hands use it: what its `release.toml` says, whom it runs as, what it finds around it.
//!
//! Never here: when anything of it runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidelock_protocol::digest::Digest;
use tidelock_protocol::limits::RELEASE_BYTES;
use tidelock_protocol::names::AppName;
use tidelock_protocol::recipe::{self, Probe, Recipe};

use super::lock::Lock;
use super::service::{self, Job, Rest, Supervisor, Transient};
use super::units::{self, Files, Owner};
use super::user::{self, User};
use super::{adopt, disk};
use crate::config::{Paths, Settings};
use crate::decide::model::{Setup, is_itself};

/// What this device has and allows, as far as it concerns releases.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Where everything lies.
    pub paths: &'a Paths,
    /// What the owner says.
    pub settings: &'a Settings,
    /// Who starts apps.
    pub supervisor: Supervisor,
}

/// A sealed release that can run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// What it says about itself.
    pub recipe: Recipe,
    /// What it wants to lie in the service manager's directory.
    pub units: Files,
    tree: PathBuf,
    /// Whom its hooks and checks run as; none: as the agent itself.
    user: Option<User>,
    /// The files `KEY=value` of its environment; the later one wins.
    settings: [PathBuf; 2],
    data: PathBuf,
    /// The app and the state directory, where commands run in units.
    managed: Option<(AppName, PathBuf)>,
}

impl Release {
    /// The release of the sealed `tree`.
    ///
    /// # Errors
    /// Why it cannot be used on this device, in words.
    pub fn load(terms: Terms<'_>, app: &AppName, tree: &Digest) -> Result<Self, String> {
        let Terms { paths, settings, supervisor } = terms;
        let directory = paths.tree(app, tree);
        let mut text = String::new();
        let file = File::open(directory.join(recipe::FILE));
        match file.and_then(|file| file.take(RELEASE_BYTES + 1).read_to_string(&mut text)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err("the tree has none".into()),
            read => read.map_err(|error| error.to_string())?,
        };
        let recipe = Recipe::parse(&text)
            .map_err(|error| error.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let hooks = recipe.hooks.start.is_some() || recipe.hooks.stop.is_some();
        if is_itself(app) && (hooks || !recipe.units.is_empty()) {
            return Err(
                "it is the agent itself: the launcher starts it, and it has no hooks and no units".into()
            );
        }
        let adopted = adopt::is_adopted(&paths.release(app, tree));
        let may_be_root = adopted || settings.root_apps.contains(app);
        let user = if user::is_root() { user_of(&recipe, may_be_root, app)? } else { None };
        let owner = Owner {
            app,
            units: &recipe.units,
            allowed: &settings.units,
            may_be_root,
            user: recipe.user.as_deref().filter(|user| *user != "root"),
            app_env: paths.app_env(app),
            places: [paths.app(app), paths.credentials(app)],
            state: paths.state(),
            data: paths.data(app),
        };
        let units = units_of(&owner, &recipe, &directory, supervisor)?;
        let settings = [paths.app_env(app), paths.release(app, tree).join("release.env")];
        let managed = (supervisor == Supervisor::Systemd).then(|| (app.clone(), paths.state()));
        Ok(Self { recipe, units, tree: directory, user, settings, data: paths.data(app), managed })
    }

    /// A command of this release, ready to run.
    ///
    /// # Errors
    /// The device's settings for the app cannot be read, in words.
    pub fn job<'a>(&self, command: &'a [String], timeout: Duration, rest: Rest) -> Result<Job<'a>, String> {
        let mut environment = BTreeMap::from([("HOME".to_owned(), self.data.display().to_string())]);
        let unit = self.managed.as_ref().map(|(app, state)| Transient {
            name: match rest {
                Rest::LivesOn => Transient::of_start(app.as_str()),
                Rest::Ends => Transient::of_run(app.as_str()),
            },
            settings: self.settings.to_vec(),
            state: state.clone(),
            data: self.data.clone(),
        });
        if let Some(user) = &self.user {
            environment.insert("USER".into(), user.name.clone());
            environment.insert("LOGNAME".into(), user.name.clone());
        }
        for path in self.settings.iter().filter(|_| unit.is_none()) {
            let found = service::environment_file(path);
            environment.extend(found.map_err(|error| format!("cannot read {}: {error}", path.display()))?);
        }
        let (directory, user) = (self.tree.clone(), self.user.clone());
        Ok(Job { command, directory, environment, user, timeout, rest, unit })
    }

    /// What a check asks, with the names that units have on the device.
    pub fn on_device(&self, probe: Probe) -> Probe {
        let own = |unit: String| match &self.managed {
            Some((app, _)) => units::on_device(app, &self.recipe.units, &unit),
            None => unit,
        };
        match probe {
            Probe::Unit(unit) => Probe::Unit(own(unit)),
            Probe::LastRun(unit) => Probe::LastRun(own(unit)),
            probe => probe,
        }
    }

    /// Makes the app's own data directory, which belongs to the user of the release.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn make_data(&self, _lock: &Lock) -> Result<(), disk::Error> {
        let failed = |source| disk::Error { what: "keep others out of", path: self.data.clone(), source };
        // Who owns the device may open it up afterwards.
        if !self.data.is_dir() {
            disk::create_directories(&self.data)?;
            std::fs::set_permissions(&self.data, std::fs::Permissions::from_mode(0o750)).map_err(failed)?;
        }
        let Some(user) = &self.user else { return Ok(()) };
        let failed = |source| disk::Error { what: "give to its user", path: self.data.clone(), source };
        std::os::unix::fs::chown(&self.data, Some(user.uid), Some(user.gid)).map_err(failed)
    }
}

/// What tells this device's settings and secrets for an app from others: which files there are, and since when. Nothing
/// of what they say is read.
pub fn settings(paths: &Paths, app: &AppName) -> String {
    let secrets = std::fs::read_dir(paths.credentials(app)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = secrets.map(|entry| entry.path()).chain([paths.app_env(app)]).collect();
    files.sort_unstable();
    let told = |path: &PathBuf| {
        let found = path.metadata().ok()?;
        let (inode, size) = (found.ino(), found.size());
        Some(format!("{} {inode} {size} {} {}\n", path.display(), found.mtime(), found.mtime_nsec()))
    };
    let text: String = files.iter().filter_map(told).collect();
    if text.is_empty() { text } else { Digest::of(text.as_bytes()).to_string() }
}

/// Writes the `release.env` of a staged release; it becomes durable with the tree.
///
/// # Errors
/// Whatever the system says.
pub fn write_environment(
    _lock: &Lock,
    paths: &Paths,
    app: &AppName,
    setup: &Setup,
) -> Result<(), disk::Error> {
    let path = paths.staged(app, &setup.tree).join("release.env");
    disk::remove(&path)?;
    let version = setup.version.as_ref().map_or("unknown", |version| version.as_str());
    let text = format!(
        "TIDELOCK_APP={app}\nTIDELOCK_VERSION={version}\nTIDELOCK_RELEASE={}\nTIDELOCK_DATA={}\n",
        paths.release(app, &setup.tree).display(),
        paths.data(app).display()
    );
    let mut file = disk::NewFile::create(&path)?;
    file.write_all(text.as_bytes()).map_err(|source| disk::Error { what: "write", path, source })?;
    file.finish(0o444)
}

/// The units of a release, where there is somebody to run them; and whether its checks ask only about such as they may.
fn units_of(
    owner: &Owner<'_>,
    recipe: &Recipe,
    tree: &Path,
    supervisor: Supervisor,
) -> Result<Files, String> {
    let asked = recipe.checks.iter().filter_map(|check| match &check.probe {
        Probe::Unit(unit) | Probe::LastRun(unit) => Some(unit),
        _ => None,
    });
    let mut asked = asked.peekable();
    if supervisor == Supervisor::Hooks {
        return match (recipe.units.is_empty(), asked.peek()) {
            (true, None) => Ok(Files::new()),
            _ => Err("it needs units of systemd, and here is no systemd that obeys this agent".into()),
        };
    }
    match asked.find(|unit| !units::may_ask(owner, unit)) {
        Some(unit) => {
            Err(format!("a check asks about {unit}, which is not its own and not in `allow_units` here"))
        }
        None => units::wanted(owner, recipe, tree),
    }
}

/// The user of a release on an agent that is root.
fn user_of(recipe: &Recipe, may_be_root: bool, app: &AppName) -> Result<Option<User>, String> {
    match recipe.user.as_deref().filter(|name| *name != "root") {
        Some(name) => match user::named(name).map_err(|error| error.to_string())? {
            Some(user) if user.uid != 0 => Ok(Some(user)),
            Some(_) => Err(format!("its user {name} is root by another name")),
            None => Err(format!("this device has no user {name}")),
        },
        None if may_be_root || !runs_commands(recipe) => Ok(None),
        None => Err(format!(
            "it would run as root: let it name a `user`, or name {app} in `allow_root_apps` here"
        )),
    }
}

/// Whether anything of the release's is run: files alone need no user.
fn runs_commands(recipe: &Recipe) -> bool {
    let hooks = recipe.hooks.start.is_some() || recipe.hooks.stop.is_some();
    hooks || recipe.checks.iter().any(|check| matches!(check.probe, Probe::Command(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fragment, Merged};
    use crate::room::Room;

    fn settings(paths: &Paths) -> Settings {
        let text = "url = \"http://h\"\nenvironment = \"prod\"\nallow_root_apps = [\"web\"]\n".to_owned();
        let merged = Merged::of(&[Fragment { path: "c".into(), text }]).unwrap();
        Settings::of(&merged, paths).unwrap()
    }

    fn settings_of(paths: &Paths, app: &AppName) -> String {
        super::settings(paths, app)
    }

    fn load(paths: &Paths, app: &AppName, tree: &Digest) -> Result<Release, String> {
        let supervisor = Supervisor::Hooks;
        Release::load(Terms { paths, settings: &settings(paths), supervisor }, app, tree)
    }

    fn put(room: &Room, path: PathBuf, text: &str) {
        assert!(path.starts_with(room.path()));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_release_says_why_it_cannot_be_used() {
        let room = Room::new();
        let paths = Paths::under(room.path());
        let (web, tree): (AppName, _) = ("web".parse().unwrap(), Digest::of(b"tree"));
        let load = || load(&paths, &web, &tree);
        assert_eq!(load().unwrap_err(), "the tree has none");
        for (text, said) in [
            ("format = 1\nhoks = 1", "line 2: unknown key `hoks`"),
            ("format = 1\nunits = [\"web.service\"]", "no systemd"),
            ("\u{0}", "line 1"),
        ] {
            put(&room, paths.tree(&web, &tree).join("release.toml"), text);
            let found = load().unwrap_err();
            assert!(found.contains(said), "{found}");
        }
    }

    #[test]
    fn root_is_only_for_apps_that_the_owner_allows_it_to() {
        let web: AppName = "web".parse().unwrap();
        let (none, allowed) = (false, true);
        let of = |user: Option<&str>, apps| {
            let user = user.map(str::to_owned);
            let runs = "format = 1\n[[check]]\nname = \"own\"\ncommand = \"true\"";
            user_of(&Recipe { user, ..Recipe::parse(runs).unwrap() }, apps, &web)
        };
        let files = "format = 1\n[[check]]\nname = \"open\"\ntcp = \"localhost:80\"";
        assert_eq!(user_of(&Recipe::parse(files).unwrap(), none, &web), Ok(None), "it runs nothing");
        assert!(of(None, none).unwrap_err().contains("allow_root_apps"));
        assert!(of(Some("root"), none).unwrap_err().contains("allow_root_apps"));
        assert_eq!(of(None, allowed), Ok(None));
        assert_eq!(of(Some("daemon"), none).unwrap().unwrap().name, "daemon");
        assert!(of(Some("no-such-user"), allowed).unwrap_err().contains("no user"));
    }

    #[test]
    fn the_agent_s_own_words_win_over_the_device_s_settings() {
        let room = Room::new();
        let paths = Paths::under(room.path());
        let (web, tree): (AppName, _) = ("web".parse().unwrap(), Digest::of(b"tree"));
        let lock = Lock::take(&paths.lock()).unwrap().unwrap();
        let setup = Setup { tree, tuning: Default::default(), version: Some("1.4.2".parse().unwrap()) };
        disk::create_directories(&paths.staged(&web, &tree)).unwrap();
        write_environment(&lock, &paths, &web, &setup).unwrap();
        write_environment(&lock, &paths, &web, &setup).unwrap();
        std::fs::rename(paths.staged(&web, &tree), paths.release(&web, &tree)).unwrap();
        put(&room, paths.tree(&web, &tree).join("release.toml"), "format = 1");
        put(&room, paths.app_env(&web), "PORT=81\nTIDELOCK_APP=other\n");
        let before = settings_of(&paths, &web);
        std::fs::create_dir_all(paths.credentials(&web)).unwrap();
        std::fs::write(paths.credentials(&web).join("token"), "s").unwrap();
        assert_ne!(settings_of(&paths, &web), before);
        assert_eq!(settings_of(&paths, &"api".parse().unwrap()), "");
        let release = load(&paths, &web, &tree).unwrap();
        let job = release.job(&[], Duration::from_secs(1), Rest::Ends).unwrap();
        assert_eq!(job.environment["PORT"], "81");
        assert_eq!(job.environment["TIDELOCK_APP"], "web");
        assert_eq!(job.environment["TIDELOCK_VERSION"], "1.4.2");
        assert_eq!(job.environment["TIDELOCK_RELEASE"], paths.release(&web, &tree).to_str().unwrap());
        release.make_data(&lock).unwrap();
        assert!(paths.data(&web).is_dir());
    }
}
