//! A TUF repository in memory that signs whatever a test wants, attacks included.
//!
//! Roles are plain JSON: a test changes what it likes and publishes it. Nothing here checks anything; that it is judged
//! by `protocol::trust` alone is the point. [`Site`] serves it over a real socket.

mod secret;
mod site;
mod tidelock;

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use serde_json::{Map, Value, json};
use tidelock_protocol::canonical;
use tidelock_protocol::digest::Digest;

pub use secret::Secret;
pub use site::{Reply, Site};

/// What every role says of its end until a test says otherwise.
pub const FAR: &str = "2040-01-01T00:00:00Z";

/// The four top-level roles, in the order in which they are published.
pub const TOP: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

/// A repository: what its roles say, who signs them, and the files that it has published.
#[derive(Clone)]
pub struct Repository {
    roles: BTreeMap<String, Value>,
    signers: BTreeMap<String, Vec<Secret>>,
    /// Published files by path, such as `metadata/1.root.json`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Whether snapshot and timestamp state lengths and digests.
    pub detailed: bool,
}

impl Index<&str> for Repository {
    type Output = Value;

    /// What a role says, as far as it was not published yet.
    fn index(&self, role: &str) -> &Value {
        &self.roles[role]
    }
}

impl IndexMut<&str> for Repository {
    fn index_mut(&mut self, role: &str) -> &mut Value {
        self.roles.get_mut(role).unwrap()
    }
}

impl Default for Repository {
    fn default() -> Self {
        Self::new()
    }
}

impl Repository {
    /// The four top-level roles at version 1, an Ed25519 key each, no targets.
    pub fn new() -> Self {
        let mut repository = Self::blank();
        repository.publish(&TOP);
        repository
    }

    /// The same, nothing published yet.
    fn blank() -> Self {
        let mut repository = Self {
            roles: TOP.iter().map(|role| ((*role).to_owned(), head(role))).collect(),
            signers: BTreeMap::new(),
            files: BTreeMap::new(),
            detailed: true,
        };
        repository["root"]["consistent_snapshot"] = json!(true);
        repository["root"]["keys"] = json!({});
        repository["targets"]["targets"] = json!({});
        repository["snapshot"]["meta"] = json!({});
        repository["timestamp"]["meta"] = json!({});
        for role in TOP {
            repository["root"]["roles"][role] = json!({"keyids": [], "threshold": 1});
            repository.add_key(role, Secret::ed25519());
        }
        repository
    }

    /// Publishes the next version of each role, in this order, and names it in the role above.
    pub fn publish(&mut self, roles: &[&str]) {
        for role in roles {
            let version = self[role]["version"].as_u64().unwrap() + 1;
            self[role]["version"] = json!(version);
            self.publish_again(role);
        }
    }

    /// Publishes a role as it stands, without a new version of its own.
    pub fn publish_again(&mut self, role: &str) {
        let bytes = self.signed(role);
        let version = self[role]["version"].as_u64().unwrap();
        let meta = self.meta(version, &bytes);
        match role {
            "root" => {}
            "timestamp" => {
                self.files.insert("metadata/timestamp.json".into(), bytes);
                return;
            }
            "snapshot" => self["timestamp"]["meta"]["snapshot.json"] = meta,
            _ => self["snapshot"]["meta"][format!("{role}.json")] = meta,
        }
        self.files.insert(format!("metadata/{version}.{}.json", encoded(role)), bytes);
    }

    /// The role as it stands, signed by its signers.
    pub fn signed(&self, role: &str) -> Vec<u8> {
        self.signed_as(role, &self[role])
    }

    /// Something signed by the signers of a role.
    pub fn signed_as(&self, role: &str, signed: &Value) -> Vec<u8> {
        let message = canonical::to_vec(signed).unwrap();
        let signature = |secret: &Secret| json!({"keyid": secret.id(), "sig": secret.sign(&message)});
        let signatures: Vec<Value> = self.signers[role].iter().map(signature).collect();
        serde_json::to_vec(&json!({"signatures": signatures, "signed": signed})).unwrap()
    }

    fn meta(&self, version: u64, bytes: &[u8]) -> Value {
        if self.detailed {
            json!({"version": version, "length": bytes.len(), "hashes": {"sha256": Digest::of(bytes).to_string()}})
        } else {
            json!({"version": version})
        }
    }

    /// Whose signatures the role carries from now on, whoever it is delegated to.
    pub fn signers(&mut self, role: &str) -> &mut Vec<Secret> {
        self.signers.entry(role.to_owned()).or_default()
    }

    /// Gives a top-level role one more key, in the root and among its signers.
    pub fn add_key(&mut self, role: &str, secret: Secret) {
        self["root"]["keys"][secret.id()] = serde_json::to_value(secret.public()).unwrap();
        self["root"]["roles"][role]["keyids"].as_array_mut().unwrap().push(json!(secret.id()));
        self.signers(role).push(secret);
    }

    /// Replaces the keys of a top-level role by a new one. The root itself is then signed by old and new.
    pub fn rotate(&mut self, role: &str) {
        self["root"]["roles"][role]["keyids"] = json!([]);
        if role != "root" {
            self.signers(role).clear();
        }
        self.add_key(role, Secret::ed25519());
    }

    /// Delegates `paths` to a new role with a key of its own, or to one that exists with one more key.
    pub fn delegate(&mut self, by: &str, role: &str, paths: &[&str]) {
        let secret = Secret::ed25519();
        let delegations = &mut self[by]["delegations"];
        if delegations.is_null() {
            *delegations = json!({"keys": {}, "roles": []});
        }
        delegations["keys"][secret.id()] = serde_json::to_value(secret.public()).unwrap();
        delegations["roles"].as_array_mut().unwrap().push(json!({
            "name": role, "keyids": [secret.id()], "threshold": 1, "terminating": false, "paths": paths}));
        self.signers(role).push(secret);
        self.roles.entry(role.to_owned()).or_insert_with(|| {
            let mut targets = head("targets");
            targets["targets"] = json!({});
            targets
        });
    }

    /// What `by` says of the role that it delegated to.
    pub fn delegation(&mut self, by: &str, role: &str) -> &mut Value {
        let roles = self[by]["delegations"]["roles"].as_array_mut().unwrap();
        roles.iter_mut().find(|delegation| delegation["name"] == role).unwrap()
    }

    /// Names a file in a role, and publishes its bytes.
    pub fn target(&mut self, role: &str, name: &str, bytes: &[u8]) -> &mut Value {
        let digest = Digest::of(bytes).to_string();
        let (directory, file) =
            name.rsplit_once('/').map_or(("", name), |(directory, file)| (directory, file));
        let slash = if directory.is_empty() { "" } else { "/" };
        self.files.insert(format!("targets/{directory}{slash}{digest}.{file}"), bytes.to_owned());
        self[role]["targets"][name] = json!({"length": bytes.len(), "hashes": {"sha256": digest}});
        &mut self[role]["targets"][name]
    }

    /// Changes a published file, behind the back of whoever signed it.
    pub fn tamper(&mut self, path: &str, change: impl FnOnce(&mut Value)) {
        let file = self.files.get_mut(path).unwrap();
        let mut value: Value = serde_json::from_slice(file).unwrap();
        change(&mut value);
        *file = serde_json::to_vec(&value).unwrap();
    }

    /// Makes every file of a role that was published disappear.
    pub fn unpublish(&mut self, role: &str) {
        let end = format!("{role}.json");
        self.files.retain(|path, _| !(path.starts_with("metadata/") && path.ends_with(&end)));
    }
}

fn head(role: &str) -> Value {
    let kind = if TOP.contains(&role) { role } else { "targets" };
    let mut head = Map::new();
    head.insert("_type".into(), json!(kind));
    head.insert("spec_version".into(), json!("1.0.34"));
    head.insert("version".into(), json!(0));
    head.insert("expires".into(), json!(FAR));
    Value::Object(head)
}

/// A role's name in a URL.
pub fn encoded(role: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    role.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
