//! The entrypoint: `argv[0]` as the runtime will look it up in the composed root.

use fragment_sys::root::{Found, Kind, Link};
use fragment_types::path::merged_usr;
use fragment_types::plan::{Entry, EntryKind};
use fragment_types::{Evidence, EvidenceKind, Need, Strength};

use crate::analyser::{Analyser, Context, Place, clean};
use crate::error::AnalysisError;
use crate::program::Role;

impl Analyser<'_> {
    /// Finds the entrypoint, in the bundle or in the library, and looks into it.
    pub(crate) fn entry(&mut self) -> Result<(Entry, Context), AnalysisError> {
        let Some(command) = self.task.argv.first().cloned() else {
            return Err(AnalysisError::EmptyArgv);
        };
        let step = Evidence {
            kind: EvidenceKind::Entry,
            source: "argv[0]".to_owned(),
            detail: command.clone(),
        };
        let context = Context {
            strength: Strength::Hard,
            chain: vec![step],
            depth: 0,
        };
        if command.contains('/') {
            return match self.locate(&command)? {
                Place::Here { found, links } => {
                    let context = self.by_links(&links, &context);
                    let need = Need::Path {
                        path: clean(&self.task.absolute(&command)),
                    };
                    self.entry_here(command, need, &found, context)
                }
                Place::Absent { path, links } => {
                    let context = self.by_links(&links, &context);
                    self.entry_absent(command, &clean(&path), context)
                }
            };
        }
        match self.search_path(&command)? {
            Some((found, links)) => {
                let context = self.by_links(&links, &context);
                let need = Need::Command {
                    name: command.clone(),
                };
                self.entry_here(command, need, &found, context)
            }
            None => match self.dangling(&command)? {
                Some((path, links)) => {
                    let context = self.by_links(&links, &context);
                    self.entry_absent(command, &path, context)
                }
                None => self.command_absent(command, context),
            },
        }
    }

    fn by_links(&mut self, links: &[Link], context: &Context) -> Context {
        let of = |link: &Link| (link.clone(), context.chain.clone());
        self.entry_links.extend(links.iter().map(of));
        context.through(links)
    }

    fn entry_here(
        &mut self,
        command: String,
        need: Need,
        found: &Found,
        context: Context,
    ) -> Result<(Entry, Context), AnalysisError> {
        match found.kind {
            Kind::Directory => return Err(AnalysisError::IsDirectory { command }),
            Kind::File | Kind::Symlink | Kind::Special if !found.is_executable() => {
                return Err(AnalysisError::NotExecutable {
                    command,
                    path: found.path.clone(),
                });
            }
            _ => {}
        }
        self.ledger.add(
            need,
            Strength::Hard,
            Some(found.path.clone()),
            context.chain.clone(),
        );
        let kind = self.program(found, Role::Program, &context)?;
        let entry = Entry {
            command,
            path: found.path.clone(),
            kind,
            in_bundle: true,
        };
        Ok((entry, context))
    }

    /// The bundle does not hold the path: if a component does, that is the entry, else resolution refuses.
    fn entry_absent(
        &mut self,
        command: String,
        path: &str,
        context: Context,
    ) -> Result<(Entry, Context), AnalysisError> {
        let need = Need::Path {
            path: path.to_owned(),
        };
        self.ledger
            .add(need, Strength::Hard, None, context.chain.clone());
        let path = match self.in_library(path)? {
            Some(path) => path,
            None => path.to_owned(),
        };
        Ok((
            Entry {
                command,
                path,
                kind: EntryKind::Component,
                in_bundle: false,
            },
            context,
        ))
    }

    fn command_absent(
        &mut self,
        command: String,
        context: Context,
    ) -> Result<(Entry, Context), AnalysisError> {
        let need = Need::Command {
            name: command.clone(),
        };
        self.ledger
            .add(need, Strength::Hard, None, context.chain.clone());
        let providers = self.library.providing_command(&command)?;
        let directories: Vec<String> = self
            .task
            .path_directories()
            .iter()
            .map(|dir| merged_usr(&clean(dir)).into_owned())
            .collect();
        let reachable = |path: &str| {
            let merged = merged_usr(path);
            let directory = merged
                .rsplit_once('/')
                .map_or("", |(directory, _)| directory);
            directories.iter().any(|known| known == directory)
        };
        let best = self.preferred(
            providers
                .iter()
                .filter(|provider| reachable(&provider.path))
                .map(|provider| provider.component),
        )?;
        let provider = providers
            .iter()
            .find(|provider| Some(provider.component) == best && reachable(&provider.path));
        let path = match (provider, providers.first()) {
            (Some(provider), _) => self
                .in_library(&provider.path)?
                .unwrap_or_else(|| provider.path.clone()),
            (None, Some(other)) => {
                let component = self.library.component(other.component)?.name.to_string();
                return Err(AnalysisError::NotInPath {
                    command,
                    component,
                    provided: other.path.clone(),
                });
            }
            // Nobody has it: the requirement stays missing, and resolution says what to do.
            (None, None) => command.clone(),
        };
        Ok((
            Entry {
                command,
                path,
                kind: EntryKind::Component,
                in_bundle: false,
            },
            context,
        ))
    }

    /// A link of this name in a directory of `PATH` whose target the bundle lacks and a component has.
    fn dangling(&self, name: &str) -> Result<Option<(String, Vec<Link>)>, AnalysisError> {
        for directory in self.task.path_directories() {
            if let Ok(Place::Absent { path, links }) = self.locate(&format!("{directory}/{name}"))
                && links
                    .iter()
                    .any(|link| link.path.ends_with(&format!("/{name}")))
                && self.in_library(&path)?.is_some()
            {
                return Ok(Some((path, links)));
            }
        }
        Ok(None)
    }
}
