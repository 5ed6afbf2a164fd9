//! A growing array of slots, each addressed by its place.
//!
//! Slots lie in chunks: growing copies none of them, and never holds old and new storage at once.

use std::ops::{Index, IndexMut};

use super::Slot;

/// Slots per chunk: 36 kB.
const CHUNK: usize = 1024;

/// The index of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    fn of(number: usize) -> Self {
        Self(u32::try_from(number).expect("so many slots take 150 GB, which the allocator has refused before"))
    }

    fn chunk(self) -> usize {
        self.0 as usize / CHUNK
    }

    fn within(self) -> usize {
        self.0 as usize % CHUNK
    }
}

/// All slots.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// All chunks but the last are full, and none is empty.
    chunks: Vec<Vec<Slot>>,
}

impl Slots {
    pub(super) fn push(&mut self, slot: Slot) -> Place {
        let place = Place::of(self.len());
        if place.chunk() == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[place.chunk()].push(slot);
        place
    }

    /// Removes the last slot and returns it with its place.
    pub(super) fn pop(&mut self) -> Option<(Place, Slot)> {
        let last = self.chunks.last_mut()?;
        let slot = last.pop()?;
        if last.is_empty() {
            self.chunks.pop();
        }
        Some((Place::of(self.len()), slot))
    }

    pub(super) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Slot)> {
        self.chunks.iter().flatten().enumerate().map(|(number, slot)| (Place::of(number), slot))
    }

    #[cfg(test)]
    pub(super) fn allocation_size(&self) -> usize {
        self.chunks.iter().map(Vec::capacity).sum::<usize>() * size_of::<Slot>() + size_of_val(&*self.chunks)
    }
}

impl Index<Place> for Slots {
    type Output = Slot;

    fn index(&self, place: Place) -> &Slot {
        &self.chunks[place.chunk()][place.within()]
    }
}

impl IndexMut<Place> for Slots {
    fn index_mut(&mut self, place: Place) -> &mut Slot {
        &mut self.chunks[place.chunk()][place.within()]
    }
}
