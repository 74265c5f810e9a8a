//! Which operation meets which fault.

use std::io;

/// What goes wrong.
///
/// A fault planned for operation `n` strikes at `n`, or at the first later operation it fits: [`Fault::Torn`] and
/// [`Fault::BitFlipOnWrite`] need a write of at least one byte, [`Fault::FailedSync`] a `sync` or `sync_dir`. Each strikes once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation does not happen, and reports an error.
    FailBefore,
    /// The operation happens, and reports an error nevertheless.
    FailAfter,
    /// A write stops at some byte before its end, and reports an error.
    Torn,
    /// A sync reports an error. What was unsynced still shows, counts as clean from here on, and never becomes durable: a
    /// later sync succeeds without it.
    FailedSync,
    /// No room from here until `clear_faults`: every write ends early with `StorageFull`; extending, creating files and
    /// creating directories fail. Removing, renaming, shrinking and syncing still work.
    DiskFull,
    /// The power is gone: this and every later operation fails, reads too, until `crash_in_place`.
    PowerLoss,
    /// From this operation on, one bit of one read is wrong, in the first file opened under a path that contains the text.
    BitFlipOnRead {
        /// Part of the path, as the key without a leading `/`.
        path_contains: String,
    },
    /// One bit of a write flips, and nobody is told.
    BitFlipOnWrite,
}

impl Fault {
    /// The faults that show as an error of an operation. A store loses nothing it has acknowledged to any of them.
    pub const REPORTED: [Self; 6] =
        [Self::FailBefore, Self::FailAfter, Self::Torn, Self::FailedSync, Self::DiskFull, Self::PowerLoss];

    fn fits(&self, operation: Operation) -> bool {
        match self {
            Self::FailBefore | Self::FailAfter | Self::DiskFull | Self::PowerLoss => true,
            Self::Torn | Self::BitFlipOnWrite => operation == Operation::Write,
            Self::FailedSync => operation == Operation::Sync,
            Self::BitFlipOnRead { .. } => false,
        }
    }
}

/// A mutating operation, as far as faults tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// `write_at` of at least one byte.
    Write,
    /// `sync` or `sync_dir`.
    Sync,
    /// Any other.
    Change,
}

/// How an operation that was let through is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Normal,
    ReportFailure,
    Torn,
    LoseUnsynced,
    FlipBit,
}

impl Effect {
    /// The result of an operation that happened.
    pub(super) fn report(self) -> io::Result<()> {
        match self {
            Self::Normal | Self::FlipBit => Ok(()),
            Self::ReportFailure => Err(simulated("failure after the operation")),
            Self::Torn => Err(simulated("torn write")),
            Self::LoseUnsynced => Err(simulated("failed sync")),
        }
    }
}

/// The faults to come, and the state that struck ones left behind.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    faults: Vec<(u64, Fault)>,
    operations: u64,
    full: bool,
    power_off: bool,
}

impl Plan {
    pub(super) fn add(&mut self, at_operation: u64, fault: Fault) {
        self.faults.push((at_operation, fault));
    }

    pub(super) fn clear(&mut self) {
        self.faults.clear();
        self.full = false;
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn restore_power(&mut self) {
        self.power_off = false;
    }

    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.power_off { Err(simulated("power loss")) } else { Ok(()) }
    }

    /// # Errors
    /// `StorageFull` where the disk is.
    pub(super) fn check_room(&self) -> io::Result<()> {
        if self.full { Err(io::Error::new(io::ErrorKind::StorageFull, "simulated: disk full")) } else { Ok(()) }
    }

    /// Counts an operation and says how it is to go; an error where it does not happen at all.
    pub(super) fn begin(&mut self, operation: Operation) -> io::Result<Effect> {
        self.check_power()?;
        let fault = self.take(|fault| fault.fits(operation));
        self.operations += 1;
        match fault {
            None | Some(Fault::BitFlipOnRead { .. }) => Ok(Effect::Normal),
            Some(Fault::FailBefore) => Err(simulated("failure before the operation")),
            Some(Fault::FailAfter) => Ok(Effect::ReportFailure),
            Some(Fault::Torn) => Ok(Effect::Torn),
            Some(Fault::FailedSync) => Ok(Effect::LoseUnsynced),
            Some(Fault::BitFlipOnWrite) => Ok(Effect::FlipBit),
            Some(Fault::DiskFull) => {
                self.full = true;
                Ok(Effect::Normal)
            }
            Some(Fault::PowerLoss) => {
                self.power_off = true;
                self.check_power().map(|()| Effect::Normal)
            }
        }
    }

    /// Whether a read of the file at `key` is to have a wrong bit.
    pub(super) fn flips_read(&mut self, key: &str) -> bool {
        let wanted =
            |fault: &Fault| matches!(fault, Fault::BitFlipOnRead { path_contains } if key.contains(path_contains));
        self.take(wanted).is_some()
    }

    /// Takes the fault that is due, has waited longest and fits.
    fn take(&mut self, fits: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let due = self.faults.iter().enumerate().filter(|(_, (at, fault))| *at <= self.operations && fits(fault));
        let (index, _) = due.min_by_key(|(_, (at, _))| *at)?;
        Some(self.faults.remove(index).1)
    }
}

/// An error that no real disk gives.
pub(super) fn simulated(what: &str) -> io::Error {
    io::Error::other(format!("simulated: {what}"))
}
