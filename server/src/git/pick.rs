//! Which commit an environment takes: PURE.
//!
//! Never here: how ancestry is found out (`repository`).

use super::ObjectId;

/// What is known about the commit that an environment was last published from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Nothing was published yet.
    Never,
    /// This commit, and the branch's head descends from it (or is it).
    Ancestor(ObjectId),
    /// This commit, and the branch's head does not descend from it, or the repository does not hold it any more.
    Elsewhere(String),
}

/// What the environment does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Takes the head of its branch.
    Take,
    /// Takes it although history was rewritten: somebody accepted that, with a reason.
    TakeRewritten {
        /// The commit that the head does not descend from.
        from: String,
        /// The reason that was given.
        reason: String,
    },
    /// Stays where it is until somebody accepts the rewrite.
    Stop {
        /// The commit that the head does not descend from.
        from: String,
    },
}

/// Whether an environment may take the head of its branch, given what was published and whether a rewrite was accepted.
pub fn pick(published: Published, accepted: Option<&str>) -> Pick {
    match (published, accepted) {
        (Published::Never | Published::Ancestor(_), _) => Pick::Take,
        (Published::Elsewhere(from), Some(reason)) => Pick::TakeRewritten { from, reason: reason.to_owned() },
        (Published::Elsewhere(from), None) => Pick::Stop { from },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rewrite_stops_and_only_a_reason_accepts_it() {
        let known: ObjectId = "a".repeat(40).parse().unwrap();
        assert_eq!(pick(Published::Never, None), Pick::Take);
        assert_eq!(pick(Published::Ancestor(known.clone()), None), Pick::Take);
        // A reason given in advance changes nothing where nothing was rewritten.
        assert_eq!(pick(Published::Ancestor(known), Some("why")), Pick::Take);
        let gone = Published::Elsewhere("b".repeat(40));
        assert!(matches!(pick(gone.clone(), None), Pick::Stop { .. }));
        assert!(matches!(pick(gone, Some("why")), Pick::TakeRewritten { reason, .. } if reason == "why"));
    }
}
