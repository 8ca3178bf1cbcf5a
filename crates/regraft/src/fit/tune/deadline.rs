//! A time limit for `auto`: what would end later is not tried to its end.

use crate::fit::unfinished::Unfinished;

/// When the run should be over, and what is still to be done behind a training that is judged.
#[derive(Clone, Copy)]
pub(crate) struct Deadline<'a> {
    /// The run's clock.
    pub(super) work: &'a Unfinished,
    /// Seconds from the beginning of the run.
    pub(super) seconds: f64,
    /// Images that the training that follows looks at, in all of its epochs.
    pub(super) following: usize,
}

/// Where a training that is judged stands.
pub(super) struct Pace {
    /// Epochs that it has left.
    pub(super) left: usize,
    /// Images of an epoch, and the seconds that the last one took.
    pub(super) images: usize,
    pub(super) seconds: f64,
}

impl Deadline<'_> {
    /// Whether the time is over already.
    pub(super) fn is_over(&self) -> bool {
        self.work.seconds() > self.seconds
    }

    /// Whether it will be over before a training and the one that follows are.
    pub(super) fn is_missed_by(&self, pace: &Pace) -> bool {
        self.work.seconds() + pace.seconds_left(self.following) > self.seconds
    }
}

impl Pace {
    /// Of both trainings, where the one that follows looks at so many images, each as often as it has epochs.
    fn seconds_left(&self, following: usize) -> f64 {
        let images = self.left * self.images + following;
        self.seconds * images as f64 / self.images.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_its_images() {
        let pace = Pace { left: 3, images: 80, seconds: 2.0 };
        assert_eq!(pace.seconds_left(5 * 100), 3.0 * 2.0 + 5.0 * 2.5);
        // With a validation part nothing follows.
        assert_eq!(pace.seconds_left(0), 6.0);
    }
}
