//! Where memory comes from. A tool's own life is a few hundred microseconds long, and a third of
//! what it computed in them was to find free memory and to give it back. So the first of it is cut
//! from one block, piece by piece, and given back only where it was the last piece; what is more
//! than that, as of a tool that stays, comes from the system's allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

#[global_allocator]
static HEAP: Heap<SIZE> =
    Heap { block: Block(UnsafeCell::new([0; SIZE])), taken: AtomicUsize::new(0) };

/// Enough for the command line of every tool. It costs nothing before it is touched.
const SIZE: usize = 512 << 10;

/// What every tool uses of it. To be given these pages one by one, as each is touched, takes the
/// kernel several times as long.
const USUAL: usize = 88 << 10;

/// As malloc(3) aligns all: nix has headers of messages in bytes that it has asked for.
const ALIGN: usize = 16;

/// It begins with a page.
#[repr(align(4096))]
struct Block<const SIZE: usize>(UnsafeCell<[u8; SIZE]>);

struct Heap<const SIZE: usize> {
    block: Block<SIZE>,
    /// How much of it is in use, from its start on.
    taken: AtomicUsize,
}

// SAFETY: no byte of the block is in two pieces, as `taken` is only changed atomically; and who gets
// one that another thread has given back, sees what that one did last.
unsafe impl<const SIZE: usize> Sync for Heap<SIZE> {}

impl<const SIZE: usize> Heap<SIZE> {
    fn start(&self) -> *mut u8 {
        self.block.0.get().cast()
    }

    /// Where a piece is in the block, if it is from there.
    fn offset(&self, piece: *const u8) -> Option<usize> {
        piece.addr().checked_sub(self.start().addr()).filter(|offset| *offset < SIZE)
    }

    /// A new piece.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let piece = |taken: usize| {
            let address = self.start().addr() + taken;
            let align = layout.align().max(ALIGN);
            let first = taken + (address.next_multiple_of(align) - address);
            let end = first.checked_add(layout.size()).filter(|end| *end <= SIZE)?;
            Some((first, end))
        };
        let taken =
            self.taken.fetch_update(Acquire, Relaxed, |taken| Some(piece(taken)?.1)).ok()?;
        if taken == 0 {
            self.populate();
        }
        // SAFETY: it ends within the block.
        piece(taken).map(|(first, _)| unsafe { self.start().add(first) })
    }

    /// Has all pages that are usual at once. Before Linux 5.14 that is an error, and they come one by
    /// one.
    fn populate(&self) {
        let usual = USUAL.min(SIZE);
        // SAFETY: so much is there, and what is in it stays as it is.
        unsafe { libc::madvise(self.start().cast(), usual, libc::MADV_POPULATE_WRITE) };
    }

    /// Gives a piece another end, if it is the last one and there is room.
    fn resize(&self, first: usize, old: usize, new: usize) -> bool {
        let Some(end) = first.checked_add(new).filter(|end| *end <= SIZE) else { return false };
        self.taken.compare_exchange(first + old, end, AcqRel, Relaxed).is_ok()
    }
}

// SAFETY: a piece is as long as asked, aligned as asked, and nobody else's until it is given back.
unsafe impl<const SIZE: usize> GlobalAlloc for Heap<SIZE> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: what holds for us, holds for the system's allocator.
        self.take(layout).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(piece) => {
                // It may have been somebody else's before.
                // SAFETY: it is as long as asked.
                unsafe { piece.write_bytes(0, layout.size()) };
                piece
            }
            // SAFETY: what holds for us, holds for the system's allocator.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match self.offset(piece) {
            Some(first) => drop(self.resize(first, layout.size(), 0)),
            // SAFETY: it is not ours, so it is the system's.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(first) = self.offset(piece) else {
            // SAFETY: it is not ours, so it is the system's.
            return unsafe { System.realloc(piece, layout, size) };
        };
        if self.resize(first, layout.size(), size) || size <= layout.size() {
            return piece;
        }
        // SAFETY: the caller has seen to it that the new size is one for this alignment.
        let layout_of_new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: it is not of size 0, for which the caller has no `realloc`.
        let new = unsafe { self.alloc(layout_of_new) };
        if !new.is_null() {
            // SAFETY: both are at least that long, and they are two pieces.
            unsafe { ptr::copy_nonoverlapping(piece, new, layout.size().min(size)) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Small = Heap<256>;

    impl Small {
        fn new() -> Self {
            Self { block: Block(UnsafeCell::new([1; 256])), taken: AtomicUsize::new(0) }
        }

        fn piece(&self, size: usize, align: usize) -> *mut u8 {
            // SAFETY: no test asks for a size of 0.
            unsafe { self.alloc(layout(size, align)) }
        }

        fn grown(&self, piece: *mut u8, old: usize, new: usize) -> *mut u8 {
            // SAFETY: the tests say the size that it has, and all that grow are aligned to 8.
            unsafe { self.realloc(piece, layout(old, 8), new) }
        }

        fn free(&self, piece: *mut u8, size: usize) {
            // SAFETY: as above.
            unsafe { self.dealloc(piece, layout(size, 8)) };
        }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a power of two")
    }

    fn bytes<'a>(piece: *mut u8, size: usize) -> &'a mut [u8] {
        // SAFETY: the tests look at pieces that they have, one at a time.
        unsafe { std::slice::from_raw_parts_mut(piece, size) }
    }

    #[test]
    fn pieces_follow_each_other_aligned_and_then_the_system_has_more() {
        let heap = Small::new();
        let mut last = 0;
        for (size, align) in [(1, 1), (8, 8), (3, 1), (32, 32), (5, 2)] {
            let piece = heap.piece(size, align);
            let first = heap.offset(piece).expect("there is room");
            assert!(
                piece.addr().is_multiple_of(align.max(ALIGN)) && first >= last,
                "{size} {align}"
            );
            last = first + size;
        }
        let piece = heap.piece(256 - last + 1, 8);
        assert!(!piece.is_null() && heap.offset(piece).is_none());
        heap.free(piece, 256 - last + 1);
        assert!(heap.offset(heap.piece(1, 1)).is_some(), "what fits is from here");
    }

    #[test]
    fn the_last_piece_grows_where_it_is_and_comes_back_clean() {
        let heap = Small::new();
        let piece = heap.piece(16, 8);
        assert_eq!(heap.grown(piece, 16, 64), piece, "it is the last");
        let after = heap.piece(8, 8);
        bytes(piece, 64).fill(7);
        assert_eq!(heap.grown(piece, 64, 8), piece, "less is no reason to move");
        let moved = heap.grown(piece, 8, 24);
        assert!(moved > after);
        assert_eq!(bytes(moved, 8), [7; 8]);
        heap.free(moved, 24);
        // SAFETY: of no size 0.
        let clean = unsafe { heap.alloc_zeroed(layout(24, 8)) };
        assert_eq!(clean, moved, "its place is free");
        assert_eq!(bytes(clean, 24), [0; 24]);
        let large = heap.grown(clean, 24, 512);
        assert!(heap.offset(large).is_none());
        heap.free(heap.grown(large, 512, 1024), 1024);
    }
}
