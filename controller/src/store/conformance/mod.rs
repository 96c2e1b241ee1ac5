//! Stories that every store must pass: the contract, told by example.
//!
//! [`run_all`] plays each story on a fresh store. A story that fails panics and names itself, as a
//! test does; so this module is compiled for tests only (feature `conformance` elsewhere).
//!
//! Not here: what is particular to one implementation, such as its files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a story is a test")]

mod accepting;
mod access;
mod agents;
mod alarms;
mod chaining;
mod changing;
mod connecting;
mod counting;
mod ending;
mod happening;
mod histories;
pub mod house;
mod identity;
mod keeping;
mod leasing;
mod listing;
mod output;
mod removing;
mod resourcing;
mod restoring;
mod retrying;
mod scanning;
mod settling;
mod users;

use std::pin::Pin;
use std::sync::Arc;

use super::Store;

pub use house::House;

/// A future that a story is.
pub type Played<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
/// A future that opens a store.
pub type Opened<'a> = Pin<Box<dyn Future<Output = Arc<dyn Store>> + Send + 'a>>;

/// Makes stores for stories.
pub trait Factory: Send + Sync {
    /// A place for one fresh store.
    fn place(&self) -> Box<dyn Place>;
}

/// Where one story's store lives; what it keeps outlives the store.
pub trait Place: Send + Sync {
    /// Opens the store: empty the first time, with what it held before after that.
    fn open(&self) -> Opened<'_>;
}

/// One story.
pub struct Story {
    /// What it shows, in words.
    pub name: &'static str,
    /// Plays it.
    pub play: for<'a> fn(&'a mut House) -> Played<'a>,
}

impl std::fmt::Debug for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Names the stories of a file.
macro_rules! family {
    ($($name:ident),+ $(,)?) => {
        /// The stories of this file.
        pub(super) const STORIES: &[super::Story] = &[$(
            super::Story { name: stringify!($name), play: |house| Box::pin($name(house)) }
        ),+];
    };
}
use family;

/// All stories.
#[must_use]
pub fn stories() -> Vec<&'static Story> {
    let families = [
        accepting::STORIES,
        access::STORIES,
        removing::STORIES,
        scanning::STORIES,
        changing::STORIES,
        leasing::STORIES,
        chaining::STORIES,
        settling::STORIES,
        ending::STORIES,
        happening::STORIES,
        resourcing::STORIES,
        retrying::STORIES,
        output::STORIES,
        connecting::STORIES,
        counting::STORIES,
        agents::STORIES,
        identity::STORIES,
        listing::STORIES,
        keeping::STORIES,
        users::STORIES,
        alarms::STORIES,
        histories::STORIES,
        restoring::STORIES,
    ];
    families.into_iter().flatten().collect()
}

/// Plays every story, each on a fresh store and as a task of its own. Answers how many there are.
///
/// # Panics
/// When a store does not keep the contract; names every story that failed.
pub async fn run_all(factory: &dyn Factory) -> usize {
    let stories = stories();
    let mut failed = Vec::new();
    for story in &stories {
        if tokio::spawn(run(factory.place(), story)).await.is_err() {
            failed.push(story.name);
        }
    }
    assert!(failed.is_empty(), "stories that failed: {failed:#?}");
    stories.len()
}

async fn run(place: Box<dyn Place>, story: &'static Story) {
    let mut house = House::open(place).await;
    (story.play)(&mut house).await;
    house.store.close().await;
}
