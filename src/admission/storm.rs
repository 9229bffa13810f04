//! When shedding begins and when it is over, for whoever writes that down.

use std::time::Duration;

use crate::time::Time;

/// What was shed lately.
#[derive(Debug, Default)]
pub(super) struct Storm {
    under_way: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    since: Time,
    last: Time,
    shed: u64,
}

/// A storm that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// From the first that was shed to the last.
    pub lasted: Duration,
    pub shed: u64,
}

impl Storm {
    /// One is shed; true when it is the first after a calm.
    pub(super) fn shed(&mut self, now: Time) -> bool {
        let is_first = self.under_way.is_none();
        let storm = self.under_way.get_or_insert(UnderWay { since: now, last: now, shed: 0 });
        storm.last = now;
        storm.shed += 1;
        is_first
    }

    /// Once, when nothing was shed for a while.
    pub(super) fn over(&mut self, now: Time) -> Option<Over> {
        let storm = self.under_way.take_if(|storm| now - storm.last >= CALM)?;
        Some(Over { lasted: storm.last - storm.since, shed: storm.shed })
    }
}

/// Without anything shed.
const CALM: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_when_it_begins_and_when_it_is_over() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let mut storm = Storm::default();
        assert_eq!(storm.over(at(100)), None);
        assert!(storm.shed(at(100)) && !storm.shed(at(105)));
        assert_eq!(storm.over(at(114)), None);
        let over = Over { lasted: Duration::from_secs(5), shed: 2 };
        assert_eq!((storm.over(at(115)), storm.over(at(116))), (Some(over), None));
        assert!(storm.shed(at(200)));
    }
}
