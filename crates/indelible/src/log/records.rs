//! What a log says of itself: control records, and the keys that it takes up.

use std::sync::{Arc, atomic::Ordering};

use indelible_core::{
    control::Control,
    history::{KeyHistory, Withdrawn},
    tree::LeafIndex,
};

use super::{Inner, Log};
use crate::{
    error::{AppendError, LogError},
    keeper::Chore,
    publisher::Keep,
    queue::lock,
    sequencer::Sequencer,
};

/// Makes a control record for its index, and changes what the sequencer signs with where the record says so.
pub(crate) type MakeControl<'a> = dyn Fn(LeafIndex, &mut Sequencer) -> Result<Option<Control>, AppendError> + 'a;

impl Log {
    /// Makes the ring's active keys those of the log, where they are not. Appends go on meanwhile: the record that says so is the first entry under a new entry
    /// key. Where checkpoint keys changed, a checkpoint signed by the old and the new ones is kept. Returns the record's index.
    ///
    /// # Errors
    /// [`LogError`]: nothing was changed.
    pub fn adopt_keys(&self, reason: &str) -> Result<Option<LeafIndex>, LogError> {
        self.change_keys(reason, &[])
    }

    /// The same, and says that keys are not to be relied on any more.
    ///
    /// # Errors
    /// As [`Log::adopt_keys`].
    pub fn withdraw_keys(&self, reason: &str, withdrawn: &[Withdrawn]) -> Result<Option<LeafIndex>, LogError> {
        self.change_keys(reason, withdrawn)
    }

    fn change_keys(&self, reason: &str, withdrawn: &[Withdrawn]) -> Result<Option<LeafIndex>, LogError> {
        let changed = self.inner.remember(Chore::Keys, self.inner.adopt_keys(reason, withdrawn))?;
        if changed.is_some() {
            self.inner.publish(Keep::Yes)?;
        }
        Ok(changed)
    }

    /// Records that the caller had to drop events.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn record_gap(&self, count: u64, reason: &str, since: Option<&str>) -> Result<u64, LogError> {
        let control = Control::Gap { count, reason: reason.to_owned(), since: since.map(str::to_owned) };
        Ok(self.inner.append_control(|_| Ok(control.clone()))?)
    }
}

impl Inner {
    /// Appends a control record that is made for its index.
    pub(crate) fn append_control(
        &self,
        make: impl Fn(LeafIndex) -> Result<Control, AppendError>,
    ) -> Result<u64, AppendError> {
        let made = self.append_control_with(&|index, _| make(index).map(Some))?;
        Ok(made.unwrap_or_default())
    }

    /// The same for a record that changes what the entries from it on are signed with, and that may turn out not to be needed.
    pub(crate) fn append_control_with(&self, make: &MakeControl<'_>) -> Result<Option<u64>, AppendError> {
        if self.store.shared() {
            self.not_closed()?;
            return self.append_control_in_turn(make);
        }
        let mut sequencer = lock(&self.sequencer);
        self.not_closed()?;
        let mut kept = lock(&self.kept);
        let mut draft = sequencer.begin(&*self.clock, &*self.entropy, kept.found(&*self.store)?)?;
        let next = LeafIndex(sequencer.next);
        let made = make(next, &mut sequencer).and_then(|control| {
            let added =
                control.map(|control| sequencer.add_control(&mut draft, &control, &*self.entropy, kept.known()));
            added.transpose()
        });
        drop(kept);
        let io = lock(&self.io);
        // The batch before failed, or a head could not be moved: nothing is written behind it.
        if let Some(why) = self.failed.get() {
            return Err(AppendError::Failed { why: why.clone() });
        }
        drop(sequencer);
        // A clock step may stand in the draft even where the record itself failed.
        let result = if draft.batch.entries.is_empty() { Ok(()) } else { self.commit(&draft) };
        drop(io);
        result?;
        made
    }

    /// Writes a `keys` record where the ring's active keys are not those of the log, or keys are withdrawn. Returns its index.
    pub(crate) fn adopt_keys(&self, reason: &str, withdrawn: &[Withdrawn]) -> Result<Option<LeafIndex>, LogError> {
        self.keys.refresh()?;
        if !self.keys.differ(&self.keys.history(), withdrawn)? {
            return Ok(None);
        }
        let sets = self.keys.history().sets().len();
        let made = self.append_control_with(&|index, sequencer| {
            let next = self.keys.next_record(&sequencer.history, index, reason, withdrawn);
            // Another process was faster.
            let Some((control, history)) = next.map_err(AppendError::record)? else { return Ok(None) };
            sequencer.signing = self.keys.signing(&history).map_err(AppendError::record)?;
            sequencer.history = Arc::new(history);
            Ok(Some(control))
        })?;
        self.keys.know(&Arc::clone(&lock(&self.sequencer).history));
        if self.keys.history().sets().len() > sets {
            // The checkpoint that both sign is to be kept.
            self.segment_closed.store(true, Ordering::Release);
        }
        Ok(made.map(LeafIndex))
    }

    /// Appends a record with the authority of a checkpoint key that is in force where it comes to stand. `in_force` may still refuse.
    pub(crate) fn append_authorised(
        &self,
        control: &Control,
        in_force: impl Fn(&Sequencer) -> Result<(), LogError>,
    ) -> Result<u64, AppendError> {
        let made = self.append_control_with(&|index, sequencer| {
            in_force(sequencer).map_err(AppendError::record)?;
            self.authorised(&sequencer.history, control.clone(), index).map(Some)
        })?;
        Ok(made.unwrap_or_default())
    }

    /// Gives a record for entry `index` the authority of a checkpoint key that `history` has in force there.
    fn authorised(&self, history: &KeyHistory, control: Control, index: LeafIndex) -> Result<Control, AppendError> {
        let signer = self.keys.authoriser(history, index).map_err(AppendError::record)?;
        let signed = control.authorise(self.log_id, &self.keys.origin, index, &signer);
        signed.map_err(|error| AppendError::record(error.into()))
    }
}
