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
    /// A turn failed, in another way than the one before.
    Trouble(String),
    /// The first turn that did not fail, after some that did.
    Well,
}

/// Runs `turn` at once and then every `pause`, until `stop` is sent or its sender is gone. Every error is survived: the
/// next turn starts from what is on disk.
///
/// A turn gives back what is worth saying, empty when nothing is. Nothing is said twice in a row.
pub fn watch<E: Error>(
    mut turn: impl FnMut() -> Result<String, E>,
    pause: Duration,
    stop: &Receiver<()>,
    mut say: impl FnMut(Said),
) {
    let mut news = String::new();
    let mut trouble: Option<String> = None;
    loop {
        match turn() {
            Ok(now) => {
                if trouble.take().is_some() {
                    say(Said::Well);
                }
                if now != news {
                    news.clone_from(&now);
                    if !now.is_empty() {
                        say(Said::News(now));
                    }
                }
            }
            Err(error) => {
                let now = chain(&error);
                if trouble.as_ref() != Some(&now) {
                    say(Said::Trouble(now.clone()));
                    trouble = Some(now);
                }
            }
        }
        match stop.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
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
        let (stop, stopped) = channel();
        let (mut turns, mut said) = (turns.iter(), Vec::new());
        let last = turns.len();
        let mut count = 0;
        let turn = || {
            count += 1;
            if count == last {
                stop.send(()).unwrap();
            }
            match turns.next().unwrap() {
                Ok(news) => Ok((*news).to_owned()),
                Err(error) => Err(io::Error::other(*error)),
            }
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
    fn a_stop_ends_the_pause_at_once_and_so_does_a_lost_sender() {
        let (stop, stopped) = channel();
        stop.send(()).unwrap();
        let hour = Duration::from_secs(3600);
        watch(|| Ok::<_, io::Error>(String::new()), hour, &stopped, |_| ());
        drop(stop);
        watch(|| Ok::<_, io::Error>(String::new()), hour, &stopped, |_| ());
    }
}
