//! `fleet.toml`: who may sign for this fleet. It counts only on the server's configured branch.
//!
//! ```toml
//! format = 1
//!
//! [keys]                              # people and machines, by their public keys
//! anna = "ed25519:3d4017c3…"          # 64 hex digits, or a P-256 key in PEM
//!
//! [roles.root]                        # and `targets`, which delegates
//! keys = ["anna", "ben", "cleo"]
//! threshold = 2                       # how many of them must sign; 1 where it is not said
//! life = "365d"                       # how long a signature lives; signed again at half of it
//!
//! [roles.app]                         # who builds, unless [apps.<app>] says otherwise
//! [roles.rollout]                     # one online key
//! [roles.snapshot]                    # one online key
//! [roles.timestamp]                   # one online key; `resign` instead of half its life
//!
//! [retention]
//! releases = 20                       # newest releases of an app that its role names, besides those that are wanted
//! grace = "180d"                      # how long files stay that nothing names: longer than any device may sleep
//!
//! [environments.prod]
//! requires = "staging"                # wants nothing that staging was not published with
//! soak = "24h"                        # for so long
//! owner = "git"                       # commits move it; "push": a pipeline does, with `min_interval = "5m"` between two
//! keys = ["anna", "ben"]
//! threshold = 2
//! ```

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use tidelock_protocol::keys::PublicKey;
use tidelock_protocol::names::{AppName, EnvironmentName};
use tidelock_protocol::nearest::nearest;

use super::document::{self, Table, Value};
use super::{At, Place, Problems};

const DAY: u64 = 86_400;

/// Who may sign for a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// Signs root and targets.
    pub root: Role,
    /// Signs the releases of every app without keys of its own.
    pub app: Role,
    /// Signs how far rollouts may go.
    pub rollout: Role,
    /// Signs which versions belong together.
    pub snapshot: Role,
    /// Signs which snapshot is the newest.
    pub timestamp: Role,
    /// How often the timestamp is signed again.
    pub resign: Duration,
    /// Apps with keys of their own.
    pub apps: BTreeMap<AppName, Role>,
    /// The environments.
    pub environments: BTreeMap<EnvironmentName, EnvironmentRole>,
    /// How many of an app's newest releases its role names, besides those that an environment names.
    pub retained: usize,
    /// How long a file stays published that no role names any more: longer than any device may sleep.
    pub grace: Duration,
}

/// Who signs a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Names (for people) and keys.
    pub keys: BTreeMap<String, PublicKey>,
    /// How many of them must sign.
    pub threshold: u32,
    /// How long a signature lives.
    pub life: Duration,
}

/// An environment and who signs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentRole {
    /// Who owns it.
    pub owner: Owner,
    /// Who signs it.
    pub role: Role,
    /// Shortest time between two pushes that move it.
    pub min_interval: Option<Duration>,
    /// Which other environment must have been published with a release before this one may want it.
    pub requires: Option<Requires>,
    /// Where that is said.
    pub place: Place,
}

/// What an environment waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requires {
    /// The other environment.
    pub environment: EnvironmentName,
    /// How long that must have been published with a release.
    pub soak: Duration,
}

/// The one party that says what an environment wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This repository.
    Git,
    /// A pipeline that pushes.
    Push,
}

impl FromStr for Owner {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "git" => Ok(Self::Git),
            "push" => Ok(Self::Push),
            _ => Err("expected \"git\" or \"push\""),
        }
    }
}

pub(super) fn read(path: &str, bytes: &[u8], problems: &mut Problems) -> Option<Fleet> {
    document::read(path, bytes, problems, |table| {
        let format = table.required("format").and_then(|value| value.number(1, 1));
        let keys = table.required("keys").and_then(|value| value.table("a table of names and public keys"));
        let keys = keys.as_ref().map(public_keys).unwrap_or_default();
        let roles = table.required("roles").and_then(|value| value.table("a table of roles"));
        let of = |name: &'static str, days: u64| {
            let table = roles.as_ref()?.required(name)?.table("a table with `keys`")?;
            let resign = (name == "timestamp").then(|| table.optional("resign")).flatten();
            let role = role(&table, &keys, days);
            table.finish();
            Some((role?, resign.and_then(|value| value.duration())))
        };
        let one = |name, days| of(name, days).map(|(role, _)| role);
        let (root, app, rollout) = (one("root", 365), one("app", 365), one("rollout", 365));
        let (snapshot, timestamp) = (one("snapshot", 30), of("timestamp", 7));
        if let Some(roles) = &roles {
            roles.finish();
        }
        let environments =
            table.required("environments").and_then(|value| value.table("a table of environments"));
        let environments = environments.iter().flat_map(Table::named).filter_map(|(name, value)| {
            Some((name.value, environment(&value.table("a table with `owner` and `keys`")?, &keys)?))
        });
        let environments: BTreeMap<_, _> = environments.collect();
        let apps =
            table.optional("apps").and_then(|value| value.table("a table of apps with keys of their own"));
        let apps = apps.iter().flat_map(Table::named::<AppName>).filter_map(|(name, value)| {
            let table = value.table("a table with `keys`")?;
            let role = role(&table, &keys, 365);
            table.finish();
            Some((name.value, role?))
        });
        let apps = apps.collect();
        let retained = table.optional("retention").and_then(|value| value.table("a table with `releases`"));
        let (retained, grace) = retained.map_or((None, None), |table| {
            let (releases, grace) = (table.optional("releases"), table.optional("grace"));
            table.finish();
            (releases.and_then(|value| value.number(1, 1000)), grace.and_then(|value| value.duration()))
        });
        format?;
        let (timestamp, resign) = timestamp?;
        let resign = resign.unwrap_or(Duration::from_secs(6 * 3600)).min(timestamp.life / 2);
        let retained = usize::try_from(retained.unwrap_or(20)).ok()?;
        Some(Fleet {
            root: root?,
            app: app?,
            rollout: rollout?,
            snapshot: snapshot?,
            timestamp,
            resign,
            apps,
            environments,
            retained,
            grace: grace.unwrap_or(Duration::from_secs(180 * DAY)),
        })
    })
}

fn environment(table: &Table<'_>, keys: &BTreeMap<String, PublicKey>) -> Option<EnvironmentRole> {
    let owner = table.required("owner").and_then(|value| value.parsed("\"git\" or \"push\""));
    let role = role(table, keys, 365);
    let interval = table.optional("min_interval");
    let required = table.optional("requires").and_then(|value| value.parsed("the name of an environment"));
    let soak = table.optional("soak");
    let span = soak.as_ref().and_then(|value| value.pause()).unwrap_or_default();
    if let (Some(value), None) = (&soak, &required) {
        value.problem("stands without `requires`: say which environment comes first");
    }
    let min_interval = interval.as_ref().and_then(|value| value.pause());
    table.finish();
    if let (Some(value), Some(At { value: Owner::Git, .. })) = (interval, &owner) {
        value.problem("is for an environment that is pushed to; commits are taken as they come");
    }
    let requires = required.map(|At { value: environment, .. }| Requires { environment, soak: span });
    Some(EnvironmentRole { owner: owner?.value, role: role?, min_interval, requires, place: table.place() })
}

/// `keys`, `threshold` and `life` of one role.
fn role(table: &Table<'_>, known: &BTreeMap<String, PublicKey>, days: u64) -> Option<Role> {
    let named = table.required("keys").and_then(|value| {
        let names = value.items("an array of names of [keys]")?;
        if names.is_empty() {
            value.problem("is empty: name who signs");
        }
        let found: Vec<_> = names.iter().map(|name| key(name, known)).collect();
        found.into_iter().collect::<Option<Vec<_>>>()
    });
    let life = table.optional("life").map_or(Some(Duration::from_secs(days * DAY)), |value| value.duration());
    let threshold = table.optional("threshold");
    let keys: BTreeMap<String, PublicKey> = named?.into_iter().collect();
    let most = u64::try_from(keys.len()).ok()?;
    let threshold = threshold.map_or(Some(1), |value| value.number(1, most.max(1)))?;
    Some(Role { keys, threshold: u32::try_from(threshold).ok()?, life: life? })
}

fn key(name: &Value<'_>, known: &BTreeMap<String, PublicKey>) -> Option<(String, PublicKey)> {
    let text = name.text("a name of [keys]")?;
    let Some(key) = known.get(text) else {
        let meant = nearest(text, known.keys().map(String::as_str));
        let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        name.problem(format!("[keys] has no {text:?}{hint}"));
        return None;
    };
    Some((text.to_owned(), key.clone()))
}

fn public_keys(table: &Table<'_>) -> BTreeMap<String, PublicKey> {
    let mut keys = BTreeMap::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in table.named::<String>() {
        const EXPECTED: &str = "\"ed25519:\" and 64 hex digits, or a P-256 public key in PEM";
        let Some(text) = value.text(EXPECTED) else { continue };
        let key = match text.strip_prefix("ed25519:") {
            Some(hex) => HEXLOWER.decode(hex.as_bytes()).ok().and_then(|bytes| {
                let bytes: [u8; 32] = bytes.try_into().ok()?;
                Some(PublicKey::ed25519(&bytes))
            }),
            None => Some(PublicKey::ecdsa_p256(text.trim())),
        };
        let Some(key) = key.filter(|key| key.material().is_some()) else {
            value.problem(format!("expected {EXPECTED}"));
            continue;
        };
        // One key under two names would count once for a threshold that its owners believe to be two.
        if let Some(other) = seen.insert(key.key_id().as_str().to_owned(), name.value.clone()) {
            value.problem(format!("is the same key as `keys.{other}`"));
        }
        keys.insert(name.value, key);
    }
    keys
}
