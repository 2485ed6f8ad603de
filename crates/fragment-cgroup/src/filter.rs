//! The device program of a cgroup on v2: an eBPF program that is asked at every open(2) and mknod(2) of a device.
//!
//! It is one list for each kind of device that has exceptions, and the answer for everything else. What the kernel's verifier takes
//! for it grows with its branches, and at every start a container waits for that: so what allows or denies a whole device, as nearly
//! all rules do, is one comparison of both its numbers at once.
//!
//! ```text
//! r2 = kind, r3 = access, r4 = major, r5 = minor          (struct bpf_cgroup_dev_ctx, linux/bpf.h)
//! r6 = r4 << 20 | r5
//! if r2 != c goto next kind
//! if r6 == 1:3 goto hit; if r6 == 1:5 goto hit; if r4 == 136 goto hit
//! if r3 asks for more than r goto next; if r6 == 1:11 goto hit; …
//! goto next kind
//! hit: r0 = 1; exit
//! …
//! r0 = 0; exit
//! ```

use crate::devices::{Access, Allowed, Devices, Kind};

/// One instruction in the kernel's layout (instruction-set.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    destination: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

// classes and operations, instruction-set.rst
const LOAD_WORD: u8 = 0x61;
const AND_32: u8 = 0x54;
const SHIFT_RIGHT_32: u8 = 0x74;
const MOVE_32: u8 = 0xb4;
const MOVE_32_REGISTER: u8 = 0xbc;
const SHIFT_LEFT_32: u8 = 0x64;
const OR_32_REGISTER: u8 = 0x4c;
const JUMP: u8 = 0x05;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const JUMP_EQUAL: u8 = 0x15;
/// Compares 32 bits: an immediate is extended for 64.
const JUMP_EQUAL_32: u8 = 0x16;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
/// The context is not needed any more when this is.
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// Both.
const DEVICE: u8 = 6;

/// The kernel's numbers have 12 and 20 bits (MKDEV, linux/kdev_t.h).
const MINOR_BITS: u32 = 20;
const MAJOR_BITS: u32 = 12;
/// Exceptions that share an answer: as many as a jump's 16 bits reach over with ease.
const AT_ONCE: usize = 1000;

/// BPF_DEVCG_DEV_*
fn kind_code(kind: Kind) -> i32 {
    match kind {
        Kind::Block => 1,
        Kind::Character => 2,
    }
}

fn with_value(code: u8, destination: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        destination,
        source: 0,
        offset: 0,
        immediate,
    }
}

fn with_register(code: u8, destination: u8, source: u8) -> Instruction {
    Instruction {
        code,
        destination,
        source,
        offset: 0,
        immediate: 0,
    }
}

fn load(destination: u8, offset: i16) -> Instruction {
    Instruction {
        code: LOAD_WORD,
        destination,
        source: CONTEXT,
        offset,
        immediate: 0,
    }
}

/// The program for a set, as bytes for bpf(2).
pub(crate) fn program(allowed: &Allowed) -> Vec<u8> {
    let mut instructions = vec![
        load(KIND, 0),
        with_value(AND_32, KIND, 0xffff),
        load(ACCESS, 0),
        with_value(SHIFT_RIGHT_32, ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
        with_register(MOVE_32_REGISTER, DEVICE, MAJOR),
        with_value(SHIFT_LEFT_32, DEVICE, MINOR_BITS.cast_signed()),
        with_register(OR_32_REGISTER, DEVICE, MINOR),
    ];
    for kind in [Kind::Block, Kind::Character] {
        let of_kind = allowed.except.iter();
        let tests = of_kind
            .filter(|(devices, _)| devices.kind == kind)
            .filter_map(|(devices, access)| test(devices, *access, !allowed.by_default));
        let tests: Vec<_> = tests.collect();
        for some in tests.chunks(AT_ONCE) {
            instructions.extend(list(kind, some, !allowed.by_default));
        }
    }
    instructions.extend(answer(allowed.by_default));
    instructions.iter().flat_map(bytes).collect()
}

fn answer(allow: bool) -> [Instruction; 2] {
    [
        with_value(MOVE_32, RESULT, i32::from(allow)),
        with_value(EXIT, 0, 0),
    ]
}

/// Instructions that jump where a device is an exception, and those that jump on to the next test where it is not. The offsets are
/// filled in by [`list`].
struct Test {
    /// Each jumps past the test when the exception is not about what is asked.
    guards: Vec<Instruction>,
    /// Jumps to the answer.
    hit: Instruction,
}

/// Exceptions for devices of one kind and their common answer.
fn list(kind: Kind, tests: &[Test], allow: bool) -> Vec<Instruction> {
    let mut list = vec![with_value(JUMP_NOT_EQUAL, KIND, kind_code(kind))];
    let mut to_answer = Vec::new();
    for Test { guards, hit } in tests {
        let next = list.len() + guards.len() + 1;
        for guard in guards {
            let offset = match guard.code {
                JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REGISTER | JUMP_EQUAL => distance(list.len(), next),
                _ => 0,
            };
            list.push(Instruction { offset, ..*guard });
        }
        to_answer.push(list.len());
        list.push(*hit);
    }
    let over = list.len();
    list.push(with_value(JUMP, 0, 0));
    for index in to_answer {
        list[index].offset = distance(index, over + 1);
    }
    list.extend(answer(allow));
    let end = list.len();
    list[0].offset = distance(0, end);
    list[over].offset = distance(over, end);
    list
}

/// Of a jump: counted from the instruction after it.
fn distance(from: usize, to: usize) -> i16 {
    // a list has AT_ONCE tests of five instructions at most
    i16::try_from(to - from - 1).unwrap_or_default()
}

/// None for numbers that no device has.
fn test(devices: &Devices, access: Access, allow: bool) -> Option<Test> {
    let mut guards = Vec::new();
    if access != Access::ALL {
        guards.push(with_register(MOVE_32_REGISTER, SCRATCH, ACCESS));
        guards.push(with_value(AND_32, SCRATCH, access.bits()));
        guards.push(if allow {
            // an exception that allows has to cover all that is asked for
            with_register(JUMP_NOT_EQUAL_REGISTER, SCRATCH, ACCESS)
        } else {
            // one that denies has to touch it
            with_value(JUMP_EQUAL, SCRATCH, 0)
        });
    }
    let below = |number: u32, bits: u32| (number < 1 << bits).then_some(number);
    let equals = |register, number: u32| with_value(JUMP_EQUAL_32, register, number.cast_signed());
    let hit = match (devices.major, devices.minor) {
        (Some(major), Some(minor)) => {
            let device = below(major, MAJOR_BITS)? << MINOR_BITS | below(minor, MINOR_BITS)?;
            equals(DEVICE, device)
        }
        (Some(major), None) => equals(MAJOR, below(major, MAJOR_BITS)?),
        (None, Some(minor)) => equals(MINOR, below(minor, MINOR_BITS)?),
        // always: the verifier refuses what comes after a jump without a condition
        (None, None) => with_value(JUMP_EQUAL, KIND, kind_code(devices.kind)),
    };
    Some(Test { guards, hit })
}

fn bytes(instruction: &Instruction) -> [u8; 8] {
    let [low, high] = instruction.offset.to_ne_bytes();
    let [a, b, c, d] = instruction.immediate.to_ne_bytes();
    let registers = if cfg!(target_endian = "little") {
        instruction.source << 4 | instruction.destination
    } else {
        instruction.destination << 4 | instruction.source
    };
    [instruction.code, registers, low, high, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::tests::allowed;

    /// What the kernel would answer, by an interpreter of the few instructions there are.
    fn asked(program: &[u8], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u64; 11];
        let mut next = 0_usize;
        loop {
            let at = next * 8;
            let code = program[at];
            let destination = usize::from(program[at + 1] & 0xf);
            let source = usize::from(program[at + 1] >> 4);
            let offset = i16::from_ne_bytes([program[at + 2], program[at + 3]]);
            let immediate = i32::from_ne_bytes(program[at + 4..at + 8].try_into().unwrap());
            // jumps extend the sign to 64 bits
            let extended = i64::from(immediate) as u64;
            next += 1;
            let mut jump = |taken: bool| {
                if taken {
                    next = next.checked_add_signed(isize::from(offset)).unwrap();
                }
            };
            match code {
                LOAD_WORD => {
                    assert_eq!(source, usize::from(CONTEXT));
                    registers[destination] = u64::from(context[offset as usize / 4]);
                }
                AND_32 => registers[destination] &= u64::from(immediate as u32),
                SHIFT_RIGHT_32 => registers[destination] >>= immediate,
                SHIFT_LEFT_32 => {
                    registers[destination] = registers[destination] << immediate & 0xffff_ffff;
                }
                OR_32_REGISTER => registers[destination] |= registers[source],
                JUMP => jump(true),
                JUMP_EQUAL_32 => jump(registers[destination] as u32 == immediate as u32),
                MOVE_32 => registers[destination] = u64::from(immediate as u32),
                MOVE_32_REGISTER => registers[destination] = registers[source] & 0xffff_ffff,
                JUMP_NOT_EQUAL => jump(registers[destination] != extended),
                JUMP_EQUAL => jump(registers[destination] == extended),
                JUMP_NOT_EQUAL_REGISTER => jump(registers[destination] != registers[source]),
                EXIT => return registers[0] != 0,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    const BLOCK: u32 = 1;
    const CHARACTER: u32 = 2;
    const MKNOD: u32 = 1;
    const READ: u32 = 2;
    const WRITE: u32 = 4;

    #[test]
    fn a_list_of_what_is_allowed() {
        let set = allowed(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":8,"access":"r"},
                {"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]"#,
        );
        let program = program(&set.unwrap());
        // defaults: null whole, mknod of anything, terminals
        assert!(asked(&program, CHARACTER, READ | WRITE, 1, 3));
        assert!(asked(&program, BLOCK, MKNOD, 99, 7));
        assert!(asked(&program, CHARACTER, READ | WRITE, 136, 12));
        // kmsg is none
        assert!(!asked(&program, CHARACTER, READ, 1, 11));
        assert!(asked(&program, BLOCK, READ, 8, 3));
        assert!(!asked(&program, BLOCK, READ | WRITE, 8, 3));
        assert!(!asked(&program, CHARACTER, READ, 8, 3));
        assert!(asked(&program, CHARACTER, READ | WRITE, 10, 229));
        assert!(!asked(&program, CHARACTER, READ | WRITE, 10, 230));
    }

    #[test]
    fn a_list_of_what_is_not() {
        let set = allowed(
            r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":11,"access":"w"}]"#,
        );
        let program = program(&set.unwrap());
        assert!(asked(&program, BLOCK, READ | WRITE, 8, 0));
        assert!(asked(&program, CHARACTER, READ, 1, 11));
        assert!(!asked(&program, CHARACTER, WRITE, 1, 11));
        // what is denied in part is denied
        assert!(!asked(&program, CHARACTER, READ | WRITE, 1, 11));
    }

    #[test]
    fn a_number_that_no_device_has_matches_none() {
        let set =
            allowed(r#"[{"allow":true,"type":"c","major":4294967295,"minor":0,"access":"r"}]"#);
        let program = program(&set.unwrap());
        assert!(!asked(&program, CHARACTER, READ, 4095, 0));
    }

    #[test]
    fn the_answer_is_the_sets_for_every_device_near_a_rule() {
        let rules = r#"[{"allow":ALLOW,"access":"rwm"},
            {"allow":EXCEPT,"type":"c","major":4095,"minor":1048575,"access":"rwm"},
            {"allow":EXCEPT,"type":"b","major":8,"access":"w"},
            {"allow":EXCEPT,"type":"c","minor":77,"access":"rw"},
            {"allow":EXCEPT,"type":"b","major":7,"minor":2,"access":"rwm"}]"#;
        for by_default in [false, true] {
            let rules = rules.replace("ALLOW", &by_default.to_string());
            let rules = rules.replace("EXCEPT", &(!by_default).to_string());
            let set = allowed(&rules).unwrap();
            let program = program(&set);
            let numbers = |number: Option<u32>| {
                number.map_or(vec![0, 3, 77], |it| vec![it, it + 1, it.saturating_sub(1)])
            };
            for devices in set.except.keys() {
                for (major, minor) in numbers(devices.major)
                    .into_iter()
                    .flat_map(|major| {
                        numbers(devices.minor)
                            .into_iter()
                            .map(move |minor| (major, minor))
                    })
                    .filter(|(major, minor)| *major < 4096 && *minor < 1 << 20)
                {
                    for (kind, access) in [
                        (BLOCK, 1),
                        (BLOCK, 6),
                        (BLOCK, 4),
                        (CHARACTER, 2),
                        (CHARACTER, 7),
                    ] {
                        let hit = set.except.iter().any(|(rule, may)| {
                            kind_code(rule.kind) == kind.cast_signed()
                                && rule.major.is_none_or(|it| it == major)
                                && rule.minor.is_none_or(|it| it == minor)
                                && match by_default {
                                    false => access & may.bits().cast_unsigned() == access,
                                    true => access & may.bits().cast_unsigned() != 0,
                                }
                        });
                        let told = asked(&program, kind, access, major, minor);
                        assert_eq!(told, hit != by_default, "{kind} {major}:{minor} {access}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_list_too_long_for_one_jump_is_cut() {
        let rules: Vec<String> = (0..5000)
            .map(|minor| {
                format!(r#"{{"allow":true,"type":"c","major":20,"minor":{minor},"access":"r"}}"#)
            })
            .collect();
        let program = program(&allowed(&format!("[{}]", rules.join(","))).unwrap());
        for minor in [0, 999, 1000, 2500, 4999] {
            assert!(asked(&program, CHARACTER, READ, 20, minor), "{minor}");
        }
        assert!(!asked(&program, CHARACTER, READ, 20, 5000));
        assert!(!asked(&program, CHARACTER, READ, 21, 0));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_bytes_are_the_kernels() {
        let everything = Allowed {
            by_default: true,
            except: std::collections::BTreeMap::new(),
        };
        let expected: [u8; 88] = [
            0x61, 0x12, 0, 0, 0, 0, 0, 0, // r2 = *(u32 *)(r1 + 0)
            0x54, 0x02, 0, 0, 0xff, 0xff, 0, 0, // w2 &= 0xffff
            0x61, 0x13, 0, 0, 0, 0, 0, 0, // r3 = *(u32 *)(r1 + 0)
            0x74, 0x03, 0, 0, 16, 0, 0, 0, // w3 >>= 16
            0x61, 0x14, 4, 0, 0, 0, 0, 0, // r4 = *(u32 *)(r1 + 4)
            0x61, 0x15, 8, 0, 0, 0, 0, 0, // r5 = *(u32 *)(r1 + 8)
            0xbc, 0x46, 0, 0, 0, 0, 0, 0, // w6 = w4
            0x64, 0x06, 0, 0, 20, 0, 0, 0, // w6 <<= 20
            0x4c, 0x56, 0, 0, 0, 0, 0, 0, // w6 |= w5
            0xb4, 0x00, 0, 0, 1, 0, 0, 0, // w0 = 1
            0x95, 0x00, 0, 0, 0, 0, 0, 0, // exit
        ];
        assert_eq!(program(&everything), expected);
    }
}
