//! Deleting what belongs to a cluster, and looking again.
//!
//! A sweep is rounds: look, decide, delete in order, until a look shows nothing to delete. What is still in
//! use is tried again in the next round, because its holder may have gone meanwhile; how long is bounded by
//! [`Pace::patience`]. What a killed sweep had done is in its [`Journal`]; it is run again from its start.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use cratekube_common::domain::id::{ClusterId, OperationId};
use cratekube_common::domain::removal::{
    CloudKind, CloudObject, DataPolicy, Entry, Fate, ObjectKey, SweepFindings, Tally, Verdict,
};
use cratekube_common::runtime::backoff::Backoff;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::fault;
use cratekube_common::runtime::mint::Mint;

use super::belonging::Identity;
use super::journal::Journal;
use super::plan::{Doomed, Plan, Scan, Subject, plan};
use super::price::Prices;
use super::{CloudSweeper, Gone, TAG_CLUSTER, TAG_REMOVAL};

/// How fast and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Wait before a second round; it grows.
    pub first: Duration,
    /// Longest wait between two rounds.
    pub cap: Duration,
    /// How long things that are in use are tried again.
    pub patience: Duration,
    /// Pause before looking again when everything seems to be gone.
    pub pause: Duration,
    /// How often what shows up late is swept, each time after another pause.
    pub looks: u32,
}

/// A cluster to sweep for, and everything needed to do it.
pub struct Sweep<'a> {
    /// The cloud.
    pub cloud: &'a dyn CloudSweeper,
    /// The clock.
    pub clock: &'a Clock,
    /// Chance, for waits.
    pub mint: &'a Mint,
    /// How fast and how long.
    pub pace: Pace,
    /// What things cost.
    pub prices: &'a Prices,
    /// How the cluster is known in the cloud.
    pub identity: &'a Identity,
    /// The cluster.
    pub cluster: ClusterId,
    /// The operation that removes it.
    pub operation: OperationId,
    /// What becomes of volumes and snapshots.
    pub policy: DataPolicy,
    /// Why nothing could be told to be the cluster's, whatever is there; then finding nothing proves nothing.
    pub dark: Option<String>,
    /// Hears, line by line, what happens.
    pub tell: &'a (dyn Fn(&str) + Sync),
    /// Hears what is waited for.
    pub waits_for: &'a (dyn Fn(&str) + Sync),
}

/// Why an object is still there, by object.
type Stuck = BTreeMap<ObjectKey, String>;

/// How an attempt to delete an object ended.
enum Try {
    Gone(Gone),
    Stuck { why: String, passes: bool },
}

impl Sweep<'_> {
    /// Lists what would go; changes nothing, neither in the cloud nor on the volume.
    pub async fn dry_run(&self) -> SweepFindings {
        let (scan, plan) = self.look(&BTreeSet::new()).await;
        let entry = |doomed: &Doomed| Entry::of(&doomed.object, Some(doomed.proof.clone()), doomed.cents);
        let mut entries: Vec<Entry> = plan.go.iter().map(entry).collect();
        let left = !entries.is_empty();
        entries.extend(plan.keep);
        SweepFindings { dry_run: true, ..self.findings(&scan, left, entries) }.bounded()
    }

    /// Deletes what belongs to the cluster, and reports on all of it, also on what an earlier run of the same
    /// operation did.
    ///
    /// # Errors
    /// When the journal cannot be written: then nothing more is deleted.
    pub async fn run(&self, journal: &mut Journal) -> io::Result<SweepFindings> {
        let mut backoff = Backoff::new(self.pace.first, self.pace.cap);
        let begun = self.clock.monotonic();
        loop {
            let (scan, plan) = self.look(&journal.ids()).await;
            journal.found(&plan.go)?;
            journal.vanished(&scan, self.clock.now())?;
            if plan.go.is_empty() {
                return Ok(self.report(journal, &scan, &plan, &Stuck::new()));
            }
            let (stuck, hope) = self.round(journal, &scan, &plan).await?;
            let in_use = || format!("{} objects are still in use, for example: {}", stuck.len(), first(&stuck));
            let told = if stuck.is_empty() { String::new() } else { in_use() };
            (self.waits_for)(&told);
            let spent = self.clock.monotonic().saturating_sub(begun);
            if !hope || spent >= self.pace.patience {
                return Ok(self.report(journal, &scan, &plan, &stuck));
            }
            if !told.is_empty() {
                (self.tell)(&told);
            }
            tokio::time::sleep(backoff.next(0.5 + self.mint.chance() / 2.0)).await;
        }
    }

    /// Looks again after a pause. What shows up late is swept, and looked for again; what is there after the
    /// last look is left.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn confirm(&self, journal: &mut Journal) -> io::Result<SweepFindings> {
        let mut look = 1;
        loop {
            let pause = self.pace.pause.as_secs();
            (self.tell)(&format!("waiting {pause} s before looking again"));
            (self.waits_for)(&format!("the end of a pause of {pause} s before looking again"));
            tokio::time::sleep(self.pace.pause).await;
            (self.waits_for)("");
            let (scan, plan) = self.look(&journal.ids()).await;
            journal.vanished(&scan, self.clock.now())?;
            if plan.go.is_empty() || look >= self.pace.looks {
                journal.found(&plan.go)?;
                return Ok(self.report(journal, &scan, &plan, &Stuck::new()));
            }
            (self.tell)(&format!("{} objects have shown up since; they are swept", plan.go.len()));
            self.run(journal).await?;
            look += 1;
        }
    }

    async fn look(&self, once: &BTreeSet<String>) -> (Scan, Plan) {
        let scan = Scan::of(self.cloud, self.identity).await;
        let cluster = self.cluster.to_string();
        let subject = Subject { identity: self.identity, cluster: &cluster, policy: self.policy, once };
        let plan = plan(&scan, subject, self.prices);
        let told = format!(
            "looked at {} objects in {}: {} of the cluster are to go, {} are kept",
            scan.objects.len(),
            self.cloud.region(),
            plan.go.len(),
            plan.keep.len(),
        );
        (self.tell)(&told);
        if let Some(why) = scan.blind_spots() {
            (self.tell)(&format!("not everything could be looked at: {why}"));
        }
        (scan, plan)
    }

    /// Tries to delete everything once. Tells what is stuck, and whether another round can help.
    async fn round(&self, journal: &mut Journal, scan: &Scan, plan: &Plan) -> io::Result<(Stuck, bool)> {
        let (mut stuck, mut hope) = (Stuck::new(), false);
        for doomed in &plan.go {
            match self.delete(journal, scan, plan, doomed).await? {
                Try::Gone(gone) => {
                    let fate = if gone == Gone::Now { Fate::Deleted } else { Fate::AlreadyGone };
                    journal.gone(doomed.object.key(), fate, self.clock.now())?;
                    if gone == Gone::Now {
                        (self.tell)(&format!("deleted {} {}", doomed.object.kind, shown(&doomed.object)));
                    }
                    hope = true;
                }
                Try::Stuck { why, passes } => {
                    hope |= passes;
                    stuck.insert(doomed.object.key(), why);
                }
            }
        }
        Ok((stuck, hope))
    }

    async fn delete(&self, journal: &mut Journal, scan: &Scan, plan: &Plan, doomed: &Doomed) -> io::Result<Try> {
        let object = &doomed.object;
        if object.kind == CloudKind::Volume
            && self.policy == DataPolicy::Snapshot
            && let Err(stuck) = self.last_snapshot(scan, object).await
        {
            return Ok(stuck);
        }
        let ours = |id: &&String| plan.instances.contains(*id);
        let foreign = object.attached_to.iter().find(|id| id.starts_with("i-") && !ours(id));
        if let (CloudKind::Volume | CloudKind::NetworkInterface, Some(instance)) = (object.kind, foreign) {
            let why = format!("it is attached to {instance}, which is not known to be the cluster's: detach it");
            return Ok(Try::Stuck { why, passes: false });
        }
        journal.deleting(object.key())?;
        fault::point("cloud.delete.before");
        let stuck = |fault: super::CloudFault| Try::Stuck { why: fault.to_string(), passes: fault.passes() };
        let detachable = [CloudKind::Volume, CloudKind::NetworkInterface, CloudKind::ElasticIp].contains(&object.kind);
        if detachable && object.attached_to.iter().any(|id| ours(&id)) {
            if let Err(fault) = self.cloud.detach(object).await {
                return Ok(stuck(fault));
            }
            fault::point("cloud.detach.after");
        }
        let deleted = self.cloud.delete(object).await;
        fault::point("cloud.delete.after");
        Ok(deleted.map_or_else(stuck, Try::Gone))
    }

    /// Makes sure that there is a whole last snapshot of a volume, taken by this operation.
    async fn last_snapshot(&self, scan: &Scan, volume: &CloudObject) -> Result<(), Try> {
        let operation = self.operation.to_string();
        let taken = scan.objects.iter().find(|object| {
            object.kind == CloudKind::Snapshot
                && object.tag(TAG_REMOVAL) == Some(&operation)
                && object.attached_to.contains(&volume.id)
        });
        let passing = |why: String| Try::Stuck { why, passes: true };
        if !scan.saw(CloudKind::Snapshot) {
            return Err(Try::Stuck { why: "whether it has a last snapshot cannot be seen".into(), passes: false });
        }
        let Some(snapshot) = taken else {
            let mut tags = BTreeMap::from([(TAG_CLUSTER.to_owned(), self.cluster.to_string())]);
            tags.insert(TAG_REMOVAL.to_owned(), operation);
            tags.insert("Name".to_owned(), format!("last snapshot of {}", shown(volume)));
            let begun = self.cloud.snapshot(volume, &tags).await;
            fault::point("cloud.snapshot.after");
            let begun = begun.map_err(|fault| Try::Stuck {
                why: format!("no last snapshot could be taken: {fault}"),
                passes: fault.passes(),
            })?;
            (self.tell)(&format!("taking a last snapshot {} of {}", begun.id, shown(volume)));
            return Err(passing(format!("its last snapshot {} is not complete", begun.id)));
        };
        match snapshot.state.as_deref() {
            Some("completed") => Ok(()),
            Some("error") => Err(Try::Stuck {
                why: format!("its last snapshot {} failed: delete the snapshot and try again", snapshot.id),
                passes: false,
            }),
            _ => Err(passing(format!("its last snapshot {} is not complete", snapshot.id))),
        }
    }

    fn report(&self, journal: &Journal, scan: &Scan, plan: &Plan, stuck: &Stuck) -> SweepFindings {
        let kept: BTreeMap<_, _> = plan.keep.iter().map(|entry| (entry.key(), entry)).collect();
        let mut entries = journal.entries();
        entries.retain(|entry| entry.at.is_some() || !kept.contains_key(&entry.key()));
        for entry in entries.iter_mut().filter(|entry| entry.at.is_none()) {
            entry.fate = Fate::Left;
            let why = stuck.get(&entry.key()).cloned();
            entry.why = Some(why.unwrap_or_else(|| "the cloud still shows it".to_owned()));
        }
        entries.extend(plan.keep.iter().cloned());
        let left = entries.iter().any(|entry| entry.fate == Fate::Left);
        self.findings(scan, left, entries).bounded()
    }

    fn findings(&self, scan: &Scan, left: bool, entries: Vec<Entry>) -> SweepFindings {
        let unverified = scan.blind_spots().or_else(|| self.dark.clone());
        let verdict = match (&unverified, left) {
            (Some(_), _) => Verdict::Unverified,
            (None, true) => Verdict::Left,
            (None, false) => Verdict::Clean,
        };
        SweepFindings {
            verdict,
            unverified,
            dry_run: false,
            policy: self.policy,
            region: Some(self.cloud.region().to_owned()),
            at: self.clock.now(),
            prices: self.prices.name.clone(),
            tally: Tally::of(&entries),
            entries,
            not_listed: 0,
        }
    }
}

fn first(stuck: &Stuck) -> String {
    stuck.iter().next().map(|(key, why)| format!("{} {}: {why}", key.kind, key.id)).unwrap_or_default()
}

/// An object as a line of output shows it.
fn shown(object: &CloudObject) -> String {
    match &object.name {
        Some(name) if *name != object.id => format!("{} ({name})", object.id),
        _ => object.id.clone(),
    }
}
