//! A repository, local or fetched into a bare cache, and its commits.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::time::Timestamp;

use super::address::{git_directory, is_branch, is_scp_like, percent_decoded, without_password};
use super::blobs::Blobs;
use super::command::{FETCH, Git};
use super::fetch::configuration;
use super::tree::{Entry, Kind};
use super::{Error, Published};

/// Most paths that one command is asked for: a command line has an end.
const ARGUMENTS: usize = 400;

/// Full id of a Git object: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(String);

/// A commit and what a manifest says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: ObjectId,
    /// `Name <mail>` of its author.
    pub author: String,
    /// When it was committed.
    pub time: Timestamp,
    /// First line of its message.
    pub subject: String,
    /// The branch that it is the head of.
    pub branch: String,
}

/// A Git repository that is only read.
#[derive(Debug)]
pub struct Repository {
    pub(super) git: Git,
    pub(super) remote: Option<Remote>,
    /// Heads that branches do not have, but would.
    pretended: BTreeMap<String, ObjectId>,
    /// Heads that were asked for.
    heads: BTreeMap<String, Commit>,
    /// What is known of two commits: environments of one branch ask the same. Commits never change.
    relations: RefCell<BTreeMap<(ObjectId, ObjectId), Published>>,
    blobs: RefCell<Option<Blobs>>,
}

#[derive(Debug)]
pub(super) struct Remote {
    pub(super) address: String,
    /// Branches fetched since the repository was opened.
    pub(super) fetched: BTreeSet<String>,
}

impl Repository {
    /// Opens `source`: a path or `file://` of a repository on this machine (bare or not; only its objects and branches
    /// are read), or `http(s)://`, `ssh://` or `user@host:path`, fetched into a bare cache below `cache`.
    ///
    /// # Errors
    /// No `git`, nothing there, or the cache cannot be made. A remote is not asked yet.
    pub fn open(source: &str, cache: &Path) -> Result<Self, Error> {
        let refused = || Error::NotARepository { source_text: source.to_owned() };
        let scheme = source.split_once("://").map(|(scheme, _)| scheme);
        match scheme {
            Some("http" | "https" | "ssh") => Self::remote(source, cache),
            Some("file") => {
                let path = source.trim_start_matches("file://").trim_start_matches("localhost");
                Self::local(&percent_decoded(path).ok_or_else(refused)?, source)
            }
            Some(_) => Err(refused()),
            None if Path::new(source).exists() => Self::local(Path::new(source), source),
            None if is_scp_like(source) => Self::remote(source, cache),
            None => Err(refused()),
        }
    }

    fn local(path: &Path, source: &str) -> Result<Self, Error> {
        let directory =
            git_directory(path).ok_or_else(|| Error::NotARepository { source_text: source.to_owned() })?;
        let git = Git::at(&directory, source);
        git.ask("open the repository", &["rev-parse", "--git-dir"])?;
        Ok(Self::at(git, None))
    }

    fn remote(address: &str, cache: &Path) -> Result<Self, Error> {
        let directory = cache.join(Digest::of(address.as_bytes()).short());
        std::fs::create_dir_all(&directory)
            .map_err(|source| Error::Cache { path: directory.clone(), source })?;
        let git = Git::at(&directory, &without_password(address)).from(address, &configuration(address));
        // Harmless where it exists, and it mends a cache that was half made.
        git.ask("make its cache", &["init", "--quiet", "--bare"])?;
        let remote = Some(Remote { address: address.to_owned(), fetched: BTreeSet::new() });
        Ok(Self::at(git, remote))
    }

    fn at(git: Git, remote: Option<Remote>) -> Self {
        let (pretended, heads, relations, blobs) = Default::default();
        Self { git, remote, pretended, heads, relations, blobs }
    }

    /// The address of a repository that is fetched.
    pub(super) fn address(&self) -> Option<&str> {
        self.remote.as_ref().map(|remote| remote.address.as_str())
    }

    /// How messages call it: the source as given, without a password.
    pub fn label(&self) -> &str {
        self.git.label()
    }

    /// From now on, `commit` (as `git rev-parse` takes it) is the head of `branch` for whoever asks here.
    ///
    /// # Errors
    /// There is no such commit.
    pub fn pretend(&mut self, branch: &str, commit: &str) -> Result<(), Error> {
        const WHAT: &str = "find the commit";
        if !is_branch(branch) {
            return Err(Error::NotABranch(branch.to_owned()));
        }
        self.fetch(branch)?;
        let name = format!("{commit}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &name];
        let found = self.git.run(WHAT, &args, super::command::LOCAL)?;
        if !found.status.success() {
            return Err(self.git.failed(WHAT, format!("there is none called {commit:?}")));
        }
        let id = self.object_id(WHAT, &found.stdout)?;
        self.pretended.insert(branch.to_owned(), id);
        Ok(())
    }

    /// From now on, the commit `id`, which was read before, is the head of `branch` for whoever asks here; the remote is
    /// not asked.
    ///
    /// # Errors
    /// It is not here any more.
    pub fn pin(&mut self, branch: &str, id: &str) -> Result<(), Error> {
        const WHAT: &str = "find the commit that was read last";
        match id.parse() {
            Ok(id) if self.holds(&id)? => drop(self.pretended.insert(branch.to_owned(), id)),
            _ => return Err(self.git.failed(WHAT, format!("{id} of {branch} is not here any more"))),
        }
        Ok(())
    }

    /// The commit at the head of `branch`, fetched first if the repository is remote; the same for as long as the repository
    /// is open.
    ///
    /// # Errors
    /// No such branch, or git failed.
    pub fn head(&mut self, branch: &str) -> Result<Commit, Error> {
        if !is_branch(branch) {
            return Err(Error::NotABranch(branch.to_owned()));
        }
        if let Some(id) = self.pretended.get(branch) {
            return self.commit(id.as_str(), branch);
        }
        self.fetch(branch)?;
        if let Some(known) = self.heads.get(branch) {
            return Ok(known.clone());
        }
        let name = format!("refs/heads/{branch}");
        match self.commit(&name, branch) {
            Ok(commit) => Ok(self.heads.entry(branch.to_owned()).or_insert(commit).clone()),
            Err(Error::Failed { .. }) if !self.holds(&name)? => Err(self.no_branch(branch)?),
            Err(error) => Err(error),
        }
    }

    /// What `head` means for an environment last published from `published`.
    ///
    /// # Errors
    /// Git failed.
    pub fn relation(&self, published: Option<&str>, head: &ObjectId) -> Result<Published, Error> {
        const WHAT: &str = "compare two commits";
        let Some(text) = published else { return Ok(Published::Never) };
        let Ok(old) = text.parse::<ObjectId>() else { return Ok(Published::Elsewhere(text.to_owned())) };
        let both = (old.clone(), head.clone());
        if let Some(known) = self.relations.borrow().get(&both) {
            return Ok(known.clone());
        }
        let args = ["merge-base", "--is-ancestor", old.as_str(), head.as_str()];
        let output = self.git.run(WHAT, &args, super::command::LOCAL)?;
        let found = match output.status.code() {
            Some(0) => Published::Ancestor(old),
            // 1: not an ancestor. 128: an object is missing; the head's are all there, so it is the old commit.
            Some(1) => Published::Elsewhere(text.to_owned()),
            Some(128) if !self.holds(&old)? => Published::Elsewhere(text.to_owned()),
            _ => return Err(self.git.failed(WHAT, output.said)),
        };
        self.relations.borrow_mut().insert(both, found.clone());
        Ok(found)
    }

    /// The commit `id`, when it is here; for one that no branch leads to any more.
    ///
    /// # Errors
    /// Git failed.
    pub fn known_commit(&self, id: &str, branch: &str) -> Result<Option<Commit>, Error> {
        match id.parse::<ObjectId>() {
            Ok(id) if self.holds(&id)? => self.commit(id.as_str(), branch).map(Some),
            _ => Ok(None),
        }
    }

    /// What stands at each of `paths` in `commit`, by path; what is not there is left out. The empty path is the commit's
    /// whole tree.
    ///
    /// # Errors
    /// Git failed.
    pub fn find<'p>(
        &self,
        commit: &ObjectId,
        paths: impl IntoIterator<Item = &'p str>,
    ) -> Result<BTreeMap<String, Entry>, Error> {
        const WHAT: &str = "look up a path";
        let mut paths: BTreeSet<&str> = paths.into_iter().collect();
        let mut found = BTreeMap::new();
        if paths.remove("") {
            let args = ["rev-parse", "--verify", "--end-of-options", &format!("{commit}^{{tree}}")];
            let id = self.object_id(WHAT, &self.git.ask(WHAT, &args)?)?;
            found.insert(String::new(), Entry { path: Vec::new(), kind: Kind::Directory, id });
        }
        for entry in self.list(commit, &paths.iter().copied().collect::<Vec<_>>())? {
            // A path below another one has that one listed with all that is in it.
            let path = std::str::from_utf8(&entry.path).ok().filter(|path| paths.contains(path));
            if let Some(path) = path.map(str::to_owned) {
                found.insert(path, entry);
            }
        }
        Ok(found)
    }

    /// What stands at each of `paths` in `commit`, as `git ls-tree` says it, with the directories that lead there: a path
    /// with a final slash is listed, one level deep. What is not there is left out.
    ///
    /// # Errors
    /// Git failed.
    pub fn list(&self, commit: &ObjectId, paths: &[&str]) -> Result<Vec<Entry>, Error> {
        let ask = |some: &[&str]| self.listed(&[&["-t", commit.as_str(), "--"], some].concat());
        Ok(paths.chunks(ARGUMENTS).map(ask).collect::<Result<Vec<_>, Error>>()?.concat())
    }

    /// Whether the object `id` is here and is a tree.
    ///
    /// # Errors
    /// Git failed.
    pub fn has_tree(&self, id: &ObjectId) -> Result<bool, Error> {
        let tree = format!("{id}^{{tree}}");
        Ok(self
            .git
            .run("look for a tree", &["cat-file", "-e", &tree], super::command::LOCAL)?
            .status
            .success())
    }

    /// Everything below the tree `id`, in Git's order, directories before what is in them.
    ///
    /// # Errors
    /// Git failed.
    pub fn entries(&self, id: &ObjectId) -> Result<Vec<Entry>, Error> {
        self.listed(&["-r", "-t", id.as_str()])
    }

    /// The reader of raw blobs: one git for all that is read here, by one at a time.
    ///
    /// # Errors
    /// Git cannot be started.
    pub fn blobs(&self) -> Result<RefMut<'_, Blobs>, Error> {
        let busy = || self.git.io("read an object", std::io::Error::other("another one is being read"));
        let mut kept = self.blobs.try_borrow_mut().map_err(|_| busy())?;
        if kept.as_ref().is_none_or(Blobs::has_failed) {
            *kept = Some(Blobs::start(&self.git)?);
        }
        RefMut::filter_map(kept, Option::as_mut).map_err(|_| busy())
    }

    /// The commit that `name` leads to.
    fn commit(&self, name: &str, branch: &str) -> Result<Commit, Error> {
        const WHAT: &str = "read a commit";
        let args = [
            "log",
            "-1",
            "-z",
            "--no-show-signature",
            "--no-color",
            "--no-decorate",
            "--no-notes",
            "--encoding=UTF-8",
            "--format=tformat:%H%n%an <%ae>%n%ct%n%s",
            "--end-of-options",
            &format!("{name}^{{commit}}"),
        ];
        let answer = self.git.ask(WHAT, &args)?;
        let text = String::from_utf8_lossy(&answer);
        let mut lines = text.trim_end_matches(['\0', '\n']).splitn(4, '\n');
        let id = lines.next().and_then(|id| id.parse().ok());
        let (author, time) = (lines.next(), lines.next().and_then(|time| time.parse().ok()));
        let (Some(id), Some(author), Some(time)) = (id, author, time) else {
            return Err(self.git.unexpected(WHAT, &answer));
        };
        let subject = lines.next().unwrap_or_default();
        Ok(Commit {
            id,
            author: shown(author),
            time: Timestamp::from_unix(time),
            subject: shown(subject),
            branch: branch.to_owned(),
        })
    }

    fn holds(&self, name: impl fmt::Display) -> Result<bool, Error> {
        let commit = format!("{name}^{{commit}}");
        let output =
            self.git.run("look for a commit", &["cat-file", "-e", &commit], super::command::LOCAL)?;
        Ok(output.status.success())
    }

    pub(super) fn no_branch(&self, branch: &str) -> Result<Error, Error> {
        const WHAT: &str = "list the branches";
        let names = match &self.remote {
            None => self.git.ask(WHAT, &["for-each-ref", "--format=%(refname)", "refs/heads/"])?,
            Some(remote) => {
                let output = self.git.run(WHAT, &["ls-remote", "--heads", "--", &remote.address], FETCH)?;
                output.stdout
            }
        };
        let text = String::from_utf8_lossy(&names);
        let mut existing: Vec<&str> =
            text.lines().filter_map(|line| line.split("refs/heads/").nth(1)).take(20).collect();
        if existing.is_empty() {
            existing.push("none");
        }
        let (repository, branch) = (self.label().to_owned(), branch.to_owned());
        Ok(Error::NoBranch { repository, branch, existing: existing.join(", ") })
    }

    pub(super) fn object_id(&self, what: &'static str, answer: &[u8]) -> Result<ObjectId, Error> {
        std::str::from_utf8(answer)
            .ok()
            .and_then(|text| text.trim_end().parse().ok())
            .ok_or_else(|| self.git.unexpected(what, answer))
    }
}

impl ObjectId {
    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = matches!(text.len(), 40 | 64) && HEXLOWER.decode(text.as_bytes()).is_ok();
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no full Git object id: expected 40 or 64 lower-case hex digits"))
        }
    }
}

/// A name or subject as one line without control characters, at most 500 characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}
