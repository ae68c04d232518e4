//! Changing one word of a file that people wrote, and leaving every other byte as it is.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use tidelock_protocol::names::{AppName, Version};

/// The text of an `environments/<name>.toml` in which `app` wants `version`.
///
/// # Errors
/// Why that cannot be said by changing one word; a person must.
pub fn with_release(text: &str, app: &AppName, version: &Version) -> Result<String, String> {
    let parsed = DeTable::parse(text).map_err(|error| format!("it cannot be read: {}", error.message()))?;
    let word = format!("\"{version}\"");
    let apps = find(parsed.get_ref(), "apps").map(Spanned::get_ref);
    let Some(DeValue::Table(apps)) = apps else {
        return match apps {
            None => Ok(format!("{}\n[apps]\n{app} = {word}\n", text.trim_end())),
            Some(_) => Err("`apps` is no table".into()),
        };
    };
    let span = match find(apps, app.as_str()) {
        Some(value) => match value.get_ref() {
            DeValue::String(_) => value.span(),
            DeValue::Table(table) => match find(table, "release") {
                Some(release) => release.span(),
                None => return Err(format!("`apps.{app}` has no `release`")),
            },
            DeValue::Array(_) => {
                return Err(format!(
                    "`apps.{app}` has a release per selector: say by hand which of them moves"
                ));
            }
            _ => return Err(format!("`apps.{app}` is no release")),
        },
        None => {
            let header = text.lines().scan(0, |at, line| {
                *at += line.len() + 1;
                Some((*at, line))
            });
            let header = header
                .into_iter()
                .find(|(_, line)| line.split('#').next().unwrap_or_default().trim() == "[apps]");
            let Some((at, _)) = header else {
                return Err("it has no line `[apps]` below which the app could be named".into());
            };
            let (before, after) = text.split_at(at.min(text.len()));
            let newline = if before.ends_with('\n') { "" } else { "\n" };
            return Ok(format!("{before}{newline}{app} = {word}\n{after}"));
        }
    };
    match (text.get(..span.start), text.get(span.end..)) {
        (Some(before), Some(after)) => Ok(format!("{before}{word}{after}")),
        _ => Err(format!("`apps.{app}` cannot be found in it")),
    }
}

fn find<'t>(table: &'t DeTable<'_>, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
    table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str) -> Result<String, String> {
        with_release(text, &"web".parse().unwrap(), &"2.0".parse().unwrap())
    }

    #[test]
    fn one_word_changes_and_every_other_byte_stays() {
        let plain = "# ours\n[apps]   # all\nweb  =  'follow'# now\ndb = \"1\"\n";
        assert_eq!(edited(plain).unwrap(), "# ours\n[apps]   # all\nweb  =  \"2.0\"# now\ndb = \"1\"\n");
        let table = "[apps]\nweb = { retry = 1, release = \"1.0\" }\n";
        assert_eq!(edited(table).unwrap(), "[apps]\nweb = { retry = 1, release = \"2.0\" }\n");
    }

    #[test]
    fn an_app_that_is_new_there_is_added() {
        assert_eq!(
            edited("[apps] # all\ndb = \"1\"\n").unwrap(),
            "[apps] # all\nweb = \"2.0\"\ndb = \"1\"\n"
        );
        assert_eq!(edited("[apps]").unwrap(), "[apps]\nweb = \"2.0\"\n");
        assert_eq!(edited("prune = true\n").unwrap(), "prune = true\n[apps]\nweb = \"2.0\"\n");
    }

    #[test]
    fn what_one_word_cannot_say_is_left_to_people() {
        for text in
            ["apps = 1", "[[apps.web]]\nrelease = \"1\"\n", "[apps]\nweb = 1\n", "[apps", "apps.db = \"1\"\n"]
        {
            assert!(edited(text).is_err(), "{text}");
        }
    }
}
