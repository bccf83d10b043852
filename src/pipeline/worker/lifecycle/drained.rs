//! Whether nothing is left, for a worker that is to end then.

use super::super::{Ended, Step, Until};
use super::{Loop, Phase};
use mfctl_core::breaker::CallSite;

impl<S: Step> Loop<S> {
    /// Ends the worker if nothing is left: nothing in flight here, and every partition of the group at its end, behind
    /// transaction markers too. A member without partitions thus waits for the others.
    pub(super) async fn look_whether_drained(&mut self) {
        let Until::Drained { after } = &self.cx.options.until else { return };
        let before_is_drained = after.as_ref().is_none_or(|drained| *drained.borrow());
        if !before_is_drained || !matches!(self.phase, Phase::Consuming) || !self.is_idle() {
            return;
        }
        let topics = [self.cx.step.stage().input()];
        match self.cx.ports.log.progress(&self.cx.group, &topics).await {
            Ok(progress) if progress.iter().all(|partition| partition.at_end) => self.drain(Ended::Drained),
            Ok(_) => {}
            Err(error) => {
                self.cx.down("look whether anything is left", &error.full());
                self.cx.breaker.failure(CallSite::Log, &error);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.tracker.in_flight() == 0 && !self.admitting && !self.finishing && self.backlog.is_empty()
    }
}
