//! Many prefixes: the longest that holds an address, and from there the next longer ones.
//!
//! Prefixes cut the addresses into segments, in each of which the longest prefix is the same. The
//! leading bits of an address choose a few segments in an index, and halving finds the one among
//! them. Where prefixes crowd so that the index does not help, halving takes log₂ of their number.

/// An address in as few bytes as it needs.
pub(super) trait Bits: Copy + Ord {
    /// The highest address.
    const LAST: u128;

    fn new(number: u128) -> Self;

    fn number(self) -> u128;
}

impl Bits for u32 {
    const LAST: u128 = Self::MAX as u128;

    #[expect(clippy::cast_possible_truncation, reason = "numbers are up to LAST")]
    fn new(number: u128) -> Self {
        number as Self
    }

    fn number(self) -> u128 {
        u128::from(self)
    }
}

/// IPv6: halves, since a `u128` in a table wastes a third of it on its alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Halves([u64; 2]);

impl Bits for Halves {
    const LAST: u128 = u128::MAX;

    #[expect(clippy::cast_possible_truncation, reason = "halves are meant")]
    fn new(number: u128) -> Self {
        Self([(number >> 64) as u64, number as u64])
    }

    fn number(self) -> u128 {
        u128::from(self.0[0]) << 64 | u128::from(self.0[1])
    }
}

/// A prefix: its first address, its last one, and what it stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) value: u32,
}

/// Where no prefix is.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct RangeTable<B> {
    /// By first address, from 0 on.
    segments: Box<[Segment<B>]>,
    /// Prefixes in which others are.
    outer: Box<[Level]>,
    /// By leading bits: how many segments begin before addresses with these.
    index: Box<[u32]>,
    /// Where the index begins, and the bits that it does not look at.
    base: u128,
    shift: u32,
}

#[derive(Clone, Copy, Debug)]
struct Segment<B> {
    first: B,
    /// Of the longest prefix here.
    level: Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    /// [`NONE`]: no prefix.
    value: u32,
    /// The next longer prefix around it, in [`RangeTable::outer`]; [`NONE`] if there is none.
    outer: u32,
}

impl<B: Bits> RangeTable<B> {
    /// Of prefixes, each there once; fewer than 2³¹ of them.
    pub(super) fn new(mut ranges: Vec<Range>) -> Self {
        // An outer one before those in it.
        ranges.sort_unstable_by_key(|range| (range.first, !range.last));
        let mut segments = Segments(Vec::with_capacity(2 * ranges.len() + 1));
        let mut outer = Vec::new();
        let mut open: Vec<Open> = vec![Open::OUTSIDE];
        segments.begin(0, Open::OUTSIDE.level);
        for range in &ranges {
            close_before(range.first, &mut open, &mut segments);
            let around = open.last_mut().expect("OUTSIDE ends last");
            let level = Level { value: range.value, outer: around.place(&mut outer) };
            segments.begin(range.first, level);
            open.push(Open { last: range.last, level, place: NONE });
        }
        close_before(B::LAST, &mut open, &mut segments);
        Self::indexed(segments.0, outer)
    }

    fn indexed(segments: Vec<Segment<B>>, outer: Vec<Level>) -> Self {
        let base = segments.get(1).map_or(0, |segment| segment.first.number());
        let last = segments.last().map_or(0, |segment| segment.first.number());
        // About two segments for each place.
        let places = (segments.len() / 2).next_power_of_two() as u128;
        let width = (last - base) / places;
        let shift = u128::BITS - width.leading_zeros();
        let mut index = Vec::new();
        let mut begun = 0;
        for place in 0..=(last - base) >> shift {
            let start = base + (place << shift);
            while segments.get(begun).is_some_and(|segment| segment.first.number() < start) {
                begun += 1;
            }
            index.push(u32::try_from(begun).expect("fewer than 2^31 prefixes, two segments each"));
        }
        Self { segments: segments.into(), outer: outer.into(), index: index.into(), base, shift }
    }

    /// Values of the prefixes that hold an address, the longest first.
    pub(super) fn holding(&self, address: B) -> impl Iterator<Item = u32> {
        let mut level = Some(self.segments[self.segment(address)].level);
        std::iter::from_fn(move || {
            let Level { value, outer } = level?;
            level = self.outer.get(outer as usize).copied();
            (value != NONE).then_some(value)
        })
    }

    /// The last segment that does not begin behind the address.
    fn segment(&self, address: B) -> usize {
        let Some(from_base) = address.number().checked_sub(self.base) else { return 0 };
        let last = self.index.len() - 1;
        let place = usize::try_from(from_base >> self.shift).map_or(last, |place| place.min(last));
        let from = self.index[place] as usize;
        let to = self.index.get(place + 1).map_or(self.segments.len(), |to| *to as usize);
        let begun = self.segments[from..to].partition_point(|segment| segment.first <= address);
        // Segment 0 begins at 0, before or at every address.
        (from + begun).saturating_sub(1)
    }
}

/// A prefix whose end has not been reached.
struct Open {
    last: u128,
    level: Level,
    /// Where it is in `outer`, once another is in it.
    place: u32,
}

impl Open {
    const OUTSIDE: Self =
        Self { last: u128::MAX, level: Level { value: NONE, outer: NONE }, place: NONE };

    fn place(&mut self, outer: &mut Vec<Level>) -> u32 {
        if self.level.value != NONE && self.place == NONE {
            self.place = u32::try_from(outer.len()).expect("fewer than 2^31 prefixes");
            outer.push(self.level);
        }
        self.place
    }
}

/// Ends the prefixes that end before an address.
fn close_before<B: Bits>(address: u128, open: &mut Vec<Open>, segments: &mut Segments<B>) {
    while let Some(ended) = open.pop_if(|range| range.last < address) {
        let around = open.last().expect("OUTSIDE ends last");
        segments.begin(ended.last + 1, around.level);
    }
}

struct Segments<B>(Vec<Segment<B>>);

impl<B: Bits> Segments<B> {
    /// From this address on; what was to begin there is inside of it.
    fn begin(&mut self, first: u128, level: Level) {
        let segment = Segment { first: B::new(first), level };
        match self.0.last_mut() {
            Some(last) if last.first == segment.first => *last = segment,
            Some(last) if last.level == level => {}
            _ => self.0.push(segment),
        }
    }
}
