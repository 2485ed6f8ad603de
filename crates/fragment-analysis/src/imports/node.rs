//! `require` and `import` of JavaScript for node.

use super::Import;
use super::token::Token;

/// Modules that node has compiled in (`require('module').builtinModules`).
const BUILT_IN: &[&str] = &[
    "assert",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "domain",
    "events",
    "fs",
    "http",
    "http2",
    "https",
    "inspector",
    "module",
    "net",
    "os",
    "path",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "repl",
    "sqlite",
    "stream",
    "string_decoder",
    "sys",
    "test",
    "timers",
    "tls",
    "trace_events",
    "tty",
    "url",
    "util",
    "v8",
    "vm",
    "wasi",
    "worker_threads",
    "zlib",
];

/// Whether no file is needed for a module.
#[must_use]
pub fn is_built_in(name: &str) -> bool {
    name.starts_with("node:") || BUILT_IN.contains(&name.split('/').next().unwrap_or(name))
}

/// The package that a module's name begins with: `express`, `@babel/core`.
#[must_use]
pub fn package(name: &str) -> &str {
    let parts = if name.starts_with('@') { 2 } else { 1 };
    let end = name
        .match_indices('/')
        .nth(parts - 1)
        .map_or(name.len(), |(at, _)| at);
    &name[..end]
}

pub(super) fn imports(tokens: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    for (at, token) in tokens.iter().enumerate() {
        let Some(word) = token.word() else { continue };
        let next = |steps: usize| tokens.get(at + steps);
        let bracket = next(1).is_some_and(|token| token.is('('));
        let name = match word {
            "require" if bracket => next(2),
            // require.resolve('x')
            "resolve" if bracket && at >= 2 && tokens[at - 2].word() == Some("require") => next(2),
            "import" if bracket => next(2),
            "import" | "from" => next(1),
            _ => continue,
        };
        if let Some(name) = name.and_then(Token::text) {
            add(match name.starts_with(['.', '/']) {
                true => Import::File(name.to_owned()),
                false => Import::Module(name.to_owned()),
            });
        }
    }
}
