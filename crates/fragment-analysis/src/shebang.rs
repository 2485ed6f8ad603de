//! `#!` lines, read as the kernel reads them (`load_script` in fs/binfmt_script.c).

/// Bytes of a file the kernel looks at (`BINPRM_BUF_SIZE`): a longer line is cut, silently where only the argument is cut.
pub const BUFFER: usize = 256;

/// How many scripts may interpret one another. exec_binprm (fs/exec.c) tries handlers at depths 0 to 5: five rewrites, and
/// the program that the fifth names must not be a script.
pub const MAX_DEPTH: usize = 5;

/// A `#!` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shebang {
    /// The interpreter, as the kernel will open it. A relative name is relative to the working directory.
    pub interpreter: Vec<u8>,
    /// All the rest of the line, as one argument.
    pub argument: Option<Vec<u8>>,
}

/// What the beginning of a file means to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// It does not begin with `#!`.
    None,
    /// It does, and execve says ENOEXEC all the same: the line is empty, or the interpreter's name is cut off by the end of
    /// the buffer.
    Invalid(&'static str),
    /// A script.
    Script(Shebang),
}

/// Reads the `#!` line of a file from its first bytes; everything after the first [`BUFFER`] is ignored.
#[must_use]
pub fn parse(prefix: &[u8]) -> Line {
    if !prefix.starts_with(b"#!") {
        return Line::None;
    }
    // The kernel's buffer is filled up with NUL bytes, which end texts, and its last byte is never part of one.
    let mut buffer = [0; BUFFER];
    let have = prefix.len().min(BUFFER);
    buffer[..have].copy_from_slice(&prefix[..have]);
    let text = &buffer[2..];
    let is_end = |byte: &u8| matches!(byte, b' ' | b'\t' | 0);
    let newline = text
        .iter()
        .take_while(|byte| **byte != 0)
        .position(|byte| *byte == b'\n');
    let line = match newline {
        Some(end) => &text[..end],
        None => {
            let Some(start) = text.iter().position(|byte| !matches!(byte, b' ' | b'\t')) else {
                return Line::Invalid("nothing but blanks follow its `#!`");
            };
            if !text[start..].iter().any(is_end) {
                return Line::Invalid(
                    "its interpreter's name goes past the 256 bytes the kernel reads",
                );
            }
            &text[..text.len() - 1]
        }
    };
    let line = trim_end(line);
    let start = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    let Some(line) = start.map(|start| &line[start..]) else {
        return Line::Invalid("no interpreter follows its `#!`");
    };
    let end = line.iter().position(is_end).unwrap_or(line.len());
    if end == 0 {
        return Line::Invalid("no interpreter follows its `#!`");
    }
    let argument = match line.get(end) {
        None | Some(0) => None,
        Some(_) => line[end..]
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t'))
            .map(|skip| until_nul(&line[end + skip..]).to_vec()),
    };
    Line::Script(Shebang {
        interpreter: line[..end].to_vec(),
        argument: argument.filter(|argument| !argument.is_empty()),
    })
}

fn trim_end(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn script(interpreter: &str, argument: Option<&str>) -> Line {
        Line::Script(Shebang {
            interpreter: interpreter.as_bytes().to_vec(),
            argument: argument.map(|argument| argument.as_bytes().to_vec()),
        })
    }

    #[test]
    fn lines_are_read_as_the_kernel_reads_them() {
        let long = format!("#!/{}\n", "x".repeat(253));
        let cut = format!("#!/bin/sh {}", "y".repeat(400));
        let just = format!("#!/{}\nz", "x".repeat(252));
        for (text, expected) in [
            ("", Line::None),
            ("#", Line::None),
            ("\u{feff}#!/bin/sh\n", Line::None),
            (" #!/bin/sh\n", Line::None),
            ("#!/bin/sh\n", script("/bin/sh", None)),
            ("#!/bin/sh", script("/bin/sh", None)),
            ("#! \t /bin/sh \t \n", script("/bin/sh", None)),
            ("#!/bin/sh -e -u  \n", script("/bin/sh", Some("-e -u"))),
            (
                "#!/usr/bin/env\tpython3\n",
                script("/usr/bin/env", Some("python3")),
            ),
            ("#!/bin/sh\r\n", script("/bin/sh\r", None)),
            (
                "#!/usr/bin/env python3\r\n",
                script("/usr/bin/env", Some("python3\r")),
            ),
            ("#!sh\n", script("sh", None)),
            ("#!/bin/a\0b\n", script("/bin/a", None)),
            (&just, script(&just[2..255], None)),
            (&cut, script("/bin/sh", Some(&"y".repeat(245)))),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
        for text in [
            "#!",
            "#!\n",
            "#!   \n",
            &format!("#!{}", " ".repeat(300)),
            &long,
        ] {
            assert!(
                matches!(parse(text.as_bytes()), Line::Invalid(_)),
                "{text:?}"
            );
        }
    }

    /// The kernel is the authority: what it passes to an interpreter is what was predicted.
    #[test]
    fn the_kernel_agrees() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            path
        };
        for (index, line) in [
            "#!/bin/echo -n\n",
            "#! \t/bin/echo \t a  b \t\n",
            "#!/bin/echo",
            &format!("#!/bin/echo {}\n", "y".repeat(400)),
            &format!("#!/bin/echo {}", "y".repeat(241)),
            &format!("#!/{}\n", "x".repeat(253)),
            "#!\n",
            "#!/bin/echo a\0b\n",
        ]
        .iter()
        .enumerate()
        {
            let path = put(&format!("s{index}"), line);
            let result = std::process::Command::new(&path).output();
            match parse(line.as_bytes()) {
                Line::Script(shebang) => {
                    let argument = shebang.argument.unwrap_or_default();
                    let output = String::from_utf8(result.unwrap().stdout).unwrap();
                    let expected = match argument.as_slice() {
                        b"-n" => path.display().to_string(),
                        b"" => format!("{}\n", path.display()),
                        text => format!("{} {}\n", String::from_utf8_lossy(text), path.display()),
                    };
                    assert_eq!(output, expected, "{line:?}");
                }
                Line::Invalid(_) => {
                    assert_eq!(result.unwrap_err().raw_os_error(), Some(8), "{line:?}");
                }
                Line::None => panic!("{line:?}"),
            }
        }
        // The deepest nest of scripts that runs, and the first that does not.
        let mut interpreter = String::from("/bin/echo");
        for depth in 1..=MAX_DEPTH + 1 {
            let path = put(&format!("nest{depth}"), &format!("#!{interpreter}\n"));
            let result = std::process::Command::new(&path).output();
            assert_eq!(result.is_ok(), depth <= MAX_DEPTH, "{depth}: {result:?}");
            interpreter = path.display().to_string();
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut line = b"#!".to_vec();
            line.extend(&bytes);
            if let Line::Script(shebang) = parse(&line) {
                prop_assert!(!shebang.interpreter.is_empty());
                prop_assert!(shebang.interpreter.len() < BUFFER);
            }
        }
    }
}
