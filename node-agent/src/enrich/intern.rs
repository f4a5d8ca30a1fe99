//! Keeps each distinct executable path once, so that a process costs a number and an exec of a known program
//! allocates nothing.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Unreferenced paths are kept until there are this many, since the same programs are started again and again.
const KEEP_UNREFERENCED: usize = 1_024;

/// A path in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathId(u32);

#[derive(Debug)]
struct Entry {
    path: Arc<[u8]>,
    references: u32,
}

/// Reference-counted byte strings; at most twice the referenced ones plus [`KEEP_UNREFERENCED`] are held.
#[derive(Debug, Default)]
pub(super) struct Paths {
    ids: HashMap<Arc<[u8]>, PathId, RandomState>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    unreferenced: usize,
}

impl Paths {
    /// Takes a reference to `path`.
    pub(super) fn acquire(&mut self, path: &[u8]) -> PathId {
        if let Some(&id) = self.ids.get(path) {
            self.retain(id);
            return id;
        }
        if self.unreferenced > KEEP_UNREFERENCED.max(self.ids.len() / 2) {
            self.sweep();
        }
        let path: Arc<[u8]> = Arc::from(path);
        let entry = Some(Entry {
            path: Arc::clone(&path),
            references: 1,
        });
        let id = if let Some(index) = self.free.pop() {
            if let Some(place) = self.entries.get_mut(index as usize) {
                *place = entry;
            }
            PathId(index)
        } else {
            self.entries.push(entry);
            // Bounded by the processes, of which there are far fewer than 2^32.
            PathId(u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX))
        };
        self.ids.insert(path, id);
        id
    }

    /// Takes a further reference.
    pub(super) fn retain(&mut self, id: PathId) {
        if let Some(Some(entry)) = self.entries.get_mut(id.0 as usize) {
            if entry.references == 0 {
                self.unreferenced -= 1;
            }
            entry.references += 1;
        }
    }

    /// Gives a reference back.
    pub(super) fn release(&mut self, id: PathId) {
        if let Some(Some(entry)) = self.entries.get_mut(id.0 as usize) {
            entry.references -= 1;
            if entry.references == 0 {
                self.unreferenced += 1;
            }
        }
    }

    /// The path itself.
    pub(super) fn get(&self, id: PathId) -> &[u8] {
        self.entries
            .get(id.0 as usize)
            .and_then(Option::as_ref)
            .map_or(&[], |entry| &entry.path)
    }

    /// Paths held, referenced or not.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    fn sweep(&mut self) {
        for (index, place) in (0_u32..).zip(self.entries.iter_mut()) {
            if let Some(entry) = place.take_if(|entry| entry.references == 0) {
                self.ids.remove(&entry.path);
                self.free.push(index);
            }
        }
        self.unreferenced = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acquire_same_path_shares_it() {
        let mut paths = Paths::default();
        let one = paths.acquire(b"/bin/true");
        assert_eq!(paths.acquire(b"/bin/true"), one);
        assert_eq!(paths.get(one), b"/bin/true");
        assert_eq!(paths.len(), 1);
    }

    #[test]
    fn unreferenced_paths_are_bounded_and_referenced_ones_stay() {
        let mut paths = Paths::default();
        let kept = paths.acquire(b"/bin/kept");
        for number in 0..10 * KEEP_UNREFERENCED {
            let id = paths.acquire(format!("/tmp/{number}").as_bytes());
            paths.release(id);
        }
        assert!(paths.len() <= KEEP_UNREFERENCED + 2, "{}", paths.len());
        assert_eq!(paths.get(kept), b"/bin/kept");
        // A path that comes back after it was unreferenced counts as referenced again.
        let id = paths.acquire(b"/tmp/again");
        paths.release(id);
        assert_eq!(paths.acquire(b"/tmp/again"), id);
        for number in 0..10 * KEEP_UNREFERENCED {
            let id = paths.acquire(format!("/var/{number}").as_bytes());
            paths.release(id);
        }
        assert_eq!(paths.get(id), b"/tmp/again");
    }
}
