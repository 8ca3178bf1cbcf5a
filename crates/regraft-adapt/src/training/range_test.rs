//! The learning-rate range test (Smith 2017) as fastai's `lr_find` does it: a rate that grows from step to step until the loss goes up,
//! and a suggestion from the losses on the way.

/// A step of a range test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RangePoint {
    /// The rate of the step.
    pub learning_rate: f64,
    /// The smoothed loss before it.
    pub loss: f64,
}

/// A range test under way.
#[derive(Debug, Clone, Default)]
pub struct RangeTest {
    points: Vec<RangePoint>,
    /// Moving average of the losses, which begins at zero.
    average: f64,
}

/// The rate of the first step, and the one that the rates grow towards.
const RATES: [f64; 2] = [1e-7, 10.0];
/// Share of the moving average that a step leaves.
const BETA: f64 = 0.98;
/// The test is over at so many times the lowest loss.
const DIVERGED: f64 = 4.0;
/// Steps at the beginning and at the end that no suggestion comes from.
const SKIPPED: [usize; 2] = [RangeTest::STEPS / 10, 5];

impl RangeTest {
    /// Steps at most.
    pub const STEPS: usize = 100;

    /// The rate of the next step; `None` where the test is over.
    pub fn next_rate(&self) -> Option<f64> {
        let step = self.points.len();
        let losses = || self.points.iter().map(|point| point.loss);
        let lowest = losses().fold(f64::INFINITY, f64::min);
        let is_over =
            step >= Self::STEPS || losses().next_back().is_some_and(|loss| loss > DIVERGED * lowest);
        let [first, last] = RATES;
        (!is_over).then(|| first * (last / first).powf(step as f64 / Self::STEPS as f64))
    }

    /// Takes in the loss of a step with the [`next_rate`](Self::next_rate), before the weights have moved.
    pub fn add(&mut self, loss: f64) {
        let Some(learning_rate) = self.next_rate() else { return };
        self.average = BETA * self.average + (1.0 - BETA) * loss;
        let seen = 1.0 - BETA.powi(1 + self.points.len() as i32);
        self.points.push(RangePoint { learning_rate, loss: self.average / seen });
    }

    /// The steps so far.
    pub fn points(&self) -> &[RangePoint] {
        &self.points
    }

    /// The suggested rate, that of fastai's `valley`: half of the way down the longest stretch in which losses fall. `None` where there
    /// are too few steps, or the loss never falls.
    pub fn suggestion(&self) -> Option<f64> {
        let [first, last] = SKIPPED;
        let inner = self.points.get(first..self.points.len().checked_sub(last)?)?;
        let losses: Vec<f64> = inner.iter().map(|point| point.loss).collect();
        inner.get(valley(&losses)?).map(|point| point.learning_rate)
    }
}

/// Half of the way into the longest stretch in which losses fall, taken to be as long as the longest selection of them of which each
/// is lower than the one before, and to end where the first such selection ends. `None` where no loss is lower than one before.
fn valley(losses: &[f64]) -> Option<usize> {
    let mut lengths: Vec<usize> = Vec::new();
    for loss in losses {
        let higher = losses.iter().zip(&lengths).filter(|(before, _)| loss < before);
        let longest = higher.map(|(_, length)| *length).max().unwrap_or(0);
        lengths.push(longest + 1);
    }
    let longest = lengths.iter().copied().max().filter(|longest| *longest > 1)?;
    let end = lengths.iter().position(|length| *length == longest)?;
    Some((end + longest / 3 + longest / 6).saturating_sub(longest))
}
