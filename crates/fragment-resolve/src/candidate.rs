//! Which sets of components would supply a need.

use std::cmp::Reverse;
use std::rc::Rc;

use fragment_types::catalogue::{PathProvider, SonameProvider};
use fragment_types::manifest::{NeededSoname, PathKind};
use fragment_types::path::merged_usr;
use fragment_types::{CatalogueError, ComponentIndex, ComponentName, Digest, Need};

use crate::shelf::{Set, Shelf, Unusable, satisfies};

/// Symbolic links followed from one path; the kernel's own limit (path_resolution(7)).
const MAX_LINKS: u32 = 40;
/// Routes kept through one link: a bound on what a hostile library can make of links to links.
const MAX_ROUTES: usize = 32;
/// Trees that the kernel or the runtime fills: links into them dangle in every component.
const FILLED_AT_RUN_TIME: [&str; 4] = ["/proc/", "/dev/", "/sys/", "/run/"];

/// A way to supply a need.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// The component that answers the need.
    pub(crate) lead: ComponentIndex,
    /// All that have to be in for the need to be supplied: `lead`, and what holds the targets of its links.
    pub(crate) parts: Set,
    /// `parts` with what they require; shared by the many candidates of one component.
    pub(crate) members: Rc<Set>,
    /// For a component needed by name: whether it is its own name and not an alias.
    pub(crate) exact: bool,
    /// Where the file lies that is used in the end.
    place: Option<(ComponentIndex, String)>,
}

/// A component that answers the need, but cannot be used.
#[derive(Debug, Clone)]
pub(crate) enum Obstacle {
    /// It or its closure.
    Unusable {
        component: ComponentName,
        why: Unusable,
    },
    /// Its shared object lacks symbol versions.
    Versions {
        component: ComponentName,
        missing: Vec<String>,
        offered: Vec<String>,
    },
    /// Its shared object is made for another machine.
    Machine { component: ComponentName },
    /// Its shared object lies where the dynamic loader does not look.
    Private {
        component: ComponentName,
        path: String,
    },
    /// It holds a link whose target no component provides.
    Dangling {
        component: ComponentName,
        target: String,
    },
}

/// What the library offers for a need.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    pub(crate) usable: Vec<Candidate>,
    pub(crate) obstacles: Vec<Obstacle>,
}

/// A path followed through the library to a file or directory.
struct Route {
    parts: Vec<ComponentIndex>,
    place: String,
}

/// What the library offers for `need`.
pub(crate) fn offer(shelf: &Shelf<'_>, need: &Need) -> Result<Offer, CatalogueError> {
    let mut offer = Offer::default();
    match need {
        Need::Path { path } => {
            let mut links = MAX_LINKS;
            for route in walk(shelf, path, &mut links, &mut offer.obstacles)? {
                offer.admit(shelf, route, true)?;
            }
        }
        Need::Command { name } => {
            for provider in shelf.commands(name)? {
                let mut links = MAX_LINKS;
                let routes = walk(shelf, &provider.path, &mut links, &mut offer.obstacles)?;
                for route in routes
                    .into_iter()
                    .filter(|route| route.parts[0] == provider.component)
                {
                    offer.admit(shelf, route, true)?;
                }
            }
        }
        Need::Soname(needed) => {
            for provider in shelf.sonames(&needed.soname)?.iter() {
                match soname_obstacle(shelf, provider, needed)? {
                    Some(obstacle) => offer.obstacles.push(obstacle),
                    None => {
                        let place = provider.path.clone();
                        offer.admit(
                            shelf,
                            Route {
                                parts: vec![provider.component],
                                place,
                            },
                            true,
                        )?;
                    }
                }
            }
        }
        Need::Module { language, name } => {
            for index in shelf.modules(language, name)? {
                offer.admit(shelf, Route::whole(index), true)?;
            }
        }
        Need::Capability { name } => {
            for index in shelf.granting(name.as_str())? {
                offer.admit(shelf, Route::whole(index), true)?;
            }
        }
        Need::Component { name } => {
            for index in shelf.named(name)?.iter() {
                let exact = shelf.summary(*index)?.name == *name;
                offer.admit(shelf, Route::whole(*index), exact)?;
            }
        }
    }
    offer.settle(shelf)?;
    Ok(offer)
}

impl Route {
    /// A need that is no file.
    fn whole(component: ComponentIndex) -> Self {
        Self {
            parts: vec![component],
            place: String::new(),
        }
    }
}

impl Offer {
    fn admit(
        &mut self,
        shelf: &Shelf<'_>,
        route: Route,
        exact: bool,
    ) -> Result<(), CatalogueError> {
        let mut members: Option<Rc<Set>> = None;
        for part in &route.parts {
            match shelf.closure(*part)? {
                Ok(closure) => match &mut members {
                    None => members = Some(closure),
                    Some(members) => Rc::make_mut(members).extend(closure.iter()),
                },
                Err(why) => {
                    let component = shelf.summary(*part)?.name.clone();
                    self.obstacles.push(Obstacle::Unusable {
                        component,
                        why: Unusable::clone(&why),
                    });
                    return Ok(());
                }
            }
        }
        let members = members.unwrap_or_default();
        let lead = route.parts[0];
        // one closure is known to agree with itself; several may disagree
        if route.parts.len() > 1
            && let Some((left, right)) =
                shelf.conflict_between(&members, members.iter().copied())?
        {
            let why = Unusable::Torn {
                left: shelf.summary(left)?.name.clone(),
                right: shelf.summary(right)?.name.clone(),
            };
            let component = shelf.summary(lead)?.name.clone();
            self.obstacles.push(Obstacle::Unusable { component, why });
            return Ok(());
        }
        let last = *route.parts.last().unwrap_or(&lead);
        self.usable.push(Candidate {
            lead,
            parts: route.parts.into_iter().collect(),
            members,
            exact,
            place: (!route.place.is_empty()).then_some((last, route.place)),
        });
        Ok(())
    }

    /// An order that depends on names alone; of one component, the newest version that will do; each set once.
    fn settle(&mut self, shelf: &Shelf<'_>) -> Result<(), CatalogueError> {
        let mut keyed = Vec::with_capacity(self.usable.len());
        for candidate in self.usable.drain(..) {
            let summary = shelf.summary(candidate.lead)?;
            let mut rest = Vec::new();
            for part in &candidate.parts {
                let part = shelf.summary(*part)?;
                rest.push((part.name.clone(), part.version.clone(), part.digest));
            }
            rest.sort();
            let names: Vec<_> = rest.iter().map(|(name, ..)| name.clone()).collect();
            let key = (
                summary.name.clone(),
                candidate.parts.len(),
                names.clone(),
                Reverse(summary.version.clone()),
                rest,
            );
            keyed.push((key, names, candidate));
        }
        keyed.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        keyed.dedup_by(|(.., later_names, later), (.., names, earlier)| {
            later.parts == earlier.parts || (*later_names == *names && names.len() == 1)
        });
        self.usable = keyed.into_iter().map(|(.., candidate)| candidate).collect();
        Ok(())
    }
}

fn soname_obstacle(
    shelf: &Shelf<'_>,
    provider: &SonameProvider,
    needed: &NeededSoname,
) -> Result<Option<Obstacle>, CatalogueError> {
    let component = || Ok(shelf.summary(provider.component)?.name.clone());
    Ok(if provider.machine != needed.machine {
        Some(Obstacle::Machine {
            component: component()?,
        })
    } else if !provider.public {
        Some(Obstacle::Private {
            component: component()?,
            path: provider.path.clone(),
        })
    } else if !satisfies(provider, needed) {
        Some(Obstacle::Versions {
            component: component()?,
            missing: needed
                .versions
                .difference(&provider.versions)
                .cloned()
                .collect(),
            offered: provider.versions.iter().cloned().collect(),
        })
    } else {
        None
    })
}

/// Every way from `path` to a file or directory, through links of any component.
fn walk(
    shelf: &Shelf<'_>,
    path: &str,
    links: &mut u32,
    obstacles: &mut Vec<Obstacle>,
) -> Result<Vec<Route>, CatalogueError> {
    let mut routes = Vec::new();
    let path = &normalise("/", path);
    let providers = spellings(shelf, path)?;
    for provider in providers
        .iter()
        .filter(|provider| provider.kind != PathKind::Symlink)
    {
        routes.push(Route {
            parts: vec![provider.component],
            place: path.clone(),
        });
    }
    for (component, target) in sorted_links(shelf, &providers)? {
        let target = normalise(parent(path), &target);
        follow(shelf, component, target, links, &mut routes, obstacles)?;
    }
    if providers.is_empty() {
        // no component spells the path so: perhaps a directory on the way is a link
        for (end, _) in path.match_indices('/').skip(1) {
            let (directory, rest) = path.split_at(end);
            for (component, target) in sorted_links(shelf, &spellings(shelf, directory)?)? {
                let target = format!("{}{rest}", normalise(parent(directory), &target));
                if target != *path {
                    follow(shelf, component, target, links, &mut routes, obstacles)?;
                }
            }
            if !routes.is_empty() {
                break;
            }
        }
    }
    Ok(routes)
}

/// The links among `providers` with their targets, in an order that depends on names alone: the bounds below must cut
/// the same routes whatever the numbering of the catalogue.
fn sorted_links(
    shelf: &Shelf<'_>,
    providers: &[PathProvider],
) -> Result<Vec<(ComponentIndex, String)>, CatalogueError> {
    let mut links = Vec::new();
    for provider in providers
        .iter()
        .filter(|provider| provider.kind == PathKind::Symlink)
    {
        let summary = shelf.summary(provider.component)?;
        let key = (
            summary.name.clone(),
            summary.version.clone(),
            summary.digest,
        );
        links.push((
            key,
            provider.component,
            provider.target.clone().unwrap_or_default(),
        ));
    }
    links.sort();
    Ok(links
        .into_iter()
        .map(|(_, component, target)| (component, target))
        .collect())
}

/// Adds the routes that go through a link of `component` to `target`.
fn follow(
    shelf: &Shelf<'_>,
    component: ComponentIndex,
    target: String,
    links: &mut u32,
    routes: &mut Vec<Route>,
    obstacles: &mut Vec<Obstacle>,
) -> Result<(), CatalogueError> {
    if FILLED_AT_RUN_TIME
        .iter()
        .any(|tree| target.starts_with(tree))
    {
        routes.push(Route {
            parts: vec![component],
            place: target,
        });
        return Ok(());
    }
    let onward = match links.checked_sub(1) {
        Some(left) => {
            *links = left;
            walk(shelf, &target, links, obstacles)?
        }
        None => Vec::new(),
    };
    if onward.is_empty() {
        let component = shelf.summary(component)?.name.clone();
        obstacles.push(Obstacle::Dangling { component, target });
    }
    for mut route in onward.into_iter().take(MAX_ROUTES) {
        route.parts.insert(0, component);
        routes.push(route);
    }
    Ok(())
}

/// Components holding `path` as components spell it, or as written.
fn spellings(shelf: &Shelf<'_>, path: &str) -> Result<Vec<PathProvider>, CatalogueError> {
    let merged = merged_usr(path);
    let mut providers = shelf.paths(&merged)?;
    if merged != path {
        for provider in shelf.paths(path)? {
            if !providers
                .iter()
                .any(|known| known.component == provider.component)
            {
                providers.push(provider);
            }
        }
    }
    Ok(providers)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(parent, _)| parent)
}

/// `target` seen from the directory `base`, without `.`, `..` and doubled slashes.
fn normalise(base: &str, target: &str) -> String {
    let absolute = target.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in if absolute { "" } else { base }
        .split('/')
        .chain(target.split('/'))
    {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether two candidates come down to the same content, so that it is no matter which is taken.
pub(crate) fn same_content(
    shelf: &Shelf<'_>,
    left: &Candidate,
    right: &Candidate,
) -> Result<bool, CatalogueError> {
    let (Some(left), Some(right)) = (content(shelf, left)?, content(shelf, right)?) else {
        return Ok(false);
    };
    Ok(left == right)
}

fn content(
    shelf: &Shelf<'_>,
    candidate: &Candidate,
) -> Result<Option<(PathKind, Option<Digest>)>, CatalogueError> {
    let Some((component, place)) = &candidate.place else {
        return Ok(None);
    };
    Ok(spellings(shelf, place)?
        .into_iter()
        .find(|provider| provider.component == *component)
        .filter(|provider| provider.kind == PathKind::Directory || provider.digest.is_some())
        .map(|provider| (provider.kind, provider.digest)))
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn link_targets_are_seen_from_their_directory() {
        for (base, target, expected) in [
            ("/usr/bin", "busybox", "/usr/bin/busybox"),
            ("/usr/bin", "../lib/x", "/usr/lib/x"),
            ("/etc", "/usr/share//a/./b", "/usr/share/a/b"),
            ("/", "../../..", "/"),
            ("", "a", "/a"),
        ] {
            assert_eq!(normalise(base, target), expected, "{base} {target}");
        }
    }
}
