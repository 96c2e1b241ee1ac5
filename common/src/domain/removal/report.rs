//! What a sweep reports.

use serde::{Deserialize, Serialize};

use super::{Cents, DataPolicy, Entry, Fate};
use crate::domain::spelled;
use crate::domain::time::Timestamp;

/// Most bytes that findings may have as JSON: what the controller keeps of one step is 1 MiB, and some
/// room is for what stands around them.
pub const MOST_BYTES: usize = 900 * 1024;

spelled! {
    /// What can be said of the cloud after a removal.
    pub enum Verdict {
        /// It was looked at, and nothing of the cluster is there but what was kept on purpose.
        Clean = "clean",
        /// Something of the cluster is still there.
        Left = "left",
        /// It could not be looked at, or not at all of it: nothing is known.
        Unverified = "unverified",
    }
}

/// How many objects met which fate, and what they cost in a month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Objects of the cluster that were found.
    pub found: u64,
    /// Of these: deleted.
    pub deleted: u64,
    /// Of these: gone before their turn came.
    pub already_gone: u64,
    /// Of these: would be deleted by a sweep that is no dry run.
    pub would_go: u64,
    /// Of these: still there against the intention.
    pub left: u64,
    /// Objects that stay on purpose, the cluster's or not.
    pub kept: u64,
    /// What is deleted, gone or would go, in a month.
    pub monthly_cents_freed: Cents,
    /// What is left, in a month.
    pub monthly_cents_left: Cents,
    /// What is kept, in a month.
    pub monthly_cents_kept: Cents,
}

impl Tally {
    /// Counts a report's entries.
    #[must_use]
    pub fn of(entries: &[Entry]) -> Self {
        let mut tally = Self::default();
        for entry in entries {
            tally.add(entry);
        }
        tally
    }

    fn add(&mut self, entry: &Entry) {
        self.found += u64::from(entry.proof.is_some());
        let (count, cents) = match entry.fate {
            Fate::Deleted => (&mut self.deleted, &mut self.monthly_cents_freed),
            Fate::AlreadyGone => (&mut self.already_gone, &mut self.monthly_cents_freed),
            Fate::WouldGo => (&mut self.would_go, &mut self.monthly_cents_freed),
            Fate::Left => (&mut self.left, &mut self.monthly_cents_left),
            Fate::Kept => (&mut self.kept, &mut self.monthly_cents_kept),
        };
        *count += 1;
        *cents = cents.saturating_add(entry.monthly_cents);
    }
}

/// What a sweep, or the look afterwards, found and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepFindings {
    /// What can be said.
    pub verdict: Verdict,
    /// Why it is unverified; none otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
    /// True when nothing was to be changed.
    pub dry_run: bool,
    /// What was to become of volumes and snapshots.
    pub policy: DataPolicy,
    /// The region that was looked at; none when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// When it ended.
    pub at: Timestamp,
    /// Which price table the costs are from.
    pub prices: String,
    /// All objects counted, also those that are not listed.
    pub tally: Tally,
    /// The objects: what is left first, then what was kept, then the rest.
    pub entries: Vec<Entry>,
    /// How many are counted and not listed, because a report has a bound. They are in the agent's journal
    /// of the sweep, on the state volume.
    #[serde(default)]
    pub not_listed: u64,
}

impl SweepFindings {
    /// Orders the entries and keeps as many as [`MOST_BYTES`] allows; those that need a person come first.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.tally = Tally::of(&self.entries);
        let weight = |entry: &Entry| match entry.fate {
            Fate::Left => 0,
            Fate::Kept => 1,
            Fate::WouldGo => 2,
            Fate::Deleted | Fate::AlreadyGone => 3,
        };
        self.entries.sort_by(|a, b| weight(a).cmp(&weight(b)).then_with(|| a.key().cmp(&b.key())));
        let mut room = MOST_BYTES;
        let fits = |entry: &&Entry| {
            let bytes = serde_json::to_string(entry).map_or(usize::MAX, |text| text.len() + 1);
            room = room.saturating_sub(bytes);
            room > 0
        };
        let listed = self.entries.iter().take_while(fits).count();
        self.not_listed += u64::try_from(self.entries.len() - listed).unwrap_or(u64::MAX);
        self.entries.truncate(listed);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::removal::{CloudKind, CloudObject, KeptCause, Proof};

    fn object(number: usize) -> CloudObject {
        CloudObject {
            kind: CloudKind::Volume,
            id: format!("vol-{number:017}"),
            region: "eu-central-1".into(),
            name: Some(format!("pvc-{number}")),
            tags: [("kubernetes.io/cluster/x".to_owned(), "owned".to_owned())].into(),
            created_at: Some(Timestamp::from_millis(1_795_000_000_000)),
            attached_to: Vec::new(),
            size_gib: Some(8),
            flavour: Some("gp3".into()),
            state: None,
            goes_with_instance: false,
        }
    }

    fn findings(entries: Vec<Entry>) -> SweepFindings {
        SweepFindings {
            verdict: Verdict::Left,
            unverified: None,
            dry_run: false,
            policy: DataPolicy::Delete,
            region: Some("eu-central-1".into()),
            at: Timestamp::from_millis(0),
            prices: "test".into(),
            tally: Tally::default(),
            entries,
            not_listed: 0,
        }
    }

    fn entry(number: usize, fate: Fate) -> Entry {
        let proof = Some(Proof::Tag { key: "kubernetes.io/cluster/x".into() });
        Entry { fate, ..Entry::of(&object(number), proof, 64) }
    }

    #[test]
    fn a_report_of_ten_thousand_objects_stays_within_its_bound_and_lists_what_is_left_first() {
        let mut entries: Vec<_> = (0..10_000).map(|n| entry(n, Fate::Deleted)).collect();
        entries.push(entry(10_001, Fate::Left));
        entries.push(Entry { proof: None, cause: Some(KeptCause::Shared), ..entry(10_002, Fate::Kept) });
        let report = findings(entries).bounded();
        assert_eq!((report.entries[0].fate, report.entries[1].fate), (Fate::Left, Fate::Kept));
        assert_eq!(report.entries.len() as u64 + report.not_listed, 10_002);
        assert!(report.not_listed > 0);
        assert_eq!(
            (report.tally.found, report.tally.deleted, report.tally.left, report.tally.kept),
            (10_001, 10_000, 1, 1)
        );
        assert_eq!(report.tally.monthly_cents_freed, 640_000);
        assert!(serde_json::to_vec(&report).unwrap().len() < 1024 * 1024);
    }

    #[test]
    fn a_report_reads_back_what_it_writes() {
        let report = findings(vec![entry(1, Fate::Deleted), entry(2, Fate::Left)]).bounded();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<SweepFindings>(&text).unwrap(), report);
        assert_eq!(report.not_listed, 0);
    }
}
