//! Processes under ptrace(2): every instruction that they execute, or every time that they come to a place.
//!
//! valgrind(1) is no help: it knows neither openat2(2) nor the calls of the new mount interface, and rustix' vDSO is not there in it.
//! perf(1) needs a counter that virtual machines seldom have.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};

use fragment_tests::{Call, runtime};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Offset of the instruction pointer among the registers of a process (`struct user`, sys/user.h).
const INSTRUCTION_POINTER: usize = 16 * size_of::<u64>();
/// The instruction that traps.
const BREAKPOINT: i64 = 0xcc;

/// A command and the processes that it makes, traced by this thread. They are killed with it.
struct Traced {
    root: Pid,
    child: Child,
    /// Those that it made and that are alive and traced, as far as they were heard of.
    made: BTreeSet<Pid>,
}

impl Traced {
    /// Starts the call; it stands before its first instruction.
    fn start(call: Call) -> Self {
        let call = call.within("kill -STOP $$; exec \"$@\"");
        let mut command = call.command();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = runtime::spawn(&mut command);
        let root = Pid::from_raw(child.id().cast_signed());
        waitpid(root, Some(WaitPidFlag::WUNTRACED)).expect("wait for the shell");
        let options = Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(root, options).expect("trace the shell");
        kill(root, Signal::SIGCONT).expect("continue the shell");
        loop {
            match waitpid(root, Some(WaitPidFlag::__WALL)).expect("wait for the shell") {
                WaitStatus::PtraceEvent(_, _, event) if event == nix::libc::PTRACE_EVENT_EXEC => {
                    break;
                }
                WaitStatus::PtraceEvent(..) => ptrace::cont(root, None),
                WaitStatus::Stopped(_, signal) => ptrace::cont(root, signal),
                ended => panic!("the shell ended: {ended:?}"),
            }
            .expect("continue the shell");
        }
        Self {
            root,
            child,
            made: BTreeSet::new(),
        }
    }

    /// What happens next in any of the processes; `None` when the command has ended.
    fn next(&mut self) -> Option<WaitStatus> {
        // what other threads of this test wait for is not ours
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        match waitpid(None, Some(flags)).expect("wait for what is traced") {
            WaitStatus::Exited(process, code) if process == self.root => {
                assert_eq!(code, 0, "exit code of the command");
                None
            }
            WaitStatus::Signaled(process, signal, _) if process == self.root => {
                panic!("the command was killed by {signal}")
            }
            status => {
                match status {
                    WaitStatus::Exited(process, _) | WaitStatus::Signaled(process, ..) => {
                        self.made.remove(&process);
                    }
                    _ => self.made.extend(status.pid().filter(|it| *it != self.root)),
                }
                Some(status)
            }
        }
    }

    /// Whether this is a process of the command that has executed another program, the container's.
    fn is_container(&self, process: Pid, event: i32) -> bool {
        event == nix::libc::PTRACE_EVENT_EXEC && process != self.root
    }

    /// Leaves a process that stands alone.
    fn detach(&mut self, process: Pid) {
        self.made.remove(&process);
        let _ = ptrace::detach(process, None);
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // what a command leaves behind, as `create` does, goes on without us
        for process in std::mem::take(&mut self.made) {
            if ptrace::interrupt(process).is_ok() {
                let _ = waitpid(process, Some(WaitPidFlag::__WALL));
                let _ = ptrace::detach(process, None);
            }
        }
        // waited for already, or killed here
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many instructions a command and the processes that it makes execute in user space. One that the processor repeats counts once.
pub(crate) fn instructions(call: Call) -> u64 {
    let mut traced = Traced::start(call);
    let (mut count, mut last) = (0, BTreeMap::new());
    step(traced.root, None);
    while let Some(status) = traced.next() {
        match status {
            WaitStatus::Stopped(process, Signal::SIGTRAP) => {
                let at =
                    ptrace::read_user(process, INSTRUCTION_POINTER as ptrace::AddressType).ok();
                if last.insert(process, at) != Some(at) {
                    count += 1;
                }
                step(process, None);
            }
            WaitStatus::Stopped(process, signal) => step(process, Some(signal)),
            WaitStatus::PtraceEvent(process, _, event) if traced.is_container(process, event) => {
                traced.detach(process);
            }
            WaitStatus::PtraceEvent(process, ..) => step(process, None),
            _ => {}
        }
    }
    count
}

/// What is known when a process comes to a place: its first four arguments.
pub(crate) type Arguments = [u64; 4];

/// Calls `arrived` with an address and arguments each time that the command or a process that it makes comes to one of `addresses`.
pub(crate) fn arrivals(
    call: Call,
    addresses: &BTreeSet<u64>,
    mut arrived: impl FnMut(u64, Arguments),
) {
    let mut traced = Traced::start(call);
    let mut words = BTreeMap::new();
    for address in addresses {
        words.insert(
            *address,
            ptrace::read(traced.root, *address as ptrace::AddressType)
                .expect("read an instruction"),
        );
    }
    let set = |process: Pid| {
        for (address, word) in &words {
            write(process, *address, *word & !0xff | BREAKPOINT);
        }
    };
    set(traced.root);
    proceed(traced.root, None);
    while let Some(status) = traced.next() {
        match status {
            WaitStatus::Stopped(process, Signal::SIGTRAP) => {
                let mut registers = ptrace::getregs(process).expect("registers");
                let address = registers.rip - 1;
                let Some(word) = words.get(&address) else {
                    proceed(process, None);
                    continue;
                };
                let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.rcx];
                arrived(address, arguments);
                registers.rip = address;
                ptrace::setregs(process, registers).expect("set registers");
                write(process, address, *word);
                step(process, None);
                waitpid(process, Some(WaitPidFlag::__WALL)).expect("wait for a step");
                write(process, address, *word & !0xff | BREAKPOINT);
                proceed(process, None);
            }
            WaitStatus::Stopped(process, signal) => proceed(process, Some(signal)),
            WaitStatus::PtraceEvent(process, _, event) if traced.is_container(process, event) => {
                traced.detach(process);
            }
            WaitStatus::PtraceEvent(process, _, event) => {
                if event == nix::libc::PTRACE_EVENT_EXEC {
                    set(process);
                }
                proceed(process, None);
            }
            _ => {}
        }
    }
}

// a process that was killed in the meantime is told of by the next wait

fn step(process: Pid, signal: Option<Signal>) {
    let _ = ptrace::step(process, signal);
}

fn proceed(process: Pid, signal: Option<Signal>) {
    let _ = ptrace::cont(process, signal);
}

fn write(process: Pid, address: u64, word: i64) {
    ptrace::write(process, address as ptrace::AddressType, word).expect("write an instruction");
}
