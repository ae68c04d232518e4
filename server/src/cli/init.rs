//! `init`: a fleet of one's own in a minute. Keys, a Git repository with a sample app that runs, and what to do next.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::{git, keys};

/// Why nothing was made, or not all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is there already.
    #[error("{} exists already: `init` makes a new fleet and touches nothing that is there", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A key cannot be made.
    #[error("cannot make the keys")]
    Keys(#[from] keys::Error),
    /// The repository cannot be made.
    #[error("cannot make the fleet repository")]
    Git(#[from] git::Error),
}

/// The keys of profile solo: room and name. Names are what `fleet.toml` calls them.
const KEYS: [(&str, &str); 6] = [
    ("offline", "offline"),
    ("owner", "owner"),
    ("builder", "builder"),
    ("online", "rollout"),
    ("online", "snapshot"),
    ("online", "timestamp"),
];

/// The files of the repository besides `fleet.toml`, and whether they can be run.
const FILES: [(&str, &str, bool); 8] = [
    ("README.md", include_str!("sample/README.md"), false),
    (".gitattributes", include_str!("sample/gitattributes"), false),
    ("environments/staging.toml", include_str!("sample/staging.toml"), false),
    ("environments/prod.toml", include_str!("sample/prod.toml"), false),
    ("apps/hello/app.toml", include_str!("sample/app.toml"), false),
    ("apps/hello/tree/release.toml", include_str!("sample/release.toml"), false),
    ("apps/hello/tree/greeting.txt", include_str!("sample/greeting.txt"), false),
    ("apps/hello/tree/hello", include_str!("sample/hello"), true),
];

/// The app whose releases pipelines hand in, where there is an environment that they move.
const PUSHED: (&str, &str) = (
    "apps/web/app.toml",
    "# Its releases are handed in by a pipeline: `tidelock-server push --app web --version 1.0.0 DIRECTORY`.\n",
);

/// Makes `directory`/fleet and `directory`/keys; what to tell the person who asked for it. The environments `pushed` are
/// owned by push: no file says what they want.
pub(super) fn make(directory: &Path, pushed: &[String]) -> Result<String, Error> {
    // Made here, so that only `keys` below it is closed to others: a web server may serve what stands beside it.
    fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
    let directory = &fs::canonicalize(directory).map_err(failed("find", directory))?;
    let (fleet, keys) = (directory.join("fleet"), directory.join("keys"));
    for path in [&fleet, &keys] {
        if path.exists() {
            return Err(Error::Exists { path: path.clone() });
        }
    }
    git::available()?;
    let mut names = Vec::new();
    for (room, name) in KEYS {
        let secret = keys::Secret::generate()?;
        secret.write_new(&keys.join(room).join(format!("{name}.pem")))?;
        names.push(format!("{name} = {:?}", secret.public_text()));
    }
    let mut rules = include_str!("sample/fleet.toml").replace("@KEYS@", &names.join("\n"));
    for name in pushed {
        let section = |owner: &str| format!("[environments.{name}]\nowner = \"{owner}\"\n");
        rules = rules.replace(&section("git"), &section("push"));
    }
    write(&fleet.join("fleet.toml"), &rules, false)?;
    let is_pushed = |path: &str| pushed.iter().any(|name| path == format!("environments/{name}.toml"));
    for (path, text, is_executable) in FILES.into_iter().filter(|(path, ..)| !is_pushed(path)) {
        write(&fleet.join(path), text, is_executable)?;
    }
    if !pushed.is_empty() {
        write(&fleet.join(PUSHED.0), PUSHED.1, false)?;
    }
    git::create(&fleet, "main", "A fleet with two environments and the app hello")?;
    Ok(told(directory, pushed))
}

fn told(directory: &Path, pushed: &[String]) -> String {
    // As it was called when the shell finds it by its name, otherwise by its whole path.
    let called = std::env::args().next().filter(|name| !name.contains('/'));
    let whole = || std::env::current_exe().ok().map(|path| path.to_string_lossy().into_owned());
    let program = called.or_else(whole).unwrap_or_else(|| "tidelock-server".into());
    let at = |name: &str| quoted(&directory.join(name).to_string_lossy());
    let places =
        format!("--fleet {} --keys {} --out {} --state {}", at("fleet"), at("keys"), at("out"), at("state"));
    let program = quoted(&program);
    let mut text = format!(
        "made {}: what runs where, as a Git repository with the app hello\n\
         made {}: private keys; whoever has them all can publish anything (docs/trust.md)\n\
         next, publish the first commit, then serve it (and everything that is committed later):\n  \
         {program} publish {places}\n  \
         {program} serve {places} --listen 127.0.0.1:8080",
        at("fleet"),
        at("keys"),
    );
    if !pushed.is_empty() {
        let environments: String = pushed.iter().map(|name| format!(" --env {name}")).collect();
        text.push_str(&format!(
            "\nnext, make the token of a pipeline; with it in TIDELOCK_TOKEN it runs \
             `tidelock-server push --server URL --app web --version 1.0.0{} DIRECTORY`:\n  \
             {program} token create ci --state {} --app web{environments} --expires 90d",
            pushed.first().map(|name| format!(" --env {name}")).unwrap_or_default(),
            at("state"),
        ));
    }
    text
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn write(path: &Path, text: &str, is_executable: bool) -> Result<(), Error> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
    }
    fs::write(path, text).map_err(failed("write", path))?;
    let mode = if is_executable { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("set the mode of", path))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("/a/b-1.2"), "/a/b-1.2");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
