//! One look at the gateway for all who watch it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::inventory::{Kept, Known, LONGEST_SEARCH};
use super::view::{Data, Detail, Live};
use crate::admin::StatusSource;
use crate::telemetry::{ReadError, Snapshot};

/// How long a look is good: less than the second between two questions of one reader, so that each
/// sees something new.
const FRESH: Duration = Duration::from_millis(900);
/// A look that is older than this says nothing about rates now.
const STALE: Duration = Duration::from_secs(15);
/// How long an inventory is good: its rows change slowly.
const INVENTORY_FRESH: Duration = Duration::from_secs(5);
/// The same, in times that it took to make: half a percent of the time at most is spent on it.
const INVENTORY_SHARE: u32 = 200;
const INVENTORY_LATEST: Duration = Duration::from_secs(60);
/// Longest names that are asked for, in bytes as they come.
const LONGEST_QUERY: usize = 1_024;

type Source = Arc<dyn StatusSource + Send + Sync>;

/// See the module.
#[derive(Default)]
pub(in crate::admin) struct Cache(Mutex<Looks>);

#[derive(Default)]
struct Looks {
    look: Option<Arc<Look>>,
    inventory: Option<Arc<Kept>>,
    /// From when on the inventory is made anew.
    due: Option<Instant>,
}

struct Look {
    at: Instant,
    snapshot: Arc<Snapshot>,
    live: Live,
}

/// What a reader asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    since: Option<u64>,
    inventory: Option<u64>,
    listener: Option<String>,
    search: String,
}

/// What is wrong with a question.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadWish {
    #[error(
        "a question of more than {LONGEST_QUERY} bytes, or a search of more than {LONGEST_SEARCH} characters"
    )]
    TooLong,
    #[error("{0}: not a whole number")]
    Number(&'static str),
    #[error("what can be asked for is since, listener, search and inventory")]
    Unknown,
    #[error("not text in UTF-8 that was encoded for a URL")]
    Encoding,
}

impl Cache {
    /// The answer to a question, as JSON; from a new look where the last one is not fresh.
    pub(super) async fn answer(&self, source: &Source, wish: Wish) -> Result<String, ReadError> {
        let (look, inventory) = self.fresh(source).await?;
        Ok(render(&look, inventory.as_deref(), &wish))
    }

    /// Who comes while another waits for a look waits for the same one.
    async fn fresh(&self, source: &Source) -> Result<(Arc<Look>, Option<Arc<Kept>>), ReadError> {
        let mut looks = self.0.lock().await;
        let now = Instant::now();
        let fresh = looks.look.clone().filter(|look| now - look.at < FRESH);
        let look = match fresh {
            Some(look) => look,
            None => {
                let look = Look::take(Arc::clone(source), now, looks.look.take()).await?;
                looks.look = Some(Arc::clone(&look));
                look
            }
        };
        if looks.due.is_none_or(|due| now >= due) {
            let number = looks.inventory.as_ref().map_or(1, |kept| kept.number + 1);
            let taken =
                take_inventory(Arc::clone(source), number, Arc::clone(&look.snapshot)).await;
            let took = now.elapsed() * INVENTORY_SHARE;
            looks.due = Some(now + took.clamp(INVENTORY_FRESH, INVENTORY_LATEST));
            match taken {
                Ok(kept) => looks.inventory = Some(kept),
                // The last one is better than no figures at all.
                Err(_) if looks.inventory.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Ok((look, looks.inventory.clone()))
    }
}

impl Look {
    async fn take(
        source: Source,
        at: Instant,
        last: Option<Arc<Self>>,
    ) -> Result<Arc<Self>, ReadError> {
        let looked = tokio::task::spawn_blocking(move || {
            let snapshot = source.snapshot()?;
            let before = last.filter(|last| at - last.at < STALE);
            let before = before.as_ref().map(|last| &*last.snapshot);
            let live = Live::of(&snapshot, before, source.lifecycle());
            Ok(Arc::new(Self { at, snapshot, live }))
        });
        looked.await.unwrap_or(Err(ReadError::NoAnswer))
    }
}

async fn take_inventory(
    source: Source,
    number: u64,
    snapshot: Arc<Snapshot>,
) -> Result<Arc<Kept>, ReadError> {
    let taken_unix = i64::try_from(snapshot.taken_unix_ms / 1_000).unwrap_or(i64::MAX);
    let taken = tokio::task::spawn_blocking(move || {
        let inventory = source.inventory();
        Arc::new(Kept::new(number, taken_unix, inventory, &snapshot.facts.upstreams))
    });
    taken.await.map_err(|_| ReadError::NoAnswer)
}

fn render(look: &Look, inventory: Option<&Kept>, wish: &Wish) -> String {
    let moments = look.snapshot.moments.iter();
    let data: Data<&Live, Known> = Data {
        live: &look.live,
        moments: moments
            .filter(|moment| wish.since.is_none_or(|last| moment.number > last))
            .copied()
            .collect(),
        listener: Detail::of(&look.snapshot, wish.listener.as_deref(), wish.since),
        inventory: inventory
            .filter(|kept| wish.inventory != Some(kept.number))
            .map(|kept| kept.known(&wish.search)),
    };
    serde_json::to_string(&data).expect("keys are strings and writing to a String cannot fail")
}

impl Wish {
    /// Reads the part of a URL behind its question mark.
    pub(super) fn parse(query: &str) -> Result<Self, BadWish> {
        if query.len() > LONGEST_QUERY {
            return Err(BadWish::TooLong);
        }
        let mut wish = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let number = |name| value.parse().map(Some).map_err(|_| BadWish::Number(name));
            match name {
                "since" => wish.since = number("since")?,
                "inventory" => wish.inventory = number("inventory")?,
                "listener" => wish.listener = Some(decoded(value)?),
                "search" => wish.search = decoded(value)?,
                _ => return Err(BadWish::Unknown),
            }
        }
        match wish.search.chars().count() > LONGEST_SEARCH {
            true => Err(BadWish::TooLong),
            false => Ok(wish),
        }
    }
}

/// As application/x-www-form-urlencoded has it.
fn decoded(text: &str) -> Result<String, BadWish> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte.unwrap_or_default()).to_digit(16);
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                value.and_then(|value| u8::try_from(value).ok()).ok_or(BadWish::Encoding)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| BadWish::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_strictly() {
        assert_eq!(Wish::parse(""), Ok(Wish::default()));
        let wish = Wish {
            since: Some(7),
            inventory: Some(2),
            listener: Some("a b/ü".to_owned()),
            search: "10%".to_owned(),
        };
        let query = "since=7&inventory=2&listener=a+b%2F%C3%BC&search=10%25";
        assert_eq!(Wish::parse(query), Ok(wish));
        assert_eq!(Wish::parse("since=-1"), Err(BadWish::Number("since")));
        assert_eq!(Wish::parse("x=1"), Err(BadWish::Unknown));
        for broken in ["%", "%1", "%g0", "%ff", "%+1"] {
            assert_eq!(
                Wish::parse(&format!("search={broken}")),
                Err(BadWish::Encoding),
                "{broken}"
            );
        }
        assert_eq!(Wish::parse(&format!("search={}", "a".repeat(101))), Err(BadWish::TooLong));
        assert_eq!(Wish::parse(&format!("listener={}", "a".repeat(1_100))), Err(BadWish::TooLong));
    }
}
