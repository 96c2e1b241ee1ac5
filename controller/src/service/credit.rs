//! How many assignments an agent can still be sent: pull with credit, accounted for while leases are
//! under way. Pure.
//!
//! Invariants: never more is out than the agent asked for last; work that is announced while a lease
//! is under way is looked for once more when that lease is done.

/// The credit of one session.
#[derive(Debug, Default)]
pub(super) struct Credit {
    free: u32,
    readies: u64,
    taking: u32,
    again: bool,
}

/// Credit taken for one lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    /// So many tasks may be leased.
    pub(super) slots: u32,
    readies: u64,
}

impl Credit {
    /// The agent says how much it takes; replaces what it said before.
    pub(super) fn ready(&mut self, slots: u32) {
        self.free = slots;
        self.readies += 1;
    }

    /// Work was announced: says whether there is room to offer it now.
    pub(super) fn announced(&mut self) -> bool {
        self.again |= self.taking > 0;
        self.free > 0
    }

    /// Takes up to `most` for one lease; nothing when there is no room.
    pub(super) fn take(&mut self, most: u32) -> Option<Taken> {
        let slots = Some(self.free.min(most)).filter(|slots| *slots > 0)?;
        self.free -= slots;
        self.taking += 1;
        Some(Taken { slots, readies: self.readies })
    }

    /// A lease is done; says whether to look again.
    pub(super) fn settle(&mut self, taken: Taken, leased: u32) -> bool {
        self.free = if self.readies == taken.readies {
            self.free.saturating_add(taken.slots.saturating_sub(leased))
        } else {
            // The agent said anew how much it takes, and had not seen these yet.
            self.free.saturating_sub(leased)
        };
        self.taking = self.taking.saturating_sub(1);
        std::mem::take(&mut self.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_announced_while_a_lease_is_under_way_is_looked_for_again() {
        let mut credit = Credit::default();
        credit.ready(4);
        let taken = credit.take(32).unwrap();
        assert!(!credit.announced(), "all the room is being offered");
        assert!(credit.settle(taken, 0), "what was announced came too late for that look");
        let taken = credit.take(32).unwrap();
        assert!(!credit.settle(taken, 1));
        assert!(credit.announced());
        assert_eq!(credit.take(32).unwrap().slots, 3);
    }

    #[test]
    fn a_new_word_while_a_lease_is_under_way_is_not_counted_twice() {
        let mut credit = Credit::default();
        credit.ready(4);
        let taken = credit.take(32).unwrap();
        credit.ready(4);
        credit.settle(taken, 3);
        assert_eq!(credit.take(32).unwrap().slots, 1, "three are on their way to it");
        assert!(credit.take(32).is_none());
    }
}
