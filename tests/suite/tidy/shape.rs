//! Door signs, sizes, names, and variants that nothing produces.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::source::{Source, is_test_only};

const LONGEST_FILE: usize = 400;
const LONGEST_FUNCTION: usize = 75;
const NAMELESS: &[&str] =
    &["utils", "util", "common", "helpers", "helper", "misc", "core", "manager", "handler"];

pub(super) fn door_sign(source: &Source) -> Vec<String> {
    if source.text.starts_with("//! ") { Vec::new() } else { vec![source.path.clone()] }
}

pub(super) fn nameless(source: &Source) -> Vec<String> {
    let named = source.path.trim_end_matches(".rs").split('/');
    if named.into_iter().any(|part| NAMELESS.contains(&part)) {
        vec![source.path.clone()]
    } else {
        Vec::new()
    }
}

/// The lines of a file that are not compiled for tests only.
fn lines_without_tests(source: &Source) -> Vec<&str> {
    if source.is_test {
        return Vec::new();
    }
    let tests: Vec<RangeInclusive<usize>> = source
        .syntax
        .items
        .iter()
        .filter_map(|item| match item {
            syn::Item::Mod(module) if is_test_only(&module.attrs) => {
                Some(module.span().start().line..=module.span().end().line)
            }
            _ => None,
        })
        .collect();
    let lines = source.text.lines().enumerate();
    lines.filter(|(n, _)| !tests.iter().any(|range| range.contains(&(n + 1)))).map(|(_, line)| line).collect()
}

/// Lines of a file that a machine runs: no tests, no comments, no blanks.
pub(super) fn lines_of_code(source: &Source) -> usize {
    let is_code = |line: &&&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    lines_without_tests(source).iter().filter(is_code).count()
}

pub(super) fn too_long(source: &Source) -> Vec<String> {
    struct Functions<'a> {
        source: &'a Source,
        offences: Vec<String>,
    }
    impl Functions<'_> {
        fn measure(&mut self, name: &syn::Ident, block: &syn::Block) {
            let lines = block.span().end().line + 1 - block.span().start().line;
            if lines > LONGEST_FUNCTION {
                self.offences.push(format!("{}: {name} has {lines} lines", self.source.at(name)));
            }
        }
    }
    impl<'ast> Visit<'ast> for Functions<'_> {
        fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
            self.measure(&function.sig.ident, &function.block);
            visit::visit_item_fn(self, function);
        }
        fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
            self.measure(&function.sig.ident, &function.block);
            visit::visit_impl_item_fn(self, function);
        }
    }
    let mut functions = Functions { source, offences: Vec::new() };
    functions.visit_file(&source.syntax);
    let lines = if source.is_test { source.text.lines().count() } else { lines_without_tests(source).len() };
    // Suites list cases one after the other: they may be twice as long before they are split.
    let longest = if source.is_test { 2 * LONGEST_FILE } else { LONGEST_FILE };
    if lines > longest {
        functions.offences.push(format!("{}: {lines} lines", source.path));
    }
    functions.offences
}

/// Variants of the agent's enum `name` that no code outside tests constructs: named as `Name::Variant` in an
/// expression (a pattern only consumes).
pub(super) fn unproduced(sources: &[Source], name: &str) -> Vec<String> {
    struct Produced<'a> {
        name: &'a str,
        found: BTreeSet<String>,
    }
    impl Produced<'_> {
        fn take(&mut self, path: &syn::Path) {
            let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            if let [.., owner, variant] = &parts[..]
                && owner == self.name
            {
                self.found.insert(variant.clone());
            }
        }
    }
    impl<'ast> Visit<'ast> for Produced<'_> {
        fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
            if !is_test_only(&module.attrs) {
                visit::visit_item_mod(self, module);
            }
        }
        fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
            self.take(&path.path);
        }
        fn visit_expr_struct(&mut self, expression: &'ast syn::ExprStruct) {
            self.take(&expression.path);
            visit::visit_expr_struct(self, expression);
        }
    }
    let ours = |source: &&Source| source.package == "agent" && !source.is_test;
    let mut produced = Produced { name, found: BTreeSet::new() };
    let mut declared = Vec::new();
    for source in sources.iter().filter(ours) {
        produced.visit_file(&source.syntax);
        for item in &source.syntax.items {
            if let syn::Item::Enum(item) = item
                && item.ident == name
            {
                declared.extend(item.variants.iter().map(|v| (v.ident.to_string(), source.at(&v.ident))));
            }
        }
    }
    assert!(!declared.is_empty(), "no enum {name}: the rule holds nothing");
    declared
        .into_iter()
        .filter(|(variant, _)| !produced.found.contains(variant))
        .map(|(variant, at)| format!("{at}: {name}::{variant}"))
        .collect()
}
