//! The system call filter of linux.seccomp: libseccomp compiles it, we put it in force.
//!
//! libcontainer's own loader reads a masked comparison the wrong way round, and its filters answer EPERM to system calls that
//! are newer than the profile. A C library that tries a new call first then gives up instead of taking the old one, so runc
//! answers ENOSYS there, and so does this.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;

use fragment_sys::seccomp::{Instruction, Treatment, filter};
use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use thiserror::Error;

use crate::creation::diagnosis::words;

/// A filter that cannot be.
#[derive(Debug, Error)]
pub enum SeccompError {
    /// What the runtime itself needs until the listener is passed on would wait for the listener.
    #[error("SCMP_ACT_NOTIFY cannot be used for the write syscall")]
    NotifyWrite,
    /// As `NotifyWrite`, for everything.
    #[error("SCMP_ACT_NOTIFY cannot be used as default action")]
    NotifyDefault,
    /// Nobody to notify.
    #[error("listenerPath is not set and SCMP_ACT_NOTIFY is used")]
    NoListener,
    /// An errno, or a tracer's number, that does not fit.
    #[error("errnoRet {0} is more than 65535")]
    Return(u32),
    /// libseccomp refused a rule, an architecture or the whole.
    #[error("{step}: {source}")]
    Compile {
        /// What it was to do.
        step: String,
        /// Its reason.
        #[source]
        source: libseccomp::error::SeccompError,
    },
    /// The compiled program could not be read back.
    #[error("read the compiled filter: {}", words(.0))]
    Read(#[source] io::Error),
    /// The kernel refused it.
    #[error("load the filter: {}", words(.0))]
    Load(#[source] io::Error),
}

impl SeccompError {
    fn at(step: impl Into<String>) -> impl FnOnce(libseccomp::error::SeccompError) -> Self {
        let step = step.into();
        move |source| Self::Compile { step, source }
    }
}

/// Whether a filter hands calls to a listener.
pub(crate) fn notifies(filter: &LinuxSeccomp) -> bool {
    syscalls(filter).any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}

/// What can be said of a filter before anything is made.
pub(crate) fn check(filter: &LinuxSeccomp) -> Result<(), SeccompError> {
    if filter.default_action() == LinuxSeccompAction::ScmpActNotify {
        return Err(SeccompError::NotifyDefault);
    }
    if !notifies(filter) {
        return Ok(());
    }
    let mut notified =
        syscalls(filter).filter(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify);
    if notified.any(|rule| rule.names().iter().any(|name| name == "write")) {
        return Err(SeccompError::NotifyWrite);
    }
    if filter.listener_path().is_none() {
        return Err(SeccompError::NoListener);
    }
    Ok(())
}

/// Puts a filter in force for this thread, and returns its listener where it has one. All that needs system calls other than
/// seccomp(2) is done before that one.
pub(crate) fn load(profile: &LinuxSeccomp) -> Result<Option<OwnedFd>, SeccompError> {
    check(profile)?;
    let program = compile(profile)?;
    let mut treatment = treatment(profile);
    match filter(&program, treatment) {
        // a default is worth trying only
        Err(error)
            if error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
                && profile.flags().is_none() =>
        {
            treatment.speculation = false;
            filter(&program, treatment)
        }
        result => result,
    }
    .map_err(SeccompError::Load)
}

/// A profile that says nothing of flags gets SPEC_ALLOW, as with runc: the mitigation costs every process of the container
/// much and protects none of another (kernel 5.16 changed its default for that reason). TSYNC is for processes with threads;
/// the process that loads this has one.
fn treatment(profile: &LinuxSeccomp) -> Treatment {
    let has = |flag| {
        let flags = profile.flags().as_deref();
        flags.is_some_and(|flags| flags.contains(&flag))
    };
    Treatment {
        log: has(LinuxSeccompFilterFlag::SeccompFilterFlagLog),
        speculation: profile.flags().is_none()
            || has(LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow),
        listener: notifies(profile),
        wait_killable: has(LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv),
    }
}

/// The filter as a program: the answer to unknown calls first, then what libseccomp makes of the rules.
fn compile(profile: &LinuxSeccomp) -> Result<Vec<Instruction>, SeccompError> {
    let mut program = Vec::new();
    if answers_unknown(profile) {
        for arch in architectures(profile) {
            program.extend(unknown_calls(profile, arch));
        }
    }
    program.extend(exported(&context(profile)?)?);
    Ok(program)
}

fn context(profile: &LinuxSeccomp) -> Result<ScmpFilterContext, SeccompError> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut context = ScmpFilterContext::new(default).map_err(SeccompError::at("make a filter"))?;
    for arch in profile.architectures().iter().flatten() {
        context
            .add_arch(architecture(*arch))
            .map_err(SeccompError::at(format!("add architecture {arch:?}")))?;
    }
    for rule in syscalls(profile) {
        let action = action(rule.action(), rule.errno_ret())?;
        // libseccomp refuses a rule that changes nothing
        if action != default {
            add(&mut context, rule, action)?;
        }
    }
    Ok(context)
}

fn add(
    context: &mut ScmpFilterContext,
    rule: &LinuxSyscall,
    action: ScmpAction,
) -> Result<(), SeccompError> {
    let comparisons: Vec<ScmpArgCompare> = rule.args().iter().flatten().map(comparison).collect();
    let mut indices = HashSet::new();
    let twice = (rule.args().iter().flatten()).any(|argument| !indices.insert(argument.index()));
    for name in rule.names() {
        // a name this libseccomp does not know: profiles list the calls of all kernels and architectures
        let Ok(call) = ScmpSyscall::from_name(name) else {
            tracing::debug!("unknown seccomp syscall {name:?} ignored");
            continue;
        };
        let fail = || SeccompError::at(format!("add a rule for {name}"));
        if twice {
            // a rule compares each argument once (seccomp_rule_add(3)); as with runc these are then alternatives
            for comparison in &comparisons {
                context
                    .add_rule_conditional(action, call, std::slice::from_ref(comparison))
                    .map_err(fail())?;
            }
        } else {
            context
                .add_rule_conditional(action, call, &comparisons)
                .map_err(fail())?;
        }
    }
    Ok(())
}

fn syscalls(profile: &LinuxSeccomp) -> impl Iterator<Item = &LinuxSyscall> {
    profile.syscalls().iter().flatten()
}

fn action(action: LinuxSeccompAction, value: Option<u32>) -> Result<ScmpAction, SeccompError> {
    let returned = || -> Result<u16, SeccompError> {
        // EPERM; runc's default for a tracer too
        let value = value.unwrap_or(Errno::PERM.raw_os_error().unsigned_abs());
        u16::try_from(value).map_err(|_| SeccompError::Return(value))
    };
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            ScmpAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(returned()?.into()),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(returned()?),
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
    })
}

/// For a masked comparison `value` is the mask and `valueTwo` what is compared with (config-linux.md, Seccomp).
fn comparison(argument: &LinuxSeccompArg) -> ScmpArgCompare {
    let mut datum = argument.value();
    let operator = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => ScmpCompareOp::Less,
        LinuxSeccompOperator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq => ScmpCompareOp::Equal,
        LinuxSeccompOperator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
        LinuxSeccompOperator::ScmpCmpGt => ScmpCompareOp::Greater,
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            datum = argument.value_two().unwrap_or(0);
            ScmpCompareOp::MaskedEqual(argument.value())
        }
    };
    // an index past the last argument is libseccomp's to refuse
    let index = u32::try_from(argument.index()).unwrap_or(u32::MAX);
    ScmpArgCompare::new(index, operator, datum)
}

fn architecture(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

/// Whether calls the profile cannot know are to be answered with ENOSYS: where its default is to forbid, and not with ENOSYS
/// already. A tracer that gets everything else answers for itself.
fn answers_unknown(profile: &LinuxSeccomp) -> bool {
    let permissive = matches!(
        profile.default_action(),
        LinuxSeccompAction::ScmpActAllow
            | LinuxSeccompAction::ScmpActLog
            | LinuxSeccompAction::ScmpActTrace
    );
    let already = profile.default_errno_ret() == Some(Errno::NOSYS.raw_os_error().unsigned_abs());
    !permissive && !already
}

/// The native architecture, which libseccomp adds to every filter, and the profile's others.
fn architectures(profile: &LinuxSeccomp) -> Vec<ScmpArch> {
    let mut all = vec![ScmpArch::native()];
    for arch in profile.architectures().iter().flatten() {
        let arch = architecture(*arch);
        if arch != ScmpArch::Native && !all.contains(&arch) {
            all.push(arch);
        }
    }
    all
}

/// Instructions that answer ENOSYS to the calls of `arch` with a number above all that the profile names, and fall through
/// for every other call. Nothing where the profile names no call of that architecture, or for one whose place in the kernel's
/// numbering we do not know.
fn unknown_calls(profile: &LinuxSeccomp, arch: ScmpArch) -> Vec<Instruction> {
    let last = syscalls(profile)
        .flat_map(LinuxSyscall::names)
        .filter_map(|name| ScmpSyscall::from_name_by_arch(name, arch).ok())
        .map(ScmpSyscall::as_raw_syscall)
        .max()
        // negative: numbers of libseccomp's own for calls that the architecture does not have
        .and_then(|last| u32::try_from(last).ok());
    let (Some(last), Some(audit)) = (last, audit_architecture(arch)) else {
        return Vec::new();
    };
    // x32 is x86-64 with a bit in the call's number
    let x32_bit = match arch {
        ScmpArch::X8664 => Some((1, 0)),
        ScmpArch::X32 => Some((0, 1)),
        _ => None,
    };
    let mode = u8::from(x32_bit.is_some());
    let mut block = vec![
        bpf::load(bpf::ARCHITECTURE),
        bpf::jump(bpf::EQUAL, audit, 0, 3 + mode),
        bpf::load(bpf::NUMBER),
    ];
    if let Some((set, clear)) = x32_bit {
        block.push(bpf::jump(bpf::BITS, 1 << 30, set * 2, clear * 2));
    }
    block.push(bpf::jump(bpf::GREATER, last, 0, 1));
    block.push(bpf::give(bpf::ENOSYS));
    block
}

/// AUDIT_ARCH_… (linux/audit.h): an ELF machine number, bit 31 for 64 bits and bit 30 for little endian.
fn audit_architecture(arch: ScmpArch) -> Option<u32> {
    const WIDE: u32 = 1 << 31;
    const LITTLE: u32 = 1 << 30;
    Some(match arch {
        ScmpArch::X86 => 3 | LITTLE,
        ScmpArch::X8664 | ScmpArch::X32 => 62 | WIDE | LITTLE,
        ScmpArch::Arm => 40 | LITTLE,
        ScmpArch::Aarch64 => 183 | WIDE | LITTLE,
        ScmpArch::Ppc64Le => 21 | WIDE | LITTLE,
        ScmpArch::Riscv64 => 243 | WIDE | LITTLE,
        ScmpArch::Loongarch64 => 258 | WIDE | LITTLE,
        _ => return None,
    })
}

/// What libseccomp makes of the rules.
fn exported(context: &ScmpFilterContext) -> Result<Vec<Instruction>, SeccompError> {
    let file = rustix::fs::memfd_create("seccomp", MemfdFlags::CLOEXEC)
        .map_err(|errno| SeccompError::Read(errno.into()))?;
    context
        .export_bpf(&file)
        .map_err(SeccompError::at("compile the filter"))?;
    let mut file = std::fs::File::from(file);
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut file).map_err(SeccompError::Read)?;
    io::Read::read_to_end(&mut file, &mut bytes).map_err(SeccompError::Read)?;
    let (instructions, []) = bytes.as_chunks::<8>() else {
        return Err(SeccompError::Read(io::ErrorKind::UnexpectedEof.into()));
    };
    Ok(instructions
        .iter()
        .map(|[c0, c1, yes, no, k0, k1, k2, k3]| Instruction {
            code: u16::from_ne_bytes([*c0, *c1]),
            yes: *yes,
            no: *no,
            operand: u32::from_ne_bytes([*k0, *k1, *k2, *k3]),
        })
        .collect())
}

/// Classic BPF over `struct seccomp_data` (linux/bpf_common.h, linux/seccomp.h).
mod bpf {
    use super::{Errno, Instruction};

    /// BPF_LD | BPF_W | BPF_ABS.
    const LOAD: u16 = 0x20;
    /// BPF_RET | BPF_K.
    const RETURN: u16 = 0x06;
    /// BPF_JMP | BPF_JEQ | BPF_K.
    pub(super) const EQUAL: u16 = 0x15;
    /// BPF_JMP | BPF_JGT | BPF_K.
    pub(super) const GREATER: u16 = 0x25;
    /// BPF_JMP | BPF_JSET | BPF_K.
    pub(super) const BITS: u16 = 0x45;
    /// Offset of the call's number.
    pub(super) const NUMBER: u32 = 0;
    /// Offset of the architecture.
    pub(super) const ARCHITECTURE: u32 = 4;
    /// SECCOMP_RET_ERRNO with ENOSYS.
    pub(super) const ENOSYS: u32 = 0x0005_0000 | Errno::NOSYS.raw_os_error().unsigned_abs();

    pub(super) fn load(offset: u32) -> Instruction {
        instruction(LOAD, offset, 0, 0)
    }

    pub(super) fn jump(code: u16, operand: u32, yes: u8, no: u8) -> Instruction {
        instruction(code, operand, yes, no)
    }

    pub(super) fn give(value: u32) -> Instruction {
        instruction(RETURN, value, 0, 0)
    }

    fn instruction(code: u16, operand: u32, yes: u8, no: u8) -> Instruction {
        Instruction {
            code,
            yes,
            no,
            operand,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(json: &str) -> LinuxSeccomp {
        serde_json::from_str(json).unwrap()
    }

    /// What the answer to unknown calls is: `None` where it falls through to the filter.
    fn run(program: &[Instruction], audit: u32, number: u32) -> Option<u32> {
        let (mut next, mut loaded) = (0, 0);
        while let Some(instruction) = program.get(next) {
            next += 1;
            let operand = instruction.operand;
            let holds = match instruction.code {
                0x20 => {
                    loaded = if operand == 0 { number } else { audit };
                    continue;
                }
                0x06 => return Some(operand),
                bpf::EQUAL => loaded == operand,
                bpf::GREATER => loaded > operand,
                bpf::BITS => loaded & operand != 0,
                code => panic!("unexpected instruction {code:#x}"),
            };
            next += usize::from(if holds {
                instruction.yes
            } else {
                instruction.no
            });
        }
        None
    }

    #[test]
    fn calls_newer_than_the_profile_are_not_implemented() {
        let profile = profile(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X32","SCMP_ARCH_X86"],
                "syscalls":[{"names":["read","openat2","no_such_call"],"action":"SCMP_ACT_ALLOW"}]}"#,
        );
        let program: Vec<Instruction> = [ScmpArch::X8664, ScmpArch::X32, ScmpArch::X86]
            .into_iter()
            .flat_map(|arch| unknown_calls(&profile, arch))
            .collect();
        let enosys = Some(bpf::ENOSYS);
        let x32 = 1 << 30;
        let (x86_64, i386, arm) = (0xc000_003e, 0x4000_0003, 0x4000_0028);
        // openat2 is 437 everywhere
        for (audit, number, expected) in [
            (x86_64, 0, None),
            (x86_64, 437, None),
            (x86_64, 438, enosys),
            (x86_64, 1000, enosys),
            (x86_64, x32 | 437, None),
            (x86_64, x32 | 438, enosys),
            (i386, 437, None),
            (i386, 438, enosys),
            (arm, 438, None),
        ] {
            assert_eq!(
                run(&program, audit, number),
                expected,
                "{audit:#x} {number:#x}"
            );
        }
    }

    #[test]
    fn a_permissive_profile_answers_for_itself() {
        for (json, expected) in [
            (r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#, true),
            (r#"{"defaultAction":"SCMP_ACT_KILL"}"#, true),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38}"#,
                false,
            ),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, false),
            (r#"{"defaultAction":"SCMP_ACT_LOG"}"#, false),
        ] {
            assert_eq!(answers_unknown(&profile(json)), expected, "{json}");
        }
    }

    #[test]
    fn filters_compile() {
        let profile = profile(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
                {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
                {"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":0,"op":"SCMP_CMP_EQ"},{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]},
                {"names":["read"],"action":"SCMP_ACT_ERRNO"},
                {"names":["write"],"action":"SCMP_ACT_TRACE","errnoRet":7}]}"#,
        );
        assert!(compile(&profile).unwrap().len() > 10);
    }

    #[test]
    fn what_cannot_be_notified_is_refused() {
        for (json, words) in [
            (
                r#"{"defaultAction":"SCMP_ACT_NOTIFY","listenerPath":"/a"}"#,
                "SCMP_ACT_NOTIFY cannot be used as default action",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/a","syscalls":[{"names":["write"],"action":"SCMP_ACT_NOTIFY"}]}"#,
                "SCMP_ACT_NOTIFY cannot be used for the write syscall",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#,
                "listenerPath is not set and SCMP_ACT_NOTIFY is used",
            ),
        ] {
            assert_eq!(check(&profile(json)).unwrap_err().to_string(), words);
        }
    }
}
