//! Receipts that contradict a log: what they prove, once it is known which keys were in force where.
//!
//! A receipt is the word of the key that signed it. INVARIANT(receipt-key): it proves something of an entry only if that key was in force at the entry's index; whoever has a key that was
//! replaced signs receipts for indices at which it had nothing to sign. What a key
//! signed that is withdrawn as compromised is told, and proves nothing by itself.

use indelible_core::history::{Withdrawn, WithdrawnState};

use super::{
    anchors::finding,
    merge::Merger,
    report::{Finding, Kind, Remark},
};

/// Whether a key is on record as somebody else's: what he signs with it may name any index. One that was destroyed is nobody's.
fn stolen(withdrawn: &Withdrawn, key: &str) -> bool {
    withdrawn.id == key && withdrawn.state == WithdrawnState::Compromised
}

impl Merger<'_> {
    /// Behind the scan, when all `keys` records were met.
    pub(super) fn judge_receipts(&mut self) {
        let mut contradicting = std::mem::take(&mut self.contradicting);
        let (from, end) = (self.setup.from, self.expected);
        for (index, receipts) in std::mem::take(&mut self.setup.receipts) {
            let detail = format!("a receipt names entry {index}, the log has {end}");
            let beyond = receipts.into_iter().filter(|_| index >= from);
            contradicting.extend(beyond.map(|receipt| (receipt, detail.clone())));
        }
        for (receipt, detail) in contradicting {
            let (index, key) = (receipt.index, &receipt.key);
            let history = &self.setup.anchors.history;
            // Of a key that no record tells of nothing is known: its secret is not here either.
            if history.range_of(key).is_some_and(|(first, until)| !(first..until).contains(&index)) {
                let detail = format!(
                    "the receipt for entry {index} (`{}`) is signed by key `{key}`, which was not in force there: it says nothing about the log",
                    receipt.id
                );
                self.refused_receipt.get_or_insert(detail);
            } else if let Some(withdrawn) = history.withdrawn().iter().find(|one| stolen(one, key)) {
                let detail = format!(
                    "{detail}; key `{key}`, which signed it, is {}: whoever has that key signs what he likes",
                    withdrawn.state.as_str()
                );
                self.report.remark(Remark { kind: "receipt_withdrawn", index: Some(index), detail });
            } else {
                self.add(Finding { id: Some(receipt.id), ..finding(Kind::DivergedReceipt, Some(index), detail) });
            }
        }
    }
}
