//! Memory for programs whose every call is short and whose processes are copied.
//!
//! malloc(3) is made for programs that live long. Here a command allocates some 3,000 times and ends after milliseconds, and two more
//! processes are made of it. Each page that is touched for the first time is a fault, and so is each that is written to after a copy of the
//! process was made; malloc(3) and free(3) write beside every block, and a third of all faults of a `run` was theirs. So [`Arena`] takes a
//! stretch of memory from the kernel with its pages in it (one call for each 64 kB), gives it out in a row, and keeps what comes back in
//! lists of one size each. What it knows stands on a page that is empty in a copy of the process (`MADV_WIPEONFORK`): the copy goes on in a
//! stretch of its own, and leaves what was allocated before it alone.
//!
//! Only the first thread of a program that said so uses it ([`main!`](crate::main)), so nothing is locked. What other threads ask for, large
//! blocks, and all that comes when the reserve is used up are malloc(3)'s.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

/// Bytes that are taken from the kernel at a time.
const STEP: usize = 64 << 10;
/// Bytes of its part that a copy of the process fetches at once.
const COPY: usize = 16 << 10;
/// Bytes of address space for all of it. Less than a huge page: none is wanted here.
const RESERVE: usize = 1 << 20;
/// Largest block, in bytes.
const LARGEST: usize = 16 << 10;
/// Every block begins at a multiple of it, in bytes.
const ALIGNMENT: usize = 16;
/// Up to this size, in bytes, there is a list for each multiple of [`ALIGNMENT`], above for each power of two.
const FINE: usize = 512;
const FINE_LISTS: usize = FINE / ALIGNMENT;
const LISTS: usize = FINE_LISTS + (LARGEST / FINE).ilog2() as usize;
/// Bytes at the begin of the map that are the [`State`]'s: a page on every processor that this is made for.
const PAGE: usize = 4 << 10;

/// Where the reserve begins, after the state's page; null where there is none.
static RESERVED: AtomicPtr<u8> = AtomicPtr::new(null_mut());
/// Bytes of it that were taken, by this process or one that it is a copy of.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_FIRST_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// An allocator for `#[global_allocator]`.
#[derive(Debug, Clone, Copy)]
pub struct Arena;

/// What a process knows of its part of the reserve, as bytes from the reserve's begin. All zero: it has none yet.
#[repr(C)]
struct State {
    /// Its part is `begin..end`, of which all from `next` on was not given out.
    begin: usize,
    next: usize,
    end: usize,
    /// For each size the block that came back last, plus one; in each such block the one before it.
    free: [usize; LISTS],
}

/// Has the calling thread, the first and only one, allocate from the arena, and fetches the pages that its stack is going to reach. Where the
/// kernel has no memory to reserve nothing changes.
pub(crate) fn begin() {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a range of addresses that nothing uses
    let map = unsafe { libc::mmap(null_mut(), PAGE + RESERVE, access, kind, -1, 0) };
    if map == libc::MAP_FAILED {
        return;
    }
    // SAFETY: the first page of that map. Where this fails, a copy of the process goes on in the same part, in pages of its own.
    unsafe { libc::madvise(map, PAGE, libc::MADV_WIPEONFORK) };
    // SAFETY: inside of the map
    RESERVED.store(unsafe { map.cast::<u8>().add(PAGE) }, Relaxed);
    IS_FIRST_THREAD.set(true);
    fetch_stack();
}

/// The kernel maps 128 kB for the first stack, and a command reaches half of it at least.
fn fetch_stack() {
    let here = 0u8;
    let lowest = (ptr::from_ref(&here).addr() & !(PAGE - 1)).saturating_sub(STEP);
    fetch(ptr::without_provenance_mut(lowest), STEP);
}

/// Puts pages below so many bytes of the address space, where there are none yet: with one call what would be a fault for each. What cannot be
/// done is done by the faults.
fn fetch(from: *mut u8, bytes: usize) {
    if bytes > 0 {
        // SAFETY: no byte of memory changes
        unsafe { libc::madvise(from.cast(), bytes, libc::MADV_POPULATE_WRITE) };
    }
}

/// Which list has blocks for `size` bytes, 1 to [`LARGEST`].
const fn list(size: usize) -> usize {
    let last = size.saturating_sub(1);
    if last < FINE {
        last / ALIGNMENT
    } else {
        FINE_LISTS + (last / FINE).ilog2() as usize
    }
}

/// Bytes of the blocks of a list.
const fn capacity(list: usize) -> usize {
    if list < FINE_LISTS {
        (list + 1) * ALIGNMENT
    } else {
        FINE << (list - FINE_LISTS + 1)
    }
}

/// The reserve, if it is the calling thread's.
fn reserve() -> Option<*mut u8> {
    // an allocator is asked after a thread's variables are gone, too
    let is_first = IS_FIRST_THREAD.try_with(Cell::get).unwrap_or(false);
    is_first.then(|| RESERVED.load(Relaxed))
}

/// Where in the reserve a block is, in bytes from its begin.
fn place(block: *mut u8) -> Option<usize> {
    let reserved = RESERVED.load(Relaxed);
    let place = block.addr().wrapping_sub(reserved.addr());
    (!reserved.is_null() && place < RESERVE).then_some(place)
}

/// # Safety
/// `reserved` is [`reserve`]'s, and no other reference to the state is alive.
unsafe fn state<'a>(reserved: *mut u8) -> &'a mut State {
    const { assert!(size_of::<State>() <= PAGE) };
    // SAFETY: the page before the reserve has been mapped for it, is all zero at first, which is a state, and is used by one thread
    #[expect(clippy::cast_ptr_alignment, reason = "the begin of a page")]
    unsafe {
        &mut *reserved.sub(PAGE).cast::<State>()
    }
}

impl State {
    /// A block of a list, in bytes from the reserve's begin.
    ///
    /// # Safety
    /// As of [`state`].
    unsafe fn take(&mut self, list: usize, reserved: *mut u8) -> Option<usize> {
        if let Some(block) = self.free[list].checked_sub(1) {
            // SAFETY: `put` has left the one before it there
            self.free[list] = unsafe { reserved.add(block).cast::<usize>().read() };
            return Some(block);
        }
        let size = capacity(list);
        if self.end - self.next < size {
            let taken = TAKEN.load(Relaxed);
            if taken + STEP > RESERVE {
                return None;
            }
            let is_first = self.end == 0;
            if is_first {
                // what is before it, if anything, is the part of a process that this one is a copy of
                (self.begin, self.next) = (taken, taken);
            }
            // a copy goes on to be a container's first process: it waits for long, and its filter of system calls may come between
            let bytes = match (self.begin, is_first) {
                (0, _) => STEP,
                (_, true) => COPY,
                (_, false) => 0,
            };
            // SAFETY: inside of the reserve
            fetch(unsafe { reserved.add(taken) }, bytes);
            self.end = taken + STEP;
            TAKEN.store(self.end, Relaxed);
        }
        let block = self.next;
        self.next += size;
        Some(block)
    }

    /// Takes a block of a list back, where it is this process's.
    ///
    /// # Safety
    /// As of [`state`]; the block was given out and is used no more.
    unsafe fn put(&mut self, block: usize, list: usize, reserved: *mut u8) {
        if self.is_last(block, list) {
            self.next = block;
        } else if self.owns(block) {
            // SAFETY: a block of the reserve that nobody uses, at least as large and aligned as this
            unsafe { reserved.add(block).cast::<usize>().write(self.free[list]) };
            self.free[list] = block + 1;
        }
    }

    fn owns(&self, block: usize) -> bool {
        (self.begin..self.end).contains(&block)
    }

    /// Whether nothing was given out after it.
    fn is_last(&self, block: usize, list: usize) -> bool {
        self.owns(block) && block + capacity(list) == self.next
    }

    /// Has a block of list `from` be one of list `to` where it is, if that can be.
    fn resize(&mut self, block: usize, from: usize, to: usize) -> bool {
        let end = block + capacity(to);
        if self.is_last(block, from) && end <= self.end {
            self.next = end;
            return true;
        }
        to == from
    }
}

/// `alloc` of [`Arena`], by a name that tests find in a program without symbols.
///
/// # Safety
/// `size` and `align` are those of a layout, the size is not 0.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn fragment_allocate(size: usize, align: usize) -> *mut u8 {
    if size <= LARGEST
        && align <= ALIGNMENT
        && let Some(reserved) = reserve()
    {
        // SAFETY: the reserve's thread, for the time of this call
        let taken = unsafe { state(reserved).take(list(size), reserved) };
        if let Some(block) = taken {
            // SAFETY: inside of the reserve
            return unsafe { reserved.add(block) };
        }
    }
    // SAFETY: as the caller promises
    unsafe { System.alloc(Layout::from_size_align_unchecked(size, align)) }
}

/// `realloc` of [`Arena`], in the same way.
///
/// # Safety
/// `block` is one of `old` bytes, `new` and `align` are those of a layout, no size is 0.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn fragment_reallocate(
    block: *mut u8,
    old: usize,
    align: usize,
    new: usize,
) -> *mut u8 {
    // SAFETY: as the caller promises
    let layout = unsafe { Layout::from_size_align_unchecked(old, align) };
    let Some(place) = place(block) else {
        // SAFETY: not of the reserve, so it is malloc(3)'s
        return unsafe { System.realloc(block, layout, new) };
    };
    if new <= LARGEST
        && let Some(reserved) = reserve()
    {
        // SAFETY: the reserve's thread, for the time of this call
        let state = unsafe { state(reserved) };
        if state.resize(place, list(old), list(new)) {
            return block;
        }
    }
    // SAFETY: as the caller promises; both blocks can be written as far as they reach
    unsafe {
        let moved = fragment_allocate(new, align);
        if !moved.is_null() {
            ptr::copy_nonoverlapping(block, moved, old.min(new));
            Arena.dealloc(block, layout);
        }
        moved
    }
}

// SAFETY: blocks are as large and aligned as asked for and overlap none that is in use: each is a part of the reserve that was given out once,
// or came back since. Whose a block is is told by its address.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises
        unsafe { fragment_allocate(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            // SAFETY: as the caller promises
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as the caller promises; a block is as large as the layout says
        unsafe {
            let block = self.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(place) = place(block) else {
            // SAFETY: not of the reserve, so it is malloc(3)'s
            return unsafe { System.dealloc(block, layout) };
        };
        // what another thread gives back is not used again
        if let Some(reserved) = reserve() {
            // SAFETY: the reserve's thread, for the time of this call; the block is the caller's
            unsafe { state(reserved).put(place, list(layout.size()), reserved) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises
        unsafe { fragment_reallocate(block, layout.size(), layout.align(), size) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Blocks in use, by address, and that none of them overlaps another or has lost what was written to it.
    #[derive(Default)]
    struct Blocks(BTreeMap<usize, (*mut u8, Layout, u8)>);

    impl Blocks {
        fn add(&mut self, block: *mut u8, layout: Layout, mark: u8) {
            assert!(!block.is_null());
            assert_eq!(block.addr() % layout.align(), 0);
            let end = block.addr() + layout.size();
            if let Some((next, _)) = self.0.range(block.addr()..).next() {
                assert!(end <= *next, "{layout:?} reaches into the next block");
            }
            if let Some((before, (_, other, _))) = self.0.range(..block.addr()).next_back() {
                assert!(
                    before + other.size() <= block.addr(),
                    "{layout:?} is in another block"
                );
            }
            // SAFETY: just given out
            unsafe { block.write_bytes(mark, layout.size()) };
            self.0.insert(block.addr(), (block, layout, mark));
        }

        fn remove(&mut self, number: usize) -> (*mut u8, Layout, u8) {
            let address = *self.0.keys().nth(number % self.0.len()).unwrap();
            let (block, layout, mark) = self.0.remove(&address).unwrap();
            check(block, layout.size(), mark);
            (block, layout, mark)
        }
    }

    fn check(block: *mut u8, size: usize, mark: u8) {
        // SAFETY: a block that `Blocks` holds
        let bytes = unsafe { std::slice::from_raw_parts(block, size) };
        assert!(
            bytes.iter().all(|byte| *byte == mark),
            "{size} bytes of {mark}"
        );
    }

    /// A day of an allocator: sizes and alignments of all kinds, in and out.
    fn exercise(seed: u64, rounds: usize) {
        let mut random = seed;
        let mut next = |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(random >> 33).unwrap() % below
        };
        let mut blocks = Blocks::default();
        for round in 0..rounds {
            let size = match next(10) {
                0 => 1 + next(2 * LARGEST),
                1 | 2 => 1 + next(4 * FINE),
                _ => 1 + next(100),
            };
            let layout = Layout::from_size_align(size, 1 << next(6)).unwrap();
            let mark = u8::try_from(round % 255).unwrap();
            // SAFETY: layouts have a size, and blocks are used as they say
            unsafe {
                match next(8) {
                    0..4 if blocks.0.len() > 40 => {
                        let (block, layout, _) = blocks.remove(next(1000));
                        Arena.dealloc(block, layout);
                    }
                    0..3 => blocks.add(Arena.alloc(layout), layout, mark),
                    3 => {
                        let block = Arena.alloc_zeroed(layout);
                        check(block, size, 0);
                        blocks.add(block, layout, mark);
                    }
                    4 | 5 if !blocks.0.is_empty() => {
                        let (block, old, mark) = blocks.remove(next(1000));
                        let new = Arena.realloc(block, old, size);
                        check(new, size.min(old.size()), mark);
                        let layout = Layout::from_size_align(size, old.align()).unwrap();
                        blocks.add(new, layout, mark);
                    }
                    _ if !blocks.0.is_empty() => {
                        let (block, layout, _) = blocks.remove(next(1000));
                        Arena.dealloc(block, layout);
                    }
                    _ => {}
                }
            }
        }
        while !blocks.0.is_empty() {
            let (block, layout, _) = blocks.remove(0);
            // SAFETY: in use until now
            unsafe { Arena.dealloc(block, layout) };
        }
    }

    #[test]
    fn lists_are_as_large_as_what_they_are_for() {
        for size in 1..=LARGEST {
            assert!(capacity(list(size)) >= size, "{size}");
            assert!(list(size) == 0 || capacity(list(size) - 1) < size, "{size}");
        }
        assert_eq!(list(LARGEST), LISTS - 1);
    }

    // one test: a process has one reserve, and one thread may use it
    #[test]
    fn blocks_are_whole_here_in_a_copy_of_the_process_and_when_all_is_used_up() {
        let small = Layout::from_size_align(24, 8).unwrap();
        // SAFETY: a layout with a size
        let before = unsafe { Arena.alloc(small) };
        assert_eq!(place(before), None, "malloc's until it has begun");
        begin();
        exercise(1, 20_000);
        // SAFETY: layouts with a size; blocks are given back once, but for those that are left
        unsafe {
            Arena.dealloc(before, small);
            let (one, two) = (Arena.alloc(small), Arena.alloc(small));
            two.write_bytes(7, small.size());
            let part = place(one).unwrap();
            Arena.dealloc(one, small);
            assert_eq!(Arena.alloc(small), one, "what came back is used again");
            let other = std::thread::spawn(move || place(Arena.alloc(small)));
            assert_eq!(other.join().unwrap(), None, "another thread's is malloc's");

            let copy = libc::fork();
            if copy == 0 {
                let good = std::panic::catch_unwind(|| {
                    let own = place(Arena.alloc(small)).unwrap();
                    assert!(own / STEP > part / STEP, "in a part of its own");
                    Arena.dealloc(two, small);
                    check(two, small.size(), 7);
                    assert_ne!(Arena.alloc(small), two, "not its own to use again");
                    exercise(2, 20_000);
                });
                libc::_exit(i32::from(good.is_err()));
            }
            let mut status = -1;
            assert_eq!(libc::waitpid(copy, &raw mut status, 0), copy);
            assert_eq!(status, 0, "the copy of the process");
            check(two, small.size(), 7);

            let large = Layout::from_size_align(LARGEST, 8).unwrap();
            let most = RESERVE / LARGEST + 1;
            let all: Vec<*mut u8> = (0..most).map(|_| Arena.alloc(large)).collect();
            assert_eq!(place(*all.last().unwrap()), None, "the reserve is used up");
            exercise(3, 20_000);
            all.into_iter()
                .for_each(|block| Arena.dealloc(block, large));
        }
        exercise(4, 20_000);
    }
}
