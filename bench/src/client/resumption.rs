//! Which operations resume a session.

use super::plan::Workload;

/// Chooses operations so that the share of those that resume is exact at any time.
#[derive(Debug)]
pub(super) struct Resumption {
    share: f64,
    chosen: u64,
    resumed: u64,
}

impl Resumption {
    pub(super) fn new(workload: &Workload) -> Self {
        Self { share: workload.resumed(), chosen: 0, resumed: 0 }
    }

    /// Whether the next operation resumes.
    pub(super) fn next(&mut self) -> bool {
        self.chosen += 1;
        #[expect(clippy::cast_precision_loss, reason = "2^53 operations take longer than any run")]
        let (wanted, resumed) = (self.chosen as f64 * self.share, self.resumed as f64);
        let resumes = wanted - resumed >= 0.5;
        self.resumed += u64::from(resumes);
        resumes
    }
}
