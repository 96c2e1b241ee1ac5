//! A disk that loses power: what recorded steps may have left on it.
//!
//! Harder than any filesystem: until a file is synced its content may be what it was, nothing, half, or
//! zeros; until a directory is synced each change of its entries may be there or not, in any combination.
//! Only a rename is whole, also between directories. Everything that was there at first is durable, but
//! for what is said to be [`Disk::dirty`] or [`Disk::fresh`].

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use cratekube_common::runtime::fault::Recorded;

/// More combinations than this are drawn by lot.
const ALL_UP_TO: u64 = 64;

/// Directories (no content) and files, by their path.
pub(crate) type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

#[derive(Debug, Clone)]
enum Inode {
    File { durable: Vec<u8>, now: Vec<u8> },
    Dir { durable: BTreeMap<OsString, usize>, now: BTreeMap<OsString, usize> },
}

#[derive(Debug, Clone)]
enum Change {
    Put(usize, OsString, usize),
    Drop(usize, OsString),
    Move { from: (usize, OsString), to: (usize, OsString), inode: usize },
}

/// The disk under one directory.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    base: PathBuf,
    inodes: Vec<Inode>,
    changes: Vec<Change>,
}

/// Numbers by lot, always the same ones.
pub(crate) struct Lot(u64);

impl Lot {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn draw(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below as u64).unwrap()
    }
}

impl Disk {
    /// The disk as it is now, all of it durable.
    pub(crate) fn load(base: &Path) -> Self {
        let mut disk = Self { base: base.to_owned(), inodes: Vec::new(), changes: Vec::new() };
        disk.load_dir(base);
        disk
    }

    fn load_dir(&mut self, path: &Path) -> usize {
        let number = self.inodes.len();
        self.inodes.push(Inode::File { durable: Vec::new(), now: Vec::new() });
        let mut entries = BTreeMap::new();
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let inode = if entry.file_type().unwrap().is_dir() {
                self.load_dir(&entry.path())
            } else {
                let content = fs::read(entry.path()).unwrap();
                self.add(Inode::File { durable: content.clone(), now: content })
            };
            entries.insert(entry.file_name(), inode);
        }
        self.inodes[number] = Inode::Dir { durable: entries.clone(), now: entries };
        number
    }

    fn add(&mut self, inode: Inode) -> usize {
        self.inodes.push(inode);
        self.inodes.len() - 1
    }

    /// Somebody wrote a file without making it durable; on the disk it may still be `durable`.
    pub(crate) fn dirty(&mut self, path: &Path, was: &[u8]) {
        let number = self.find(path).unwrap();
        if let Inode::File { durable, .. } = &mut self.inodes[number] {
            *durable = was.to_owned();
        }
    }

    /// Somebody made this file, and neither its content nor its name is durable.
    pub(crate) fn fresh(&mut self, path: &Path) {
        self.dirty(path, b"");
        let ((dir, name), inode) = (self.place(path), self.find(path).unwrap());
        if let Inode::Dir { durable, .. } = &mut self.inodes[dir] {
            durable.remove(&name);
        }
        self.changes.push(Change::Put(dir, name, inode));
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let mut at = 0;
        for part in path.strip_prefix(&self.base).unwrap() {
            let Inode::Dir { now, .. } = &self.inodes[at] else { return None };
            at = *now.get(part)?;
        }
        Some(at)
    }

    fn place(&self, path: &Path) -> (usize, OsString) {
        (self.find(path.parent().unwrap()).unwrap(), path.file_name().unwrap().to_owned())
    }

    /// Takes the next step.
    pub(crate) fn take(&mut self, step: &Recorded) {
        match step {
            Recorded::Create(path) => self.create(path),
            Recorded::Write(path, bytes) => {
                let number = self.find(path).unwrap();
                if let Inode::File { now, .. } = &mut self.inodes[number] {
                    now.extend_from_slice(bytes);
                }
            }
            Recorded::Sync(path) => {
                let number = self.find(path).unwrap();
                if let Inode::File { durable, now } = &mut self.inodes[number] {
                    durable.clone_from(now);
                }
            }
            Recorded::SyncDir(path) => self.sync_dir(path),
            Recorded::Rename(from, to) => {
                let (from, to, inode) = (self.place(from), self.place(to), self.find(from).unwrap());
                self.change(Change::Move { from, to, inode });
            }
            Recorded::Link(from, to) => {
                let ((dir, name), inode) = (self.place(to), self.find(from).unwrap());
                self.change(Change::Put(dir, name, inode));
            }
            Recorded::Remove(path) => {
                let (dir, name) = self.place(path);
                self.change(Change::Drop(dir, name));
            }
            Recorded::RemoveTree(path) => self.remove_tree(path),
            Recorded::MakeDir(path) => {
                let (dir, name) = self.place(path);
                let inode = self.add(Inode::Dir { durable: BTreeMap::new(), now: BTreeMap::new() });
                self.change(Change::Put(dir, name, inode));
            }
        }
    }

    fn create(&mut self, path: &Path) {
        if let Some(number) = self.find(path) {
            if let Inode::File { now, .. } = &mut self.inodes[number] {
                now.clear();
            }
            return;
        }
        let (dir, name) = self.place(path);
        let inode = self.add(Inode::File { durable: Vec::new(), now: Vec::new() });
        self.change(Change::Put(dir, name, inode));
    }

    fn remove_tree(&mut self, path: &Path) {
        let Some(number) = self.find(path) else { return };
        if let Inode::Dir { now, .. } = &self.inodes[number] {
            let names: Vec<_> = now.keys().cloned().collect();
            names.iter().for_each(|name| self.remove_tree(&path.join(name)));
        }
        let (dir, name) = self.place(path);
        self.change(Change::Drop(dir, name));
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.inodes, &change, false);
        self.changes.push(change);
    }

    /// Only what was changed in this directory becomes durable.
    fn sync_dir(&mut self, path: &Path) {
        if !path.starts_with(&self.base) {
            return;
        }
        let dir = self.find(path).unwrap();
        let touches = |change: &Change| match change {
            Change::Put(at, ..) | Change::Drop(at, _) => *at == dir,
            Change::Move { from, to, .. } => from.0 == dir || to.0 == dir,
        };
        let (synced, left) = std::mem::take(&mut self.changes).into_iter().partition(touches);
        self.changes = left;
        let synced: Vec<Change> = synced;
        synced.iter().for_each(|change| apply(&mut self.inodes, change, true));
    }

    /// Everything that may be found if the power goes now.
    pub(crate) fn crashes(&self, lot: &mut Lot) -> BTreeSet<Tree> {
        let contents: Vec<(usize, Vec<Vec<u8>>)> = (0..self.inodes.len()).filter_map(|n| self.contents(n)).collect();
        let mut count = 1u64 << self.changes.len().min(32);
        contents.iter().for_each(|(_, options)| count = count.saturating_mul(options.len() as u64));
        let mut found = BTreeSet::new();
        for nth in 0..count.min(ALL_UP_TO) {
            let mut digits = nth;
            let mut choose = |options: usize| {
                if count > ALL_UP_TO && nth > 1 {
                    return lot.draw(options);
                }
                // With too many to try all: all is lost first, then all is kept.
                let chosen = if count > ALL_UP_TO { nth * (options as u64 - 1) } else { digits % options as u64 };
                digits /= options as u64;
                usize::try_from(chosen).unwrap()
            };
            let mut inodes = self.inodes.clone();
            for change in &self.changes {
                if choose(2) == 1 {
                    apply(&mut inodes, change, true);
                }
            }
            for (number, options) in &contents {
                let chosen = options[choose(options.len())].clone();
                inodes[*number] = Inode::File { durable: chosen.clone(), now: chosen };
            }
            let mut tree = Tree::new();
            grow(&inodes, 0, Path::new(""), &mut tree);
            found.insert(tree);
        }
        found
    }

    /// What a file that is not durable may contain; the last is what was written.
    fn contents(&self, number: usize) -> Option<(usize, Vec<Vec<u8>>)> {
        let Inode::File { durable, now } = &self.inodes[number] else { return None };
        let options = vec![durable.clone(), now[..now.len() / 2].to_vec(), vec![0; now.len()], now.clone()];
        (durable != now).then_some((number, options))
    }
}

fn apply(inodes: &mut [Inode], change: &Change, durably: bool) {
    let mut entries = |dir: usize, act: &mut dyn FnMut(&mut BTreeMap<OsString, usize>)| {
        if let Inode::Dir { durable, now } = &mut inodes[dir] {
            act(if durably { durable } else { now });
        }
    };
    match change {
        Change::Put(dir, name, inode) => entries(*dir, &mut |e| {
            e.insert(name.clone(), *inode);
        }),
        Change::Drop(dir, name) => entries(*dir, &mut |e| {
            e.remove(name);
        }),
        Change::Move { from, to, inode } => {
            entries(from.0, &mut |e| {
                if e.get(&from.1) == Some(inode) {
                    e.remove(&from.1);
                }
            });
            entries(to.0, &mut |e| {
                e.insert(to.1.clone(), *inode);
            });
        }
    }
}

fn grow(inodes: &[Inode], at: usize, path: &Path, tree: &mut Tree) {
    match &inodes[at] {
        Inode::File { durable, .. } => drop(tree.insert(path.to_owned(), Some(durable.clone()))),
        Inode::Dir { durable, .. } => {
            tree.insert(path.to_owned(), None);
            durable.iter().for_each(|(name, inode)| grow(inodes, *inode, &path.join(name), tree));
        }
    }
}

/// Puts a tree in the place of a directory.
pub(crate) fn materialise(tree: &Tree, at: &Path) {
    if at.exists() {
        fs::remove_dir_all(at).unwrap();
    }
    for (path, content) in tree {
        let path = if path.as_os_str().is_empty() { at.to_owned() } else { at.join(path) };
        match content {
            None => fs::create_dir(&path).unwrap(),
            Some(content) => fs::write(&path, content).unwrap(),
        }
    }
}

/// Every tree that a crash before, between or after the steps may leave; and those that may be found
/// once all were taken.
pub(crate) fn all_crashes(disk: &Disk, steps: &[Recorded], seed: u64) -> (BTreeSet<Tree>, BTreeSet<Tree>) {
    let (mut disk, mut lot) = (disk.clone(), Lot::seeded(seed));
    let mut last = disk.crashes(&mut lot);
    let mut all = last.clone();
    for step in steps {
        disk.take(step);
        last = disk.crashes(&mut lot);
        all.extend(last.iter().cloned());
    }
    (all, last)
}
