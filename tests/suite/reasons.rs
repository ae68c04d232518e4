//! The reasons as the agent's source names them: their codes, what they mean, what to do. `docs/reasons.md` is made of
//! them: `TIDELOCK_DOCS=write cargo test -p tidelock-tests reasons`.

use std::path::{Path, PathBuf};

/// One reason.
pub struct Reason {
    /// Its stable code.
    pub code: String,
    /// What it means.
    pub meaning: String,
    /// What a person does about it.
    pub todo: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every reason, in the order of the enum.
pub fn all() -> Vec<Reason> {
    let text = std::fs::read_to_string(repository().join("agent/src/decide/model/reason.rs")).unwrap();
    let file = syn::parse_file(&text).unwrap();
    let found = file.items.iter().find_map(|item| match item {
        syn::Item::Enum(item) if item.ident == "Reason" => Some(item),
        _ => None,
    });
    found.unwrap().variants.iter().map(|variant| reason(&text, variant)).collect()
}

fn reason(text: &str, variant: &syn::Variant) -> Reason {
    // The arm of `Reason::code` for this variant is the only one that leads to a plain text.
    let arm = format!("Self::{}", variant.ident);
    let code = text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix(&arm)?;
        let (pattern, code) = rest.split_once(" => \"")?;
        let whole = ["", "(_)", " { .. }"].contains(&pattern);
        code.strip_suffix("\",").filter(|_| whole).map(str::to_owned)
    });
    let lines: Vec<String> = variant.attrs.iter().filter_map(doc).collect();
    let mut paragraphs = lines.split(|line| line.is_empty()).map(|lines| lines.join(" "));
    let (meaning, todo) = (paragraphs.next().unwrap_or_default(), paragraphs.collect::<Vec<_>>().join(" "));
    assert!(!meaning.is_empty() && !todo.is_empty(), "{}: say what it means, then what to do", variant.ident);
    Reason { code: code.unwrap_or_else(|| panic!("{} has no code", variant.ident)), meaning, todo }
}

fn doc(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::NameValue(value) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &value.value else { return None };
    value.path.is_ident("doc").then(|| text.value().trim().to_owned())
}

#[test]
fn the_page_of_reasons_is_made_of_the_enum() {
    let mut page = "# Reasons

Why an app is where it is: the code that `tidelock status` and `tidelock why` print, that the metric
`tidelock_app_reason` is labelled with, and that never changes its meaning. Made of the agent's source by
`TIDELOCK_DOCS=write cargo test -p tidelock-tests reasons`; do not edit.

| code | what it means | what to do |
|---|---|---|
"
    .to_owned();
    for Reason { code, meaning, todo } in all() {
        page += &format!("| `{code}` | {meaning} | {todo} |\n");
    }
    let path = repository().join("docs/reasons.md");
    if std::env::var_os("TIDELOCK_DOCS").is_some_and(|value| value == "write") {
        std::fs::write(&path, &page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page,
        "docs/reasons.md is old: TIDELOCK_DOCS=write cargo test -p tidelock-tests reasons"
    );
}

#[test]
fn every_reason_is_made_to_appear_and_to_go_away_end_to_end() {
    let suite = std::fs::read_to_string(repository().join("tests/suite/e2e/reasons.rs")).unwrap();
    let named = |code: &str| suite.contains(&format!("\"{code}\""));
    let missing: Vec<String> =
        all().into_iter().map(|reason| reason.code).filter(|code| !named(code)).collect();
    assert!(missing.is_empty(), "no test of tests/suite/e2e/reasons.rs names {missing:?}");
}
