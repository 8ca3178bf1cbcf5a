//! A time limit for `auto`: what would end later is not tried to its end.

use crate::fit::unfinished::Unfinished;

/// When the run should be over, and what is still to be done behind a training that is judged.
#[derive(Clone, Copy)]
pub(crate) struct Deadline<'a> {
    /// The run's clock.
    pub(super) work: &'a Unfinished,
    /// Seconds from the beginning of the run.
    pub(super) seconds: f64,
    /// Images of each epoch of the training that follows, on all images.
    pub(super) following: usize,
}

impl Deadline<'_> {
    /// Whether the time is over already.
    pub(super) fn is_over(&self) -> bool {
        self.work.seconds() > self.seconds
    }

    /// Whether it would be over before the rest of a training's epochs and the training that follows, where an epoch of so many
    /// images takes so many seconds.
    pub(super) fn is_too_early_for(&self, [left, all]: [usize; 2], images: usize, seconds: f64) -> bool {
        self.work.seconds() + seconds * self.epochs_to_come([left, all], images) > self.seconds
    }

    fn epochs_to_come(&self, [left, all]: [usize; 2], images: usize) -> f64 {
        left as f64 + (all * self.following) as f64 / images.max(1) as f64
    }
}
