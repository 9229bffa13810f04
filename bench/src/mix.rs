//! Bits of numbers mixed: SplitMix64 (Steele, Lea and Flood, 2014).

/// What a seed grows by from one of its numbers to the next.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Each bit of the result depends on each of `word`, and no two words have the same result.
pub(crate) fn mix(word: u64) -> u64 {
    let mut mixed = word;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One number of two: pairs have the same one by chance only, neighbours included.
pub(crate) fn pair(seed: u64, number: u64) -> u64 {
    mix(mix(seed.wrapping_add(STEP)) ^ number)
}
