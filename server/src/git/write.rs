//! A commit made without a work tree, and put at the head of a branch: what `promote` and `push --commit` write.
//!
//! Never here: what is changed (whole files come in as arguments), or a branch that moved meanwhile: that is refused.

use std::fs;
use std::path::Path;

use super::address::is_branch;
use super::command::{FETCH, LOCAL};
use super::{Commit, Error, ObjectId, Repository};

const WHAT: &str = "make a commit";

/// Who commits, as the caller's environment says it; what it does not say, Git's configuration does.
const PERSON: [&str; 4] =
    ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];

impl Repository {
    /// A commit on top of `base` in which the files at these paths have these contents; nothing leads to it yet. It is
    /// signed where Git's configuration asks for that. `scratch` is a directory for files of this call alone.
    ///
    /// # Errors
    /// Git failed, or nobody says who commits.
    pub fn change(
        &self,
        base: &Commit,
        files: &[(String, Vec<u8>)],
        message: &str,
        scratch: &Path,
    ) -> Result<ObjectId, Error> {
        let cache = |source| Error::Cache { path: scratch.to_owned(), source };
        fs::create_dir_all(scratch).map_err(cache)?;
        let mut git = self.git.with("GIT_INDEX_FILE", scratch.join("index").into_os_string());
        for name in PERSON {
            if let Some(value) = std::env::var_os(name) {
                git = git.with(name, value);
            }
        }
        git.ask(WHAT, &["read-tree", base.id.as_str()])?;
        for (path, bytes) in files {
            let blob = scratch.join("blob");
            fs::write(&blob, bytes).map_err(cache)?;
            let blob = blob.to_string_lossy().into_owned();
            let id = git.ask(WHAT, &["hash-object", "-w", "--no-filters", "--", &blob])?;
            let entry = format!("100644,{},{path}", self.object_id(WHAT, &id)?);
            git.ask(WHAT, &["update-index", "--add", "--cacheinfo", &entry])?;
        }
        // What is not changed need not be here.
        let tree = self.object_id(WHAT, &git.ask(WHAT, &["write-tree", "--missing-ok"])?)?;
        let asked = git.run(WHAT, &["config", "--type=bool", "--get", "commit.gpgSign"], LOCAL)?;
        let sign = asked.stdout.starts_with(b"true").then_some("-S");
        let mut args = vec!["commit-tree", "-p", base.id.as_str(), "-m", message];
        args.extend(sign);
        args.push(tree.as_str());
        self.object_id(WHAT, &git.ask(WHAT, &args)?)
    }

    /// Makes `commit` the head of `branch`, which is at `before` or is not there yet. A branch that is checked out in
    /// the repository's own work tree is moved together with it; a remote one is pushed to.
    ///
    /// # Errors
    /// The branch moved meanwhile, or the work tree holds changes that would be lost.
    pub fn advance(&self, branch: &str, commit: &ObjectId, before: Option<&Commit>) -> Result<(), Error> {
        const WHAT: &str = "move the branch";
        if !is_branch(branch) {
            return Err(Error::NotABranch(branch.to_owned()));
        }
        let name = format!("refs/heads/{branch}");
        if let Some(address) = self.address() {
            let output = self.git.run(
                WHAT,
                &["push", "--quiet", "--", address, &format!("{commit}:{name}")],
                FETCH,
            )?;
            return if output.status.success() { Ok(()) } else { Err(self.git.failed(WHAT, output.said)) };
        }
        let head = self.git.run(WHAT, &["symbolic-ref", "--quiet", "HEAD"], LOCAL)?;
        let is_head = String::from_utf8_lossy(&head.stdout).trim_end() == name;
        if let (true, Some(before), Some(work_tree)) = (is_head, before, self.work_tree()?) {
            let at = ["--work-tree", work_tree.as_str()];
            let moved = ["read-tree", "-m", "-u", before.id.as_str(), commit.as_str()];
            self.git.ask(WHAT, &[&at[..], &moved[..]].concat())?;
        }
        let zeros = "0".repeat(commit.as_str().len());
        let before = before.map_or(zeros.as_str(), |before| before.id.as_str());
        self.git.ask(WHAT, &["update-ref", "--end-of-options", &name, commit.as_str(), before]).map(drop)
    }

    /// The work tree of a repository that has one: the directory around its `.git`.
    fn work_tree(&self) -> Result<Option<String>, Error> {
        let bare = self.git.ask("look at the repository", &["rev-parse", "--is-bare-repository"])?;
        let directory = self.git.directory();
        let around = directory.parent().filter(|_| directory.file_name().is_some_and(|name| name == ".git"));
        Ok(around.filter(|_| bare.starts_with(b"false")).map(|path| path.to_string_lossy().into_owned()))
    }
}
