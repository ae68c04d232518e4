//! Names that people give: of repositories, which may be paths or addresses, and of branches.
//!
//! Never here: opening anything.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The Git directory of `path`: its `.git` (a directory, or the file of a linked work tree), or itself when bare.
pub(super) fn git_directory(path: &Path) -> Option<PathBuf> {
    let inner = path.join(".git");
    if inner.is_dir() {
        return Some(inner);
    }
    if let Ok(text) = std::fs::read(&inner) {
        let rest = text.strip_prefix(b"gitdir: ")?;
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        return Some(path.join(OsString::from_vec(rest[..end].to_vec())));
    }
    (path.join("HEAD").is_file() && path.join("objects").is_dir()).then(|| path.to_owned())
}

/// `user@host:path` or `host:path`, as ssh addresses are written; never something that looks like an option.
pub(super) fn is_scp_like(source: &str) -> bool {
    source.split_once(':').is_some_and(|(host, path)| {
        // `ext::command` is a remote helper, which would run the command.
        !host.is_empty()
            && !path.is_empty()
            && !path.starts_with(':')
            && !host.contains('/')
            && !host.starts_with('-')
    })
}

/// What `git check-ref-format --branch` takes, so that a name can never be a revision expression.
pub(super) fn is_branch(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    name.split('/').all(part)
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && !name.contains(forbidden)
}

/// The bytes of a `file://` path; `None` when an escape is broken.
pub(super) fn percent_decoded(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            bytes.extend(data_encoding::HEXLOWER_PERMISSIVE.decode(tail.get(..2)?).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// An address as it may be shown: `https://user:secret@host` without the secret.
pub(super) fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[authority.len()..]),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Error, ObjectId, Repository};
    use super::*;

    #[test]
    fn a_branch_is_never_an_option_or_an_expression() {
        for good in ["main", "release/2026", "a-b_c.d", "ümlaut"] {
            assert!(is_branch(good), "{good}");
        }
        for bad in [
            "", "-x", "main~1", "main^", "a..b", "@{-1}", "@", "a b", "x.lock", "/a", "a/", "a//b", ".a",
            "HEAD:x",
        ] {
            assert!(!is_branch(bad), "{bad}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(without_password("https://me:secret@example.org/a@b"), "https://example.org/a@b");
        assert_eq!(without_password("https://example.org/a"), "https://example.org/a");
        assert_eq!(without_password("git@example.org:fleet"), "git@example.org:fleet");
    }

    #[test]
    fn addresses_that_would_run_something_are_no_repositories() {
        let cache = std::env::temp_dir();
        for bad in [
            "ext::sh -c x",
            "ext://x",
            "-oProxyCommand=x:y",
            "--upload-pack=x",
            "/does/not/exist",
            "",
            "gopher://x/y",
        ] {
            assert!(matches!(Repository::open(bad, &cache), Err(Error::NotARepository { .. })), "{bad}");
        }
    }

    #[test]
    fn only_full_ids_are_ids() {
        assert!("a".repeat(40).parse::<ObjectId>().is_ok());
        assert!("a".repeat(64).parse::<ObjectId>().is_ok());
        for bad in ["HEAD".to_owned(), "a".repeat(41), "A".repeat(40), "g".repeat(40)] {
            assert!(bad.parse::<ObjectId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_address_is_decoded() {
        assert_eq!(percent_decoded("/a%20b"), Some(PathBuf::from("/a b")));
        assert_eq!(percent_decoded("/a%2"), None);
    }
}
