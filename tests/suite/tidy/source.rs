//! The source files of the house, parsed once.

use std::path::{Path, PathBuf};

use syn::spanned::Spanned;

/// One parsed source file.
pub(super) struct Source {
    /// Path below the repository's root.
    pub(super) path: String,
    /// First folder: `protocol`, `agent`, `server`, `tests`.
    pub(super) package: String,
    /// Module path inside the crate, `["io", "disk"]`; empty for the crate's root.
    pub(super) module: Vec<String>,
    pub(super) text: String,
    pub(super) syntax: syn::File,
    /// Whether the whole file is compiled for tests only.
    pub(super) is_test: bool,
}

impl Source {
    pub(super) fn parse(path: &str, text: &str) -> Self {
        let mut parts: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        let package = parts.remove(0);
        parts.remove(0);
        if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
            parts.pop();
        }
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let is_test = package == "tests";
        Self { path: path.into(), package, module: parts, text: text.into(), syntax, is_test }
    }

    /// The modules that this file declares for tests only, in files of their own.
    fn test_modules(&self) -> impl Iterator<Item = Vec<String>> {
        self.syntax.items.iter().filter_map(|item| match item {
            syn::Item::Mod(module) if module.content.is_none() && is_test_only(&module.attrs) => {
                Some([&self.module[..], &[module.ident.to_string()]].concat())
            }
            _ => None,
        })
    }

    /// Line of something in this file, for messages.
    pub(super) fn at(&self, spanned: &impl Spanned) -> String {
        format!("{}:{}", self.path, spanned.span().start().line)
    }
}

/// Whether an item is compiled for tests only.
pub(super) fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file of the four packages.
pub(super) fn sources() -> Vec<Source> {
    let root = repository();
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["protocol/src", "agent/src", "server/src", "tests/src", "tests/suite"]
        .iter()
        .map(|f| root.join(f))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source::parse(path.strip_prefix(&root).unwrap().to_str().unwrap(), &text));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let for_tests: Vec<(String, Vec<String>)> =
        found.iter().flat_map(|s| s.test_modules().map(|module| (s.package.clone(), module))).collect();
    for source in &mut found {
        let inside = |(package, module): &(String, Vec<String>)| {
            *package == source.package && source.module.starts_with(module)
        };
        source.is_test = source.is_test || for_tests.iter().any(inside);
    }
    assert!(found.len() > 10, "the walk over the sources found almost nothing");
    found
}
