//! Turn after turn for as long as the server runs: whatever a turn ends with, the next one comes, and a journal that is
//! read by people says what changed, not every half minute what has not.
//!
//! Never here: what a turn does.

use std::error::Error;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::error::chain;

/// What a watch has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A turn did something, or waits for something else than before.
    News(String),
    /// What somebody should know although it stopped nothing, and what did not hold at the turn before.
    Warning(String),
    /// A turn failed, in another way than the one before.
    Trouble(String),
    /// The first turn that did not fail, after some that did.
    Well,
}

/// Why a pause ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Something was handed in: look now.
    Look,
    /// No more turns.
    Stop,
}

/// What is worth saying of a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// What it did or waits for; empty when that is nothing.
    pub text: String,
    /// What somebody should know although it stopped nothing.
    pub warnings: Vec<String>,
    /// Why it could not do all that it should.
    pub trouble: Option<String>,
}

/// Runs `turn` at once, then every `pause` and whenever it is woken, until it is stopped or nobody is left to do that. Every error is survived: the
/// next turn starts from what is on disk.
///
/// Nothing is said twice in a row, and a warning once for as long as it holds.
pub fn watch<E: Error>(
    mut turn: impl FnMut() -> Result<News, E>,
    pause: Duration,
    wake: &Receiver<Wake>,
    mut say: impl FnMut(Said),
) {
    let mut before = News::default();
    loop {
        // What was said before a turn that failed holds, as far as anybody knows.
        let now = turn().unwrap_or_else(|error| News { trouble: Some(chain(&error)), ..before.clone() });
        if before.trouble.is_some() && now.trouble.is_none() {
            say(Said::Well);
        }
        for warning in now.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
            say(Said::Warning(warning.clone()));
        }
        if now.text != before.text && !now.text.is_empty() {
            say(Said::News(now.text.clone()));
        }
        if let Some(trouble) = now.trouble.as_ref().filter(|now| before.trouble.as_ref() != Some(now)) {
            say(Said::Trouble(trouble.clone()));
        }
        before = now;
        match wake.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) | Ok(Wake::Look) => {}
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
        // One turn sees all that was handed in.
        if wake.try_iter().any(|why| why == Wake::Stop) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::channel;

    use super::*;

    /// What is said of these turns.
    fn said(turns: &[Result<&str, &str>]) -> Vec<Said> {
        let plain = |text: &str| News { text: text.to_owned(), ..News::default() };
        said_of(turns.iter().map(|turn| turn.map(plain)).collect())
    }

    fn said_of(turns: Vec<Result<News, &str>>) -> Vec<Said> {
        let (stop, stopped) = channel();
        let last = turns.len();
        let (mut turns, mut said) = (turns.into_iter(), Vec::new());
        let mut count = 0;
        let turn = || {
            count += 1;
            if count == last {
                stop.send(Wake::Stop).unwrap();
            }
            turns.next().unwrap().map_err(io::Error::other)
        };
        watch(turn, Duration::from_millis(1), &stopped, |word| said.push(word));
        said
    }

    #[test]
    fn an_error_is_said_once_per_change_and_survived() {
        let trouble = |text: &str| Said::Trouble(text.into());
        assert_eq!(
            said(&[Err("no network"), Err("no network"), Err("no space"), Ok(""), Ok(""), Err("no space")]),
            [trouble("no network"), trouble("no space"), Said::Well, trouble("no space")]
        );
    }

    #[test]
    fn news_are_said_once_and_again_after_others() {
        let news = |text: &str| Said::News(text.into());
        assert_eq!(
            said(&[Ok("published 1"), Ok(""), Ok("published 1"), Ok("waits"), Ok("waits"), Ok("")]),
            [news("published 1"), news("published 1"), news("waits")]
        );
    }

    #[test]
    fn a_warning_is_said_once_for_as_long_as_it_holds_whatever_is_published() {
        let turn = |text: &str, warnings: &[&str]| {
            let warnings = warnings.iter().map(|one| (*one).to_owned()).collect();
            Ok(News { text: text.into(), warnings, trouble: None })
        };
        let (news, warning) = (|text: &str| Said::News(text.into()), |text: &str| Said::Warning(text.into()));
        let turns = vec![
            turn("published 1", &["the clock"]),
            turn("", &["the clock"]),
            turn("published 2", &["the clock", "the disk"]),
            Err("no network"),
            turn("", &["the clock"]),
            turn("", &[]),
            turn("", &["the clock"]),
        ];
        let said = said_of(turns);
        let expected = [
            warning("the clock"),
            news("published 1"),
            warning("the disk"),
            news("published 2"),
            Said::Trouble("no network".into()),
            Said::Well,
            warning("the clock"),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn trouble_beside_news_is_said_once_and_its_end_too() {
        let turn = |text: &str, trouble: Option<&str>| {
            Ok(News { text: text.into(), warnings: Vec::new(), trouble: trouble.map(Into::into) })
        };
        let turns = vec![
            turn("", Some("a mistake")),
            turn("published 1", Some("a mistake")),
            Err("no space"),
            turn("", Some("a mistake")),
            turn("", None),
        ];
        let trouble = |text: &str| Said::Trouble(text.into());
        let expected = [
            trouble("a mistake"),
            Said::News("published 1".into()),
            trouble("no space"),
            trouble("a mistake"),
            Said::Well,
        ];
        assert_eq!(said_of(turns), expected);
    }

    #[test]
    fn a_stop_ends_the_pause_at_once_and_so_does_a_lost_sender() {
        let (stop, stopped) = channel();
        stop.send(Wake::Stop).unwrap();
        let hour = Duration::from_secs(3600);
        watch(|| Ok::<_, io::Error>(News::default()), hour, &stopped, |_| ());
        drop(stop);
        watch(|| Ok::<_, io::Error>(News::default()), hour, &stopped, |_| ());
    }
}
