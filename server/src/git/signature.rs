//! Who signed a commit: git's own verification, by files of the publisher's machine and nothing that the repository says.
//!
//! Never here: whether a commit must be signed (whoever runs the publisher says so), or what is done without.

use std::fs::{DirBuilder, remove_dir_all};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command::{Git, LOCAL, last_words};
use super::repository::shown;
use super::{Error, ObjectId, Repository};

const WHAT: &str = "verify the signature of a commit";

/// Whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers {
    /// SSH keys and their owners, as ssh-keygen(1) reads ALLOWED SIGNERS.
    pub allowed: Option<PathBuf>,
    /// OpenPGP public keys, as `gpg --export` writes them.
    pub keyring: Option<PathBuf>,
}

/// What a commit's signature is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Good, of one whom the files name: in their words, with the key.
    Of(String),
    /// No signature that counts, and why.
    Refused(String),
}

enum Form {
    Ssh,
    OpenPgp,
    Other,
}

impl Repository {
    /// Whose signature the commit carries. `scratch` is a place for the keyring in gpg's own form, made anew each time.
    ///
    /// # Errors
    /// Git or gpg cannot be run, or the keyring cannot be read.
    pub fn signature(&self, id: &ObjectId, signers: &Signers, scratch: &Path) -> Result<Signature, Error> {
        let raw = self.git.ask(WHAT, &["cat-file", "commit", id.as_str()])?;
        let refused = |why: &str| Ok(Signature::Refused(why.to_owned()));
        let Some(form) = form(&raw) else { return refused("it is not signed") };
        // What the repository's own configuration says of these counts nothing.
        let plain = ["gpg.ssh.program=ssh-keygen", "gpg.program=gpg", "gpg.openpgp.program=gpg"];
        let mut args: Vec<String> =
            plain.iter().flat_map(|one| ["-c".to_owned(), (*one).to_owned()]).collect();
        let mut git = self.git.clone();
        match (form, &signers.allowed, &signers.keyring) {
            (Form::Ssh, Some(file), _) => {
                let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
                args.extend(["-c".into(), format!("gpg.ssh.allowedSignersFile={}", file.display())]);
            }
            (Form::OpenPgp, _, Some(file)) => {
                git = git.with("GNUPGHOME", home(&git, scratch, file)?.into_os_string());
            }
            (Form::Ssh, None, _) => {
                return refused("it is signed with an SSH key, and no file of allowed signers is configured");
            }
            (Form::OpenPgp, _, None) => {
                return refused("it is signed with OpenPGP, and no keyring is configured");
            }
            (Form::Other, ..) => return refused("its signature is neither of SSH nor of OpenPGP"),
        }
        args.extend(["verify-commit".into(), "--raw".into(), id.to_string()]);
        let output = git.run(WHAT, &args, LOCAL)?;
        let name = signer(&output.lines).filter(|_| output.status.success());
        Ok(name.map_or_else(|| Signature::Refused(why(&output.lines, &output.said)), Signature::Of))
    }
}

/// The form of the signature in a commit's header; none without one.
fn form(commit: &[u8]) -> Option<Form> {
    let header = commit.split(|b| *b == b'\n').take_while(|line| !line.is_empty());
    let begin = header
        .into_iter()
        .find_map(|line| line.strip_prefix(b"gpgsig ").or_else(|| line.strip_prefix(b"gpgsig-sha256 ")))?;
    Some(match begin {
        b"-----BEGIN SSH SIGNATURE-----" => Form::Ssh,
        b"-----BEGIN PGP SIGNATURE-----" | b"-----BEGIN PGP MESSAGE-----" => Form::OpenPgp,
        _ => Form::Other,
    })
}

/// A home for gpg that knows the keys of `keyring` and no others.
fn home(git: &Git, scratch: &Path, keyring: &Path) -> Result<PathBuf, Error> {
    let home = scratch.join("gnupg");
    let cache = |source| Error::Cache { path: home.clone(), source };
    if home.exists() {
        remove_dir_all(&home).map_err(cache)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&home).map_err(cache)?;
    let import = Command::new("gpg")
        .args(["--batch", "--quiet", "--no-autostart", "--homedir"])
        .arg(&home)
        .arg("--import")
        .arg(keyring)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    let import = import.map_err(|source| git.io("run gpg, which OpenPGP signatures need,", source))?;
    if import.status.success() {
        Ok(home)
    } else {
        let said = format!("{}: {}", keyring.display(), last_words(&import.stderr));
        Err(git.failed("read the keyring of those who sign commits", said))
    }
}

/// Whom a good signature is of: `user (key)`, from the words of ssh-keygen or the status lines of gpg.
fn signer(said: &str) -> Option<String> {
    let lines = || said.lines();
    let ssh = lines().find_map(|line| line.strip_prefix("Good \"git\" signature for "));
    if let Some(words) = ssh {
        let (name, rest) = words.split_once(" with ")?;
        return Some(shown(&format!("{name} ({})", rest.rsplit(' ').next()?)));
    }
    let status = |word: &str| lines().find_map(|line| line.strip_prefix("[GNUPG:] ")?.strip_prefix(word));
    let bad = ["EXPKEYSIG ", "REVKEYSIG ", "EXPSIG ", "BADSIG ", "ERRSIG "];
    if bad.into_iter().any(|word| status(word).is_some()) {
        return None;
    }
    let (_, name) = status("GOODSIG ")?.split_once(' ')?;
    let key = status("VALIDSIG ")?.split(' ').next()?;
    Some(shown(&format!("{name} ({key})")))
}

/// Why a signature does not count, for people.
fn why(lines: &str, said: &str) -> String {
    let has = |word: &str| lines.contains(word);
    let known = [
        ("No principal matched", "its key is not one of the allowed signers"),
        ("NO_PUBKEY", "its key is not in the keyring"),
        ("EXPKEYSIG", "its key has expired"),
        ("REVKEYSIG", "its key is revoked"),
        ("EXPSIG", "its signature has expired"),
        ("BADSIG", "its signature is of other content"),
        ("incorrect signature", "its signature is of other content"),
    ];
    let found = known.into_iter().find(|(word, _)| has(word)).map(|(_, text)| text.to_owned());
    found.unwrap_or_else(|| format!("its signature does not verify: {said}"))
}
