use super::{Reason, Shown};

#[test]
fn everything_that_is_shown_has_its_index() {
    for (position, shown) in Shown::all().enumerate() {
        assert_eq!(shown.index(), position, "{}", shown.as_str());
    }
    assert_eq!(Shown::all().count(), Shown::COUNT);
}

#[test]
fn all_lists_every_reason_at_its_index() {
    for (position, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), position, "{}", reason.as_str());
    }
}
