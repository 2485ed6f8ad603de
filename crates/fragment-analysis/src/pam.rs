//! Services of PAM (pam.conf(5)): what the bundle's files in `/etc/pam.d` include, and the modules they name.

use fragment_sys::root::Kind;
use fragment_types::path::merged_usr;
use fragment_types::{EvidenceKind, Strength};

use crate::analyser::{Analyser, Context};
use crate::error::AnalysisError;
use crate::places::TRIPLETS;
use crate::words::{Word, file_name};

/// Where services are.
const DIRECTORY: &str = "/etc/pam.d";
/// Most services of the bundle.
const MAX_SERVICES: usize = 256;
/// Longest logical line that is read.
const MAX_LINE: usize = 4096;

/// What a line of a service needs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line<'t> {
    /// `@include FILE`, or a control that includes.
    Include(&'t str),
    /// A module, by its path or by its name in the directory of modules.
    Module(&'t str),
}

impl Analyser<'_> {
    /// Follows the services of the bundle's own programs. They are called as the program is (`sudo`), or begin so (`sudo-i`,
    /// `su-l`).
    pub(crate) fn pam(&mut self) -> Result<(), AnalysisError> {
        let entries = self.root.read_dir(DIRECTORY, MAX_SERVICES).ok().flatten();
        let mut services: Vec<String> = entries
            .unwrap_or_default()
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        services.sort();
        let own: Vec<_> = self.own.values().cloned().collect();
        for file in own.iter().filter(|_| !services.is_empty()) {
            let program = file_name(&file.found.path);
            let context = Context {
                strength: Strength::Soft,
                chain: file.chain.clone(),
                depth: 0,
            };
            for service in &services {
                let rest = service.strip_prefix(program);
                if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
                    self.service(service, &context)?;
                }
            }
        }
        Ok(())
    }

    /// A service, or a file that services include: the bundle's is read, else a component's is needed, and what that includes
    /// in turn its component requires.
    fn service(&mut self, name: &str, context: &Context) -> Result<(), AnalysisError> {
        let path = match name.starts_with('/') {
            true => name.to_owned(),
            false => format!("{DIRECTORY}/{name}"),
        };
        if !self
            .probe(&path)
            .is_some_and(|found| found.kind == Kind::File)
        {
            self.need_path(&path, context);
            return Ok(());
        }
        let word = Word::literal(&path, &path);
        let Some((path, text)) = self.read_text(&word, context) else {
            return Ok(());
        };
        if !self.may_read(text.len()) {
            return Ok(());
        }
        for line in lines(&text) {
            match line {
                Line::Include(file) => {
                    let step = context.with(EvidenceKind::Import, &path, format!("include {file}"));
                    self.service(file, &step.deeper())?;
                }
                Line::Module(module) => {
                    let step = context.with(EvidenceKind::Import, &path, module);
                    self.pam_module(module, &step)?;
                }
            }
        }
        Ok(())
    }

    /// A module: the bundle's needs its own libraries; one that nobody has is not asked for, many are optional.
    fn pam_module(&mut self, module: &str, context: &Context) -> Result<(), AnalysisError> {
        let candidates = match module.starts_with('/') {
            true => vec![module.to_owned()],
            false => TRIPLETS
                .iter()
                .map(|triplet| format!("/usr/lib/{triplet}/security/{module}"))
                .collect(),
        };
        for path in candidates {
            let split = path
                .strip_prefix("/usr")
                .filter(|_| !module.starts_with('/'));
            let here = [Some(path.as_str()), split].into_iter().flatten();
            let mut here = here.filter_map(|path| self.probe(path));
            if let Some(found) = here.next() {
                return self.native_module(&found.path, context);
            }
            if self.in_library(&merged_usr(&path))?.is_some() {
                self.need_path(&path, context);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The lines of a service that name something: `TYPE CONTROL MODULE ARGUMENTS`, the control one word or in brackets.
fn lines(text: &str) -> Vec<Line<'_>> {
    let lines = text.lines().filter(|line| line.len() <= MAX_LINE);
    lines.filter_map(line).collect()
}

fn line(line: &str) -> Option<Line<'_>> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let (kind, rest) = line.split_once([' ', '\t'])?;
    let rest = rest.trim_start();
    if kind == "@include" {
        return Some(Line::Include(rest));
    }
    let kinds = ["account", "auth", "password", "session"];
    if !kinds.contains(&kind.trim_start_matches('-').to_ascii_lowercase().as_str()) {
        return None;
    }
    let (control, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => rest.split_once([' ', '\t'])?,
    };
    let name = rest.split_whitespace().next()?;
    Some(match control {
        "include" | "substack" => Line::Include(name),
        _ => Line::Module(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_files_and_modules() {
        let text = "#%PAM-1.0\n\n@include common-auth\n\
            auth\trequired   pam_env.so readenv=1 # why\n\
            -session optional pam_systemd.so\n\
            account [success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so\n\
            session substack /etc/pam.d/inner\nauth include system-auth\n\
            nothing here at all\nauth\nauth [broken pam_x.so\n";
        assert_eq!(
            lines(text),
            [
                Line::Include("common-auth"),
                Line::Module("pam_env.so"),
                Line::Module("pam_systemd.so"),
                Line::Module("pam_unix.so"),
                Line::Include("/etc/pam.d/inner"),
                Line::Include("system-auth"),
            ]
        );
    }
}
