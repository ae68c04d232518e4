//! What a remote repository is asked for: whole branches without their files, and then the files that somebody reads. A
//! server that cannot leave files out sends all of them, which is as good.
//!
//! Never here: what is read (`repository`), or a shallow history: whether one commit descends from another must be told.

use super::command::{FETCH, LOCAL};
use super::repository::Repository;
use super::tree::{self, Entry};
use super::{Error, ObjectId};

const LIST: &str = "list a tree";
/// What the cache calls the repository that it is fetched from. Its address may hold a password, and so is in no file.
const REMOTE: &str = "fleet";
/// What every fetch has in common.
const QUIETLY: [&str; 6] = [
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-recurse-submodules",
    "--filter=blob:none",
];

/// The configuration of a cache: what is missing there lies in the repository at this address.
pub(super) fn configuration(address: &str) -> Vec<(String, String)> {
    let of = |key: &str, value: &str| (format!("remote.{REMOTE}.{key}"), value.to_owned());
    vec![of("url", address), of("promisor", "true"), of("partialclonefilter", "blob:none")]
}

impl Repository {
    /// Brings a branch, once for each time that the repository is opened: one turn sees one state of it.
    pub(super) fn fetch(&mut self, branch: &str) -> Result<(), Error> {
        const WHAT: &str = "fetch the branch";
        let Some(remote) = &mut self.remote else { return Ok(()) };
        if remote.fetched.contains(branch) {
            return Ok(());
        }
        let refspec = format!("+refs/heads/{branch}:refs/heads/{branch}");
        let output = self.git.run(WHAT, &[&QUIETLY[..], &[REMOTE, &refspec]].concat(), FETCH)?;
        if output.status.success() {
            remote.fetched.insert(branch.to_owned());
            return Ok(());
        }
        if output.said.contains("couldn't find remote ref") {
            return Err(self.no_branch(branch)?);
        }
        Err(self.git.failed(WHAT, output.said))
    }

    /// What `git ls-tree` with these arguments lists, with the files: they are here afterwards.
    pub(super) fn listed(&self, args: &[&str]) -> Result<Vec<Entry>, Error> {
        // A literal path: neither globs nor `:(magic)` mean anything here.
        let list = ["--literal-pathspecs", "ls-tree", "-z", "--full-tree"];
        if self.remote.is_some() {
            let files = self.git.ask(LIST, &[&list, args].concat())?;
            let id = |line: &[u8]| tree::id_of_file(line).ok_or_else(|| self.git.unexpected(LIST, line));
            let files: Result<Vec<_>, Error> = lines(&files).map(id).collect();
            self.bring(&files?.into_iter().flatten().collect::<Vec<_>>())?;
        }
        let answer = self.git.ask(LIST, &[&list[..], &["-l"], args].concat())?;
        let entry = |line: &[u8]| match tree::parse(line) {
            Some(entry) => Ok(entry),
            None if tree::is_absent(line) => Err(Error::Partial { repository: self.label().to_owned() }),
            None => Err(self.git.unexpected(LIST, line)),
        };
        lines(&answer).map(entry).collect()
    }

    /// Brings those of these files that are not here, all at once.
    fn bring(&self, files: &[ObjectId]) -> Result<(), Error> {
        const WHAT: &str = "fetch the files of a commit";
        let names: String = files.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
        let known = self.git.tell(WHAT, &["cat-file", "--batch-check"], &names, LOCAL)?;
        let known = String::from_utf8_lossy(&known);
        let missing = known.lines().filter_map(|line| line.strip_suffix(" missing"));
        let missing: String = missing.flat_map(|id| [id, "\n"]).collect();
        if missing.is_empty() {
            return Ok(());
        }
        // Nothing that is here says what is missing: only what is named is asked for.
        let alone = ["-c", "fetch.negotiationAlgorithm=noop"];
        let args = [&alone[..], &QUIETLY[..], &["--stdin", REMOTE]].concat();
        self.git.tell(WHAT, &args, &missing, FETCH).map(drop)
    }
}

/// The lines that end in a zero byte.
fn lines(answer: &[u8]) -> impl Iterator<Item = &[u8]> {
    answer.split(|b| *b == 0).filter(|line| !line.is_empty())
}
