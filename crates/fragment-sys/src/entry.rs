//! The first instructions of a static program, before those of the C library.
//!
//! [`crate::program::protect`] runs the program a second time. What the first one does until then is for nothing: the C library
//! asks for the processor's features and caches (dozens of cpuid instructions, each a trap in a virtual machine), relocates and
//! sets memory up, Rust's runtime looks for its stack and makes another for signals, and each page of all that is a fault: half a
//! millisecond. A program that is linked with `fragment_entry` as its entry point (`ld --entry`; x86-64) is protected before any of it, in seven
//! system calls. Whatever does not work out here is left to `protect`, which does the same later and knows what else there is.
//!
//! Nothing that the C library sets up is there: no thread-local storage, no relocated addresses of memcpy(3) and its kind, no
//! allocator. So there is no formatting, no slice and no array here, and bytes are read one at a time.
//!
//! What the compiler's own start-up file does in a static program is left out as well: it registers the tables for unwinding, which maps
//! them, and makes the first backtrace sort all of them into memory of its own. Not registered, they are found by the program's headers, which
//! have an index of them (`PT_GNU_EH_FRAME`). Two functions of its library do nothing for that (`ld --wrap`). The programs that hack/build makes
//! have no such tables: a third one tells who asks for a backtrace that there is none.

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::global_asm;
    use std::ffi::{c_char, c_int, c_long, c_void};
    use std::mem::MaybeUninit;
    use std::ptr;

    use crate::program::{ENTERING, OWN};
    use crate::raw::call;

    // rsp: the number of arguments, the arguments, the environment (System V ABI, AMD64 supplement, "Initial Stack"); rdx: for _start
    global_asm!(
        ".pushsection .text.fragment_entry, \"ax\", @progbits",
        ".globl fragment_entry",
        ".type fragment_entry, @function",
        "fragment_entry:",
        "xor ebp, ebp",
        "mov rbx, rsp",
        "mov r12, rdx",
        "mov rdi, rsp",
        "and rsp, -16",
        "call {protect}",
        "mov rdx, r12",
        "mov rsp, rbx",
        "jmp _start",
        ".size fragment_entry, . - fragment_entry",
        ".popsection",
        protect = sym protect,
    );

    /// Runs the program again from a read-only view of its file where one of its arguments says that it enters a container; returns
    /// when that is not so, was done before, or cannot be done.
    ///
    /// # Safety
    /// `stack` is what the kernel left a new program.
    unsafe extern "C" fn protect(stack: *const usize) {
        // SAFETY: the layout of a new program's stack, see above: a count, that many pointers to texts and a null, then the same
        // without a count.
        unsafe {
            let count = *stack;
            let arguments = stack.add(1).cast::<*const c_char>();
            let environment = arguments.add(count + 1);
            if !enters(arguments, count) || is_read_only() {
                return;
            }
            let Some(view) = read_only_view() else {
                return;
            };
            let [view_, nothing, flags] =
                [view, EMPTY.as_ptr() as c_long, libc::AT_EMPTY_PATH.into()];
            call(
                libc::SYS_execveat,
                [
                    view_,
                    nothing,
                    arguments as c_long,
                    environment as c_long,
                    flags,
                ],
            );
            call(libc::SYS_close, [view, 0, 0, 0, 0]);
        }
    }

    /// In the place of libgcc's `__register_frame_info`.
    #[unsafe(no_mangle)]
    extern "C" fn __wrap___register_frame_info(_: *const c_void, _: *mut c_void) {}

    /// In the place of libgcc's `__deregister_frame_info`: nothing was registered.
    #[unsafe(no_mangle)]
    extern "C" fn __wrap___deregister_frame_info(_: *const c_void) -> *mut c_void {
        ptr::null_mut()
    }

    /// In the place of libgcc's `_Unwind_Backtrace` where there are no tables for unwinding (hack/cc): the stack ends where it is asked for.
    /// libgcc's ends the process, as it finds not even itself.
    #[unsafe(no_mangle)]
    extern "C" fn __wrap__Unwind_Backtrace(_: *const c_void, _: *mut c_void) -> c_int {
        /// `_URC_END_OF_STACK` (Itanium C++ ABI: Exception Handling, 1.3).
        const END_OF_STACK: c_int = 5;
        END_OF_STACK
    }

    /// `struct statfs` of the kernel, in words, and which of them `f_flags` is (asm-generic/statfs.h); the libc crate's has no such field.
    const STATFS_WORDS: usize = 15;
    const STATFS_FLAGS: usize = 10;

    const EMPTY: &std::ffi::CStr = c"";

    /// # Safety
    /// `arguments` are `count` texts.
    unsafe fn enters(arguments: *const *const c_char, count: usize) -> bool {
        let mut index = 1;
        while index < count {
            // SAFETY: below the count
            let argument = unsafe { *arguments.add(index) };
            let mut word = 0;
            while word < ENTERING.len() {
                // SAFETY: a text
                if unsafe { is(argument, ENTERING.as_ptr().wrapping_add(word)) } {
                    return true;
                }
                word += 1;
            }
            index += 1;
        }
        false
    }

    /// # Safety
    /// `text` ends with a zero byte, `word` is a word.
    unsafe fn is(text: *const c_char, word: *const &str) -> bool {
        // SAFETY: as promised; volatile, or the compiler makes a call of bcmp(3) of it
        unsafe {
            let word: &str = *word;
            let (bytes, length) = (word.as_ptr(), word.len());
            let mut index = 0;
            while index < length {
                if ptr::read_volatile(text.add(index)).cast_unsigned()
                    != ptr::read_volatile(bytes.add(index))
                {
                    return false;
                }
                index += 1;
            }
            ptr::read_volatile(text.add(length)) == 0
        }
    }

    /// # Safety
    /// None beyond those of system calls.
    unsafe fn is_read_only() -> bool {
        let mut about = MaybeUninit::<[c_long; STATFS_WORDS]>::uninit();
        // SAFETY: the path ends with a zero byte, and the kernel fills the buffer in when it does not fail
        unsafe {
            let failed = call(
                libc::SYS_statfs,
                [
                    OWN.as_ptr() as c_long,
                    about.as_mut_ptr() as c_long,
                    0,
                    0,
                    0,
                ],
            );
            // a failure: nothing can be done here
            failed != 0
                || about.as_ptr().cast::<c_long>().add(STATFS_FLAGS).read()
                    & libc::ST_RDONLY as c_long
                    != 0
        }
    }

    /// # Safety
    /// None beyond those of system calls.
    unsafe fn read_only_view() -> Option<c_long> {
        let clone = c_long::from(libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC);
        let attributes = libc::mount_attr {
            attr_set: libc::MOUNT_ATTR_RDONLY,
            attr_clr: 0,
            propagation: 0,
            userns_fd: 0,
        };
        // SAFETY: paths end with a zero byte, the structure has the size that is told
        unsafe {
            let view = call(
                libc::SYS_open_tree,
                [libc::AT_FDCWD.into(), OWN.as_ptr() as c_long, clone, 0, 0],
            );
            if view < 0 {
                return None;
            }
            let size = size_of::<libc::mount_attr>() as c_long;
            let at = [
                view,
                EMPTY.as_ptr() as c_long,
                libc::AT_EMPTY_PATH.into(),
                &raw const attributes as c_long,
                size,
            ];
            if call(libc::SYS_mount_setattr, at) == 0 {
                return Some(view);
            }
            call(libc::SYS_close, [view, 0, 0, 0, 0]);
            None
        }
    }
}
