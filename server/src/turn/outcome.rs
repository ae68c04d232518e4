//! What a turn came to.

use std::fmt;
use std::path::PathBuf;

use tidelock_protocol::desired::Desired;
use tidelock_protocol::digest::Digest;
use tidelock_protocol::names::EnvironmentName;

use super::{Board, News};
use crate::git::Commit;
use crate::publish::{Missing, Waiting};

/// What a turn came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The commit whose `fleet.toml` counted.
    pub commit: Commit,
    /// SHA-256 of the newest root file, by which a device may begin to trust; none: no root is published yet.
    pub root: Option<Digest>,
    /// Manifests that were published.
    pub manifests: Vec<Desired>,
    /// Roles that were signed, with their versions.
    pub signed: Vec<(String, u64)>,
    /// Environments that wait for somebody's signature.
    pub waiting: Vec<Waiting>,
    /// Other roles that lack a signature.
    pub missing: Vec<Missing>,
    /// Environments that do not take the head of their branch.
    pub stopped: Vec<Stopped>,
    /// Why nothing newer was taken from the fleet repository.
    pub trouble: Option<String>,
    /// What somebody should know although it stopped nothing.
    pub warnings: Vec<String>,
    /// Who may say what, as the turn saw it.
    pub board: Board,
    /// Where it was published.
    pub out: PathBuf,
}

/// An environment that stays where it is until somebody acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The environment.
    pub environment: EnvironmentName,
    /// Its branch.
    pub branch: String,
    /// The commit that was published last; empty when none was.
    pub from: String,
    /// The head of the branch.
    pub to: String,
    /// Why it is not taken.
    pub cause: Cause,
}

/// Why the head of a branch is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It does not descend from what was published, until somebody accepts that with a reason.
    Rewritten,
    /// It carries no signature that counts; these words say what is wrong with it.
    Unsigned(String),
    /// It wants a release that the environment before it was not published with for long enough, in these words.
    Unsoaked(String),
}

impl Outcome {
    /// The whole in a few words.
    pub fn in_short(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return format!("trouble: {trouble}");
        }
        let Commit { id, subject, .. } = &self.commit;
        let id = id.as_str().get(..12).unwrap_or_default();
        let waits = self.waiting.iter().map(|waiting| &waiting.desired.environment);
        let waits: Vec<String> = waits
            .chain(self.stopped.iter().map(|stopped| &stopped.environment))
            .map(ToString::to_string)
            .collect();
        match (waits.is_empty(), self.missing.is_empty()) {
            (true, true) => format!("{id} {subject:?} is published"),
            (true, false) => format!("a signature is missing at {id} {subject:?}"),
            (false, _) => format!("{} waits for somebody at {id} {subject:?}", waits.join(", ")),
        }
    }

    /// Whether nothing was written.
    pub fn is_unchanged(&self) -> bool {
        self.signed.is_empty()
    }
}

/// What a watch says of it: warnings and trouble apart, since they hold from turn to turn.
impl From<Outcome> for News {
    fn from(mut outcome: Outcome) -> Self {
        let (warnings, trouble) = (std::mem::take(&mut outcome.warnings), outcome.trouble.take());
        Self { text: outcome.to_string(), warnings, trouble }
    }
}

/// Which commit is not taken, why, and what to do.
impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { branch, from, to, cause, .. } = self;
        write!(f, "{branch} at {to} ")?;
        match cause {
            Cause::Rewritten => write!(
                f,
                "does not descend from {from}, which was published last; look at what happened, then \
                 `publish --accept-rewrite REASON`"
            ),
            Cause::Unsoaked(reason) => write!(
                f,
                "is not taken yet: {reason}; in an emergency `tidelock-server break-glass` lets it through, for a while"
            ),
            Cause::Unsigned(reason) => write!(
                f,
                "is not taken, because {reason}; commits must be signed here: add a signed commit \
                 (`git commit -S --allow-empty`), whose signer then answers for all before it"
            ),
        }
    }
}

/// What people read of it, line by line, the exit code aside; empty when there is nothing to say.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        for Desired { environment, serial, source, apps, .. } in &self.manifests {
            let commit = source.commit.get(..12).unwrap_or(&source.commit);
            writeln!(
                f,
                "published {environment} (serial {serial}) from {commit} {:?} by {}",
                source.subject, source.author
            )?;
            for (app, choices) in apps {
                let versions: Vec<&str> =
                    choices.iter().map(|choice| choice.stable.version.as_str()).collect();
                writeln!(f, "  {app} {}", versions.join(", "))?;
            }
        }
        let roles: Vec<String> =
            self.signed.iter().map(|(role, version)| format!("{role} {version}")).collect();
        if !roles.is_empty() {
            writeln!(f, "signed {}", roles.join(", "))?;
        }
        if let Some(root) = self.root.filter(|_| self.signed.iter().any(|(role, _)| role == "root")) {
            writeln!(f, "root sha256 {root}")?;
        }
        for stopped in &self.stopped {
            writeln!(f, "stopped {}: {stopped}", stopped.environment)?;
        }
        for Waiting { desired, missing } in &self.waiting {
            let lacking: Vec<String> = missing.iter().map(ToString::to_string).collect();
            writeln!(
                f,
                "pending {} (serial {}): {}",
                desired.environment,
                desired.serial,
                lacking.join("; ")
            )?;
        }
        for missing in &self.missing {
            writeln!(f, "pending {missing}")?;
        }
        Ok(())
    }
}
