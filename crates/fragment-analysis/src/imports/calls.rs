//! Calls that run a command.

use super::Import;
use super::token::Token;
use crate::words::interpreter::Language;

/// Functions whose first argument is a shell text, or the name of a command with its arguments behind it.
fn runs(language: Language, name: &str) -> bool {
    match language {
        Language::Python => matches!(
            name,
            "Popen"
                | "call"
                | "check_call"
                | "check_output"
                | "create_subprocess_exec"
                | "create_subprocess_shell"
                | "execl"
                | "execlp"
                | "execv"
                | "execve"
                | "execvp"
                | "execvpe"
                | "getoutput"
                | "getstatusoutput"
                | "popen"
                | "run"
                | "spawnlp"
                | "spawnvp"
                | "system"
        ),
        Language::Perl => matches!(name, "exec" | "qx" | "system"),
        Language::Ruby => matches!(
            name,
            "capture2"
                | "capture2e"
                | "capture3"
                | "exec"
                | "popen"
                | "popen3"
                | "spawn"
                | "system"
        ),
        Language::Node => matches!(
            name,
            "exec" | "execFile" | "execFileSync" | "execSync" | "spawn" | "spawnSync"
        ),
        Language::Php => matches!(
            name,
            "exec" | "passthru" | "popen" | "proc_open" | "shell_exec" | "system"
        ),
        Language::Lua => matches!(name, "execute" | "popen"),
        Language::R => matches!(name, "system" | "system2"),
        Language::C | Language::Qml | Language::Shell | Language::Tcl => false,
    }
}

/// Methods that are only meant where the module stands before them: `subprocess.run(`, but not `app.run(`.
fn is_method(language: Language, tokens: &[Token<'_>], at: usize) -> bool {
    let before = |steps: usize| at.checked_sub(steps).map(|at| &tokens[at]);
    let dotted = before(1).is_some_and(|token| token.is('.') || token.is('>'));
    let module = before(2).and_then(Token::word).unwrap_or_default();
    match language {
        Language::Python => {
            let name = tokens[at].word().unwrap_or_default();
            let generic = matches!(name, "call" | "run" | "popen" | "system");
            dotted && !matches!(module, "subprocess" | "os" | "asyncio" | "sp")
                || generic && !dotted
        }
        // `re.exec(…)` is no command.
        Language::Node => dotted && !matches!(module, "child_process" | "cp" | "childProcess"),
        Language::Ruby => dotted && !matches!(module, "Kernel" | "Open3" | "IO" | "Process"),
        Language::Lua => !dotted || !matches!(module, "os" | "io"),
        _ => dotted,
    }
}

pub(super) fn imports(language: Language, tokens: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = token.word() else { continue };
        if name == "`" {
            if let Some(text) = tokens.get(at + 1).and_then(Token::text) {
                add(Import::Command(text.to_owned()));
            }
            continue;
        }
        if !runs(language, name) || is_method(language, tokens, at) {
            continue;
        }
        let mut arguments = tokens[at + 1..].iter().take(4);
        let opening = |token: &&Token<'_>| {
            token.is('(') || token.is('[') || token.is('{') || **token == Token::Line
        };
        if let Some(text) = arguments
            .find(|token| !opening(token))
            .and_then(Token::text)
        {
            add(Import::Command(text.to_owned()));
        }
    }
}
