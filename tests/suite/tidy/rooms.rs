//! Who may use whom, and which rooms may touch nothing.

use syn::visit::{self, Visit};

use super::source::{Source, is_test_only};

/// Per package and room the rooms it may use; what is not listed is refused. `decide::model` is decide's types;
/// `decide::clock` is the one rule that a reading of the clocks needs to become a time.
const PLAN: &[(&str, &str, &[&str])] = &[
    ("agent", "main", &["cli", "turn", "config"]),
    ("agent", "cli", &["turn", "look", "io", "config", "decide::model"]),
    ("agent", "turn", &["config", "look", "io", "decide"]),
    ("agent", "look", &["io", "decide::model", "config"]),
    ("agent", "io", &["decide::model", "decide::clock", "config"]),
    ("agent", "config", &[]),
    ("agent", "decide", &[]),
    ("server", "main", &["cli", "web", "intake", "turn", "config"]),
    (
        "server",
        "cli",
        &["turn", "look", "git", "bundle", "publish", "keys", "store", "alarms", "config", "pipeline"],
    ),
    ("server", "web", &["turn", "store", "alarms", "config"]),
    ("server", "intake", &["turn", "store", "alarms", "config"]),
    ("server", "look", &["git", "store", "publish", "keys"]),
    (
        "server",
        "turn",
        &["config", "look", "git", "bundle", "publish", "keys", "store", "rollout", "policy", "alarms"],
    ),
    // What runs where a release is built, and never on the server.
    ("server", "pipeline", &["bundle", "keys", "look", "publish"]),
    ("server", "publish", &["keys", "bundle"]),
    ("server", "alarms", &["store"]),
    ("server", "config", &[]),
    ("server", "git", &[]),
    ("server", "bundle", &[]),
    ("server", "keys", &[]),
    ("server", "store", &[]),
    ("server", "rollout", &[]),
    ("server", "policy", &[]),
];

/// Modules that are values in, values out: no file, clock, socket, process, environment.
const PURE: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("agent", &["decide"]),
    ("server", &["rollout"]),
    ("server", &["policy", "input"]),
    ("server", &["policy", "verdict"]),
    ("server", &["git", "pick"]),
    ("server", &["publish", "order"]),
];

const WORLD: &[&str] =
    &["std::fs", "std::net", "std::env", "std::process", "std::thread", "rustix", "ureq", "tokio"];
const CLOCKS: &[&str] = &["SystemTime", "Instant"];

/// Every path that code outside tests names, with its module's own path for `self` and `super`.
fn paths(source: &Source) -> Vec<(Vec<String>, String)> {
    struct Paths<'a> {
        source: &'a Source,
        found: Vec<(Vec<String>, String)>,
    }
    impl Paths<'_> {
        fn add(&mut self, parts: Vec<String>, at: String) {
            self.found.push((parts, at));
        }
        fn tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
            let joined = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
            match tree {
                syn::UseTree::Path(path) => self.tree(&joined(&path.ident), &path.tree),
                syn::UseTree::Name(name) => self.add(joined(&name.ident), self.source.at(tree)),
                syn::UseTree::Rename(rename) => self.add(joined(&rename.ident), self.source.at(tree)),
                syn::UseTree::Glob(_) => self.add(prefix.to_vec(), self.source.at(tree)),
                syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(prefix, item)),
            }
        }
    }
    impl<'ast> Visit<'ast> for Paths<'_> {
        fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
            if !is_test_only(&module.attrs) {
                visit::visit_item_mod(self, module);
            }
        }
        fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
            if !is_test_only(&item.attrs) {
                self.tree(&[], &item.tree);
            }
        }
        fn visit_path(&mut self, path: &'ast syn::Path) {
            let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.add(parts, self.source.at(path));
            visit::visit_path(self, path);
        }
    }
    let mut paths = Paths { source, found: Vec::new() };
    paths.visit_file(&source.syntax);
    paths.found
}

/// A path as seen from the crate's root, without `crate`, `self`, `super`; none when it names another crate.
fn inside(source: &Source, parts: &[String]) -> Option<Vec<String>> {
    let own = match source.package.as_str() {
        "agent" => "tidelock",
        "server" => "tidelock_server",
        _ => "",
    };
    match parts.first().map(String::as_str)? {
        "crate" => Some(parts[1..].to_vec()),
        "self" => Some([&source.module[..], &parts[1..]].concat()),
        "super" => {
            let ups = parts.iter().take_while(|part| *part == "super").count();
            let kept = source.module.len().saturating_sub(ups);
            Some([&source.module[..kept], &parts[ups..]].concat())
        }
        first if first == own && source.module == ["main"] => Some(parts[1..].to_vec()),
        _ => None,
    }
}

/// Uses of a room that the plan does not list for this one.
pub(super) fn forbidden_uses(source: &Source) -> Vec<String> {
    if source.is_test {
        return Vec::new();
    }
    let room = source.module.first().map_or("lib", String::as_str);
    let allowed = PLAN.iter().find(|(package, name, _)| *package == source.package && *name == room);
    let rooms: Vec<&str> =
        PLAN.iter().filter(|(package, ..)| *package == source.package).map(|row| row.1).collect();
    let mut offences = Vec::new();
    for (parts, at) in paths(source) {
        let foreign = match parts.first().map(String::as_str) {
            Some("tidelock") => source.package != "agent",
            Some("tidelock_server") => source.package != "server",
            Some("tidelock_protocol") => source.package == "protocol",
            _ => false,
        };
        if foreign {
            offences.push(format!("{at}: {} may not use {}", source.package, parts.join("::")));
        }
        let Some(target) = inside(source, &parts) else { continue };
        let Some(first) = target.first() else { continue };
        if first == room || room == "lib" || !rooms.contains(&first.as_str()) {
            continue;
        }
        let listed = allowed.is_some_and(|(_, _, list)| {
            list.iter().any(|entry| {
                let entry: Vec<&str> = entry.split("::").collect();
                entry.len() <= target.len() && entry.iter().zip(&target).all(|(a, b)| a == b)
            })
        });
        if !listed {
            offences.push(format!("{at}: {room} may not use {}", target.join("::")));
        }
    }
    offences
}

/// Paths of a pure room that reach for a file, clock, socket, process or the environment.
pub(super) fn touches(source: &Source) -> Vec<String> {
    let pure = PURE.iter().any(|(package, module)| {
        *package == source.package
            && module.len() <= source.module.len()
            && module.iter().zip(&source.module).all(|(a, b)| a == b)
    });
    if !pure || source.is_test {
        return Vec::new();
    }
    let reaches = |parts: &[String]| {
        let path = parts.join("::");
        WORLD.iter().any(|world| path == *world || path.starts_with(&format!("{world}::")))
            || parts.iter().any(|part| CLOCKS.contains(&part.as_str()))
    };
    paths(source)
        .into_iter()
        .filter(|(parts, _)| reaches(parts))
        .map(|(parts, at)| format!("{at}: {}", parts.join("::")))
        .collect()
}
