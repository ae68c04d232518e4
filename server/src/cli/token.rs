//! `token`: made, listed, revoked on the server's own machine.

use std::path::Path;

use tidelock_protocol::time::Timestamp;

use super::arguments::Token;
use super::{Error, Exit, say};
use crate::store::{self, NewToken, Scope, Store};
use crate::{keys, look, turn};

/// Does what is asked of tokens.
///
/// # Errors
/// The store fails, or a name is taken.
pub fn token(command: &Token) -> Result<Exit, Error> {
    match command {
        Token::Create { state, name, app, env, expires } => {
            let now = look::clock().now;
            let new = NewToken {
                name: name.clone(),
                apps: Scope(app.clone()),
                environments: Scope(env.clone()),
                expires: now.after(*expires),
            };
            let text = turn::create_token(state, &new, &keys::random()?, now)?;
            say(&text);
            Ok(Exit::Done)
        }
        Token::List { state } => list(state),
        Token::Revoke { state, name } => {
            if turn::revoke_token(state, name, look::clock().now)? {
                say(&format!("revoked {name}"));
                return Ok(Exit::Done);
            }
            say(&format!("there is no token {name:?} that could be revoked"));
            Ok(Exit::Error)
        }
    }
}

fn list(state: &Path) -> Result<Exit, Error> {
    let Some(store) = Store::existing(state)? else { return Ok(Exit::Done) };
    let now = look::clock().now;
    for store::Token { name, apps, environments, expires, revoked, used, .. } in store.tokens()? {
        let until = match revoked {
            Some(at) => format!("REVOKED {at}"),
            None if expires <= now => format!("EXPIRED {expires}"),
            None => format!("until {expires}"),
        };
        let used = used.map_or_else(|| "never used".to_owned(), |at: Timestamp| format!("last used {at}"));
        say(&format!(
            "{name}  apps: {}  environments: {}  {until}  {used}",
            names(&apps),
            names(&environments)
        ));
    }
    Ok(Exit::Done)
}

fn names<T: ToString>(scope: &Scope<T>) -> String {
    let names: Vec<String> = scope.0.iter().map(ToString::to_string).collect();
    if names.is_empty() { "all".into() } else { names.join(", ") }
}
