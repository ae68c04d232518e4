//! What the units of an app may say. They name no unit but their own and those that the owner allows; those of an app
//! that may not be root cannot make it root, by whatever setting.
//!
//! Never here: reading or writing a unit file.

use std::path::Path;

use super::file::Line;
use super::{Owner, prefixed};
use crate::io::user;

/// Ordering after anything holds up nobody else.
const AFTER: &str = "After";
/// These pull in, stop, hold up or hand over to other units.
const NAMES: &[&str] = &[
    "Before",
    "Wants",
    "Requires",
    "Requisite",
    "BindsTo",
    "PartOf",
    "Upholds",
    "Conflicts",
    "OnFailure",
    "OnSuccess",
    "PropagatesReloadTo",
    "ReloadPropagatedFrom",
    "PropagatesStopTo",
    "StopPropagatedFrom",
    "JoinsNamespaceOf",
    "Sockets",
    "Service",
    "Unit",
    "Slice",
    "WantedBy",
    "RequiredBy",
    "UpheldBy",
];
/// Units of the system that any app may want, or be wanted by.
const TARGETS: &[&str] = &[
    "multi-user.target",
    "graphical.target",
    "default.target",
    "timers.target",
    "sockets.target",
    "paths.target",
    "network.target",
    "network-online.target",
    "nss-lookup.target",
    "time-sync.target",
    "sound.target",
];
/// Other names for a unit would stand in place of units of the system.
const NEVER: &[&str] = &["Alias", "Also", "DefaultInstance"];

/// What an app that may not be root may set, by section; a word that ends in `*` stands for all that begin so. Settings
/// that the service manager carries out as root for the app (files it opens, directories it gives away, mounts it makes,
/// groups it joins) are not here, or only with values that [`confined`] allows.
const SETTINGS: &[(&str, &str)] = &[
    (
        "Unit",
        "Description Documentation After Before Wants Requires Requisite BindsTo PartOf Upholds Conflicts OnFailure \
         OnSuccess PropagatesReloadTo ReloadPropagatedFrom PropagatesStopTo StopPropagatedFrom JoinsNamespaceOf \
         StartLimitIntervalSec StartLimitBurst StopWhenUnneeded JobTimeoutSec CollectMode Condition* Assert*",
    ),
    ("Install", "WantedBy RequiredBy UpheldBy"),
    (
        "Service",
        "Type Exec* Restart* TimeoutStartSec TimeoutStopSec TimeoutAbortSec TimeoutSec RuntimeMaxSec WatchdogSec \
         WatchdogSignal NotifyAccess RemainAfterExit SuccessExitStatus GuessMainPID Sockets NonBlocking \
         OOMPolicy FileDescriptorStoreMax Kill* FinalKillSignal SendSIG* User DynamicUser WorkingDirectory UMask \
         Environment EnvironmentFile PassEnvironment UnsetEnvironment Nice CPU* IO* Memory* Tasks* Limit* \
         OOMScoreAdjust StandardInput StandardOutput StandardError Syslog* Log* IgnoreSIGPIPE Protect* Private* \
         Restrict* SystemCall* NoNewPrivileges CapabilityBoundingSet AmbientCapabilities LockPersonality \
         MemoryDenyWriteExecute RemoveIPC KeyringMode ProcSubset Device* IPAddress* IPAccounting SocketBind* \
         InaccessiblePaths ReadOnlyPaths ReadWritePaths NoExecPaths ExecPaths LoadCredential SetCredential \
         RuntimeDirectory* StateDirectory* CacheDirectory* LogsDirectory* Slice",
    ),
    ("Timer", "On* AccuracySec RandomizedDelaySec FixedRandomDelay Persistent Unit RemainAfterElapse"),
    ("Path", "PathExists PathExistsGlob PathChanged PathModified DirectoryNotEmpty Unit TriggerLimit*"),
    (
        "Socket",
        "ListenStream ListenDatagram ListenSequentialPacket Accept Service MaxConnections* Backlog NoDelay KeepAlive* \
         ReusePort FreeBind BindIPv6Only FileDescriptorName DeferAcceptSec ReceiveBuffer SendBuffer SocketMode \
         TriggerLimit*",
    ),
];

/// What of the settings may make root of an app, or let it at what belongs to others.
fn confined(line: &Line, owner: &Owner<'_>) -> Result<(), String> {
    let value = line.value.as_str();
    let own_file = |path: &str| {
        let path = path.trim_start_matches('-');
        let own = path == owner.app_env.as_os_str()
            || owner.places.iter().any(|place| Path::new(path).starts_with(place));
        own && !path.contains("..") && !path.contains('%')
    };
    let own_name =
        |name: &str| name.split('/').next() == Some(owner.app.as_str()) && !name.contains([':', '%', '.']);
    let fits = match line.key.as_str() {
        key if key.starts_with("Exec") && !key.ends_with("Paths") => commands_stay_unprivileged(value),
        "User" => return owner.may_be_user(value),
        "AmbientCapabilities" => value.split_whitespace().all(|word| word == "CAP_NET_BIND_SERVICE"),
        "EnvironmentFile" => value.is_empty() || own_file(value),
        "LoadCredential" => value.is_empty() || value.split_once(':').is_some_and(|(_, path)| own_file(path)),
        "RuntimeDirectory" | "StateDirectory" | "CacheDirectory" | "LogsDirectory" => {
            value.split_whitespace().all(own_name)
        }
        "StandardInput" => matches!(value, "null" | "socket" | ""),
        "StandardOutput" | "StandardError" => matches!(value, "null" | "journal" | "inherit" | "socket" | ""),
        key if key.starts_with("Listen") => {
            let own = format!("/run/{}/", owner.app);
            !value.contains("..") && !value.contains('%') && (!value.contains('/') || value.starts_with(&own))
        }
        _ => return Ok(()),
    };
    if fits { Ok(()) } else { Err(refusal(line, owner)) }
}

/// No command of an Exec line has a prefix that lets it run with the rights of the service manager.
fn commands_stay_unprivileged(value: &str) -> bool {
    let mut first = true;
    value.split_whitespace().all(|word| {
        let begins = std::mem::replace(&mut first, word == ";");
        let program = word.trim_start_matches(['@', '-', ':']);
        !begins || program.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
    })
}

fn refusal(line: &Line, owner: &Owner<'_>) -> String {
    let shown: String = line.value.chars().take(80).collect();
    format!(
        "`{}={shown}` is only for apps that may be root (`allow_root_apps`); {} may not",
        line.key, owner.app
    )
}

/// The line as it is written for the service manager: names of own units with their prefix.
pub(super) fn judged(line: Line, owner: &Owner<'_>) -> Result<Line, String> {
    if NEVER.contains(&line.key.as_str()) {
        return Err(format!("`{}=` would name units of the system", line.key));
    }
    let line =
        if line.key == AFTER || NAMES.contains(&line.key.as_str()) { renamed(line, owner)? } else { line };
    if owner.may_be_root {
        return Ok(line);
    }
    let known = |word: &str| match word.strip_suffix('*') {
        Some(begin) => line.key.starts_with(begin),
        None => line.key == word,
    };
    let listed = SETTINGS
        .iter()
        .any(|(section, words)| *section == line.section && words.split_whitespace().any(known));
    if !listed {
        return Err(refusal(&line, owner));
    }
    confined(&line, owner).map(|()| line)
}

fn renamed(line: Line, owner: &Owner<'_>) -> Result<Line, String> {
    let name = |name: &str| match own(owner.app.as_str(), owner.units, name) {
        Some(own) => Ok(own),
        None if line.key == AFTER || owner.allowed.contains(name) => Ok(name.to_owned()),
        None if TARGETS.contains(&name) && !matches!(line.key.as_str(), "Before" | "Conflicts") => {
            Ok(name.to_owned())
        }
        None => Err(format!(
            "`{}=` names {name}, which is no unit of {} and not in `allow_units` here",
            line.key, owner.app
        )),
    };
    let names = line.value.split_whitespace().map(name).collect::<Result<Vec<_>, _>>()?;
    Ok(Line { value: names.join(" "), ..line })
}

/// What a unit of the app is called on the device, by its own name, as an instance, or by that very name.
pub(super) fn own(app: &str, units: &[String], name: &str) -> Option<String> {
    let name = name.strip_prefix(&prefixed(app, "")).unwrap_or(name);
    let template = || {
        let (stem, rest) = name.split_once('@')?;
        Some(format!("{stem}@.{}", rest.rsplit_once('.')?.1))
    };
    let known =
        units.iter().any(|unit| unit == name) || template().is_some_and(|template| units.contains(&template));
    known.then(|| prefixed(app, name))
}

impl Owner<'_> {
    /// Whether a unit may run as the user of this name.
    fn may_be_user(&self, name: &str) -> Result<(), String> {
        if name.is_empty() {
            return Ok(());
        }
        match user::named(name).map_err(|error| error.to_string())? {
            Some(user) if user.uid != 0 => Ok(()),
            Some(_) => Err(format!("`User={name}` is only for apps that may be root (`allow_root_apps`)")),
            None => Err(format!("this device has no user {name}")),
        }
    }

    /// Whether a check may ask about the unit of this name.
    pub(super) fn names(&self, unit: &str) -> bool {
        own(self.app.as_str(), self.units, unit).is_some() || self.allowed.contains(unit)
    }
}
