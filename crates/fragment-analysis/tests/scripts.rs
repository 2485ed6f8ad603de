//! The shell scripts of this machine: real texts, by many hands.

use std::path::PathBuf;

use fragment_analysis::shebang::{self, Line};
use fragment_analysis::words::{file_name, interpreter, shell};

fn scripts() -> Vec<(PathBuf, String)> {
    let directories = ["/usr/bin", "/usr/sbin"];
    let mut out = Vec::new();
    for entry in directories
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flatten()
        .flatten()
    {
        let Ok(text) = std::fs::read_to_string(entry.path()) else {
            continue;
        };
        if let Line::Script(line) = shebang::parse(text.as_bytes())
            && interpreter::is_shell(file_name(&String::from_utf8_lossy(&line.interpreter)))
            && text.len() <= shell::MAX_TEXT
        {
            out.push((entry.path(), text));
        }
    }
    out.sort();
    out
}

/// What stands in command position and is no command, where reading went wrong.
const RESERVED: [&str; 14] = [
    "case", "do", "done", "elif", "else", "esac", "fi", "for", "if", "in", "then", "until",
    "while", "}",
];

#[test]
fn the_scripts_of_this_machine_are_understood() {
    let scripts = scripts();
    assert!(
        scripts.len() >= 20,
        "a Debian system has more shell scripts than {}",
        scripts.len()
    );
    let mut unsound = Vec::new();
    let (mut commands, mut found) = (0_usize, 0_usize);
    for (path, text) in &scripts {
        let script = shell::read(text, &path.to_string_lossy());
        if !script.is_sound {
            unsound.push(path.display().to_string());
        }
        for command in &script.commands {
            let name = command.words[0].text.as_str();
            assert!(!RESERVED.contains(&name), "{}: {command:?}", path.display());
            if !shell::is_builtin(name) && fragment_analysis::words::is_command_name(name) {
                commands += 1;
                let there = ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
                    .iter()
                    .any(|dir| std::path::Path::new(dir).join(name).exists());
                found += usize::from(there);
            }
        }
    }
    println!(
        "{} scripts, {} understood to the end; {found} of {commands} commands are on this machine; not understood: {unsound:?}",
        scripts.len(),
        scripts.len() - unsound.len()
    );
    assert!(
        unsound.len() * 50 <= scripts.len(),
        "more than 2 % are not understood: {unsound:?}"
    );
    // Scripts name what is not installed, too; words of texts and here-documents would be far fewer.
    assert!(
        found * 10 >= commands * 6,
        "{found} of {commands} command words are commands of this machine"
    );
}
