//! Which layer of a composed root a path comes from, what it hides, and who else has it.
//!
//! The path is walked as the kernel would in the container: name by name, the topmost layer that has it before all others, links
//! followed inside the root. Nothing is mounted for it, and no tree is read: rootfs and catalogue know enough.

use std::collections::VecDeque;
use std::fmt;

use fragment_sys::root::{Kind, Root, RootError};
use fragment_types::catalogue::PathProvider;
use fragment_types::manifest::PathKind;
use fragment_types::path::merged_usr;
use fragment_types::plan::PartKind;
use fragment_types::{Catalogue, CatalogueError, ComponentIndex, ComponentName, Digest, Plan};
use serde::Serialize;

/// Links followed in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A path that cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The rootfs cannot be read.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The library cannot be searched.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A relative path, or one that is none.
    #[error("`{0}` is not a path of the composed root: it has to begin with `/`")]
    Relative(String),
    /// A circle of links.
    #[error("{path}: more than {MAX_LINKS} symbolic links, the last one {link}")]
    Loop {
        /// The path asked for.
        path: String,
        /// The link at which it was given up.
        link: String,
    },
}

/// A layer of a composed root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "layer", rename_all = "kebab-case")]
pub enum Place {
    /// The bundle's own files.
    Rootfs,
    /// What was made for this composition.
    Generated {
        /// What it is made of.
        from: Vec<ComponentName>,
    },
    /// A component.
    Component {
        /// Its name.
        name: ComponentName,
        /// Its version, as the distribution spells it.
        version: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rootfs => f.write_str("the bundle's rootfs"),
            Self::Generated { from } => {
                let names: Vec<&str> = from.iter().map(ComponentName::as_str).collect();
                write!(
                    f,
                    "the files made for this composition (of {})",
                    names.join(" ")
                )
            }
            Self::Component { name, version } => write!(f, "component {name} {version}"),
        }
    }
}

/// What kind of thing a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Directory.
    Directory,
    /// Regular file.
    File,
    /// Symbolic link.
    Symlink,
    /// Device, FIFO or socket.
    Special,
}

/// What one layer has at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holding {
    /// The layer.
    #[serde(flatten)]
    pub place: Place,
    /// What is there.
    pub kind: What,
    /// Bytes of a regular file, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Digest of a component's regular file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Target of a symbolic link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// A link that was followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Where it lies.
    pub path: String,
    /// Where it leads, as written.
    pub target: String,
    /// Whose it is.
    pub place: Place,
}

/// Where a path comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// The path as asked for.
    pub asked: String,
    /// The links that were followed, in order.
    pub links: Vec<Step>,
    /// The path with all links followed: what exists, or what is missing.
    pub path: String,
    /// What the container sees there; nothing: it does not exist.
    pub found: Option<Holding>,
    /// The other layers that a directory is put together from.
    pub merged_with: Vec<Holding>,
    /// What lies below, in other layers, and is not seen.
    pub hidden: Vec<Holding>,
    /// Components of the library that have it and are not in the plan.
    pub elsewhere: Vec<Holding>,
    /// For what does not exist: the deepest directory on the way that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// For what does not exist: paths that may be meant.
    pub similar: Vec<String>,
}

/// A composed root as it will be, without being it.
struct View<'v> {
    plan: &'v Plan,
    root: &'v Root,
    library: &'v dyn Catalogue,
    /// The plan's components, topmost first.
    chosen: Vec<ComponentIndex>,
}

/// Where `path` of the root that `plan` composes comes from.
///
/// # Errors
/// [`PathError`].
pub fn provenance(
    plan: &Plan,
    root: &Root,
    library: &dyn Catalogue,
    path: &str,
) -> Result<Provenance, PathError> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(PathError::Relative(path.to_owned()));
    }
    let mut chosen = Vec::new();
    for layer in &plan.layers {
        for index in library.named(layer.name.as_str())? {
            if library.component(index)?.digest == layer.digest {
                chosen.push(index);
            }
        }
    }
    let view = View {
        plan,
        root,
        library,
        chosen,
    };
    view.walk(path)
}

impl View<'_> {
    fn walk(&self, asked: &str) -> Result<Provenance, PathError> {
        let mut left: VecDeque<String> = names(asked);
        let (mut done, mut links) = (Vec::<String>::new(), Vec::new());
        let mut holdings = self.holdings("/")?;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                done.pop();
                holdings = self.holdings(&joined(&done))?;
                continue;
            }
            done.push(name);
            let here = joined(&done);
            holdings = self.holdings(&here)?;
            let Some(top) = holdings.first() else {
                let nearest = joined(&done[..done.len() - 1]);
                done.extend(left);
                return self.missing(asked, links, &joined(&done), nearest);
            };
            if let Some(target) = &top.target {
                if links.len() >= MAX_LINKS {
                    return Err(PathError::Loop {
                        path: asked.to_owned(),
                        link: here,
                    });
                }
                links.push(Step {
                    path: here,
                    target: target.clone(),
                    place: top.place.clone(),
                });
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                let mut next = names(target);
                next.append(&mut left);
                left = next;
                holdings = self.holdings(&joined(&done))?;
            } else if top.kind != What::Directory && !left.is_empty() {
                // ENOTDIR: nothing lies below a file
                done.extend(left);
                return self.missing(asked, links, &joined(&done), here);
            }
        }
        self.seen(asked, links, joined(&done), holdings)
    }

    fn seen(
        &self,
        asked: &str,
        links: Vec<Step>,
        path: String,
        mut holdings: Vec<Holding>,
    ) -> Result<Provenance, PathError> {
        let found = (!holdings.is_empty()).then(|| holdings.remove(0));
        let is_directory = found
            .as_ref()
            .is_some_and(|one| one.kind == What::Directory);
        // directories are merged down to the first thing that is none
        let merged = match is_directory {
            true => holdings
                .iter()
                .position(|one| one.kind != What::Directory)
                .unwrap_or(holdings.len()),
            false => 0,
        };
        let hidden = holdings.split_off(merged);
        Ok(Provenance {
            asked: asked.to_owned(),
            elsewhere: if is_directory {
                Vec::new()
            } else {
                self.elsewhere(&path)?
            },
            links,
            path,
            found,
            merged_with: holdings,
            hidden,
            nearest: None,
            similar: Vec::new(),
        })
    }

    fn missing(
        &self,
        asked: &str,
        links: Vec<Step>,
        path: &str,
        nearest: String,
    ) -> Result<Provenance, PathError> {
        Ok(Provenance {
            asked: asked.to_owned(),
            elsewhere: self.elsewhere(path)?,
            similar: self.similar(path)?,
            links,
            path: path.to_owned(),
            found: None,
            merged_with: Vec::new(),
            hidden: Vec::new(),
            nearest: Some(nearest),
        })
    }

    /// What each layer has at a path that holds no link on the way, topmost first.
    fn holdings(&self, path: &str) -> Result<Vec<Holding>, PathError> {
        let mut holdings = Vec::new();
        if let Some(found) = self.root.lookup_nofollow_last(path)? {
            let kind = match found.kind {
                Kind::File => What::File,
                Kind::Directory => What::Directory,
                Kind::Symlink => What::Symlink,
                Kind::Special => What::Special,
            };
            let target = match found.kind {
                Kind::Symlink => self.target(path)?,
                _ => None,
            };
            holdings.push(Holding {
                place: Place::Rootfs,
                kind,
                size: (kind == What::File).then_some(found.size),
                digest: None,
                target,
            });
        }
        holdings.extend(self.generated(path));
        let providers = self.library.providing_path(path)?;
        for index in &self.chosen {
            let own = providers.iter().find(|one| one.component == *index);
            if let Some(provider) = own {
                holdings.push(self.holding(provider)?);
            }
        }
        if path == "/" && holdings.is_empty() {
            holdings.push(Holding {
                place: Place::Rootfs,
                kind: What::Directory,
                size: None,
                digest: None,
                target: None,
            });
        }
        Ok(holdings)
    }

    /// The target of a link of the rootfs.
    fn target(&self, path: &str) -> Result<Option<String>, PathError> {
        let links = match self.root.link_chain(path) {
            Ok(links) | Err(RootError::Loop { links, .. }) => links,
            Err(error) => return Err(error.into()),
        };
        let own = links.into_iter().find(|link| link.path == path);
        Ok(Some(
            own.map_or_else(|| path.to_owned(), |link| link.target),
        ))
    }

    fn generated(&self, path: &str) -> Option<Holding> {
        let parts = &self.plan.generated.as_ref()?.parts;
        let named = |path: &str| parts.iter().find(|part| part.path == path);
        let (directory, name) = path.rsplit_once('/')?;
        let (part, target) = match (named(path), named(directory)) {
            (Some(part), _) => (part, None),
            // a directory of links to what the layers hold below /usr
            (None, Some(part)) if part.kind == PartKind::Links => {
                let target = format!("/usr{directory}/{name}");
                let providers = self.library.providing_path(&target).ok()?;
                let is_held = providers
                    .iter()
                    .any(|one| self.chosen.contains(&one.component));
                (part, is_held.then_some(Some(target))?)
            }
            _ => return None,
        };
        let from = self
            .plan
            .layers
            .iter()
            .filter(|layer| part.from.contains(&layer.diff_id));
        Some(Holding {
            place: Place::Generated {
                from: from.map(|layer| layer.name.clone()).collect(),
            },
            kind: match (&target, &part.kind) {
                (Some(_), _) => What::Symlink,
                (None, PartKind::Links) => What::Directory,
                (None, _) => What::File,
            },
            size: None,
            digest: None,
            target,
        })
    }

    fn holding(&self, provider: &PathProvider) -> Result<Holding, CatalogueError> {
        let summary = self.library.component(provider.component)?;
        let kind = match provider.kind {
            PathKind::Directory => What::Directory,
            PathKind::File => What::File,
            PathKind::Symlink => What::Symlink,
        };
        Ok(Holding {
            place: Place::Component {
                name: summary.name,
                version: summary.upstream_version,
            },
            kind,
            size: (kind == What::File).then_some(provider.size),
            digest: provider.digest,
            target: provider.target.clone(),
        })
    }

    /// Components outside of the plan that have it, in the spelling of components.
    fn elsewhere(&self, path: &str) -> Result<Vec<Holding>, CatalogueError> {
        let mut elsewhere = Vec::new();
        for provider in self.library.providing_path(&merged_usr(path))? {
            if !self.chosen.contains(&provider.component) {
                elsewhere.push(self.holding(&provider)?);
            }
        }
        Ok(elsewhere)
    }

    /// Paths that may be meant: commands and libraries of the same name, and the same name in another directory that programs and
    /// people know. The catalogue is asked for each, so there are few.
    fn similar(&self, path: &str) -> Result<Vec<String>, CatalogueError> {
        const DIRECTORIES: [&str; 10] = [
            "/usr/bin",
            "/usr/sbin",
            "/usr/local/bin",
            "/usr/lib",
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib64",
            "/usr/libexec",
            "/usr/share",
            "/etc",
            "/usr/etc",
        ];
        let name = path.rsplit('/').next().unwrap_or_default();
        let mut similar = Vec::new();
        for command in self.library.providing_command(name)? {
            similar.push(command.path);
        }
        for library in self.library.providing_soname(name)? {
            similar.push(library.path);
        }
        for directory in DIRECTORIES {
            let candidate = format!("{directory}/{name}");
            if self.root.lookup(&candidate).ok().flatten().is_some()
                || !self.library.providing_path(&candidate)?.is_empty()
            {
                similar.push(candidate);
            }
        }
        let lower = path.to_lowercase();
        if lower != path && !self.library.providing_path(&merged_usr(&lower))?.is_empty() {
            similar.push(lower);
        }
        similar.retain(|one| *one != merged_usr(path));
        similar.sort();
        similar.dedup();
        Ok(similar)
    }
}

fn names(path: &str) -> VecDeque<String> {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.map(str::to_owned).collect()
}

fn joined(names: &[String]) -> String {
    format!("/{}", names.join("/"))
}
