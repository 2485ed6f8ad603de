//! The device program of a cgroup on v2: an eBPF program that is asked at every open(2) and mknod(2) of a device.
//!
//! It is a list of blocks, one an exception, each falling through to the next, and the answer for everything else:
//!
//! ```text
//! r2 = kind, r3 = access, r4 = major, r5 = minor          (struct bpf_cgroup_dev_ctx, linux/bpf.h)
//! if r2 != b goto next; if r3 asks for more than rw goto next; if r4 != 8 goto next; r0 = 1; exit
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
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const JUMP_EQUAL: u8 = 0x15;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
/// The context is not needed any more when this is.
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

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
    ];
    for (devices, access) in &allowed.except {
        instructions.extend(block(devices, *access, !allowed.by_default));
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

fn block(devices: &Devices, access: Access, allow: bool) -> Vec<Instruction> {
    let mut block = vec![with_value(JUMP_NOT_EQUAL, KIND, kind_code(devices.kind))];
    if access != Access::ALL {
        block.push(with_register(MOVE_32_REGISTER, SCRATCH, ACCESS));
        block.push(with_value(AND_32, SCRATCH, access.bits()));
        block.push(if allow {
            // an exception that allows has to cover all that is asked for
            with_register(JUMP_NOT_EQUAL_REGISTER, SCRATCH, ACCESS)
        } else {
            // one that denies has to touch it
            with_value(JUMP_EQUAL, SCRATCH, 0)
        });
    }
    for (register, number) in [(MAJOR, devices.major), (MINOR, devices.minor)] {
        if let Some(number) = number {
            // the kernel's numbers have 12 and 20 bits: what does not fit never matches, whichever way it is extended
            let number = i32::try_from(number).unwrap_or(-1);
            block.push(with_value(JUMP_NOT_EQUAL, register, number));
        }
    }
    block.extend(answer(allow));
    let length = block.len();
    for (index, instruction) in block.iter_mut().enumerate() {
        let jumps = [JUMP_NOT_EQUAL, JUMP_NOT_EQUAL_REGISTER, JUMP_EQUAL];
        if jumps.contains(&instruction.code) {
            // counted from the instruction after this one
            instruction.offset = i16::try_from(length - index - 1).unwrap_or_default();
        }
    }
    block
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
    #[cfg(target_endian = "little")]
    fn the_bytes_are_the_kernels() {
        let everything = Allowed {
            by_default: true,
            except: std::collections::BTreeMap::new(),
        };
        let expected: [u8; 64] = [
            0x61, 0x12, 0, 0, 0, 0, 0, 0, // r2 = *(u32 *)(r1 + 0)
            0x54, 0x02, 0, 0, 0xff, 0xff, 0, 0, // w2 &= 0xffff
            0x61, 0x13, 0, 0, 0, 0, 0, 0, // r3 = *(u32 *)(r1 + 0)
            0x74, 0x03, 0, 0, 16, 0, 0, 0, // w3 >>= 16
            0x61, 0x14, 4, 0, 0, 0, 0, 0, // r4 = *(u32 *)(r1 + 4)
            0x61, 0x15, 8, 0, 0, 0, 0, 0, // r5 = *(u32 *)(r1 + 8)
            0xb4, 0x00, 0, 0, 1, 0, 0, 0, // w0 = 1
            0x95, 0x00, 0, 0, 0, 0, 0, 0, // exit
        ];
        assert_eq!(program(&everything), expected);
    }
}
