//! The learning-rate range test (Smith 2017): a training on a copy of the network, at a rate that grows from step to step.

use regraft_adapt::training::RangeTest;

use super::cell::{Cell, Setting, Training};
use super::checkpoint::State;
use super::regulariser::Regulariser;
use crate::{Context, Error, Result};

/// Tests rates on the images that the cell learns from, with the loss that the method goes down.
///
/// # Errors
/// As a training's; a loss that is not finite ends the test.
pub(super) fn test(cell: &Cell<'_>, setting: &Setting<'_>, context: &Context<'_>) -> Result<RangeTest> {
    let regulariser = Regulariser::new(cell, setting, context)?;
    let state = State::new(cell.start.clone());
    let mut training = Training::new(cell, setting, regulariser.as_ref(), state)?;
    let mut test = RangeTest::default();
    context.progress.start("finding a learning rate", RangeTest::STEPS as u64);
    while let Some(rate) = test.next_rate() {
        if context.progress.interrupted() {
            return Err(Error::Interrupted);
        }
        let Some(loss) = training.step(&training.images(), rate)? else { break };
        test.add(loss.answers + loss.added);
        context.progress.advance(1);
    }
    context.progress.finish();
    Ok(test)
}
