//! From worlds to components: which have changed, and packing those.

use std::collections::{BTreeMap, BTreeSet};

use fragment_types::manifest::{Module, Provides, Requires, SCHEMA};
use fragment_types::{ComponentName, Manifest, canonical};

use crate::added::adder::{Adder, Report, Shelf, TakeIn};
use crate::added::conflict::Clashes;
use crate::added::group::{Group, Groups};
use crate::added::ledger::{Basis, Ledger, Made};
use crate::added::linkage::{Links, links};
use crate::added::piece::{Piece, cut};
use crate::added::view::{Recipes, View};
use crate::builder::Built;
use crate::dpkg::Database;
use crate::error::{Error, Result};
use crate::manifest::{architecture, sonames};
use crate::module_paths;
use crate::pack::{Effort, pack};
use crate::progress::{Event, Progress};
use crate::version;
use crate::world::{Session, Worlds};
use fragment_sys::pool;

/// Components held in memory at a time.
const CHUNK: usize = 100;
/// Preference of components made without a recipe, below all recipes'; what the archive finds more important comes first.
const PREFERENCE: i32 = -100;

/// Makes the components of a batch.
pub(super) struct Maker<'a> {
    pub(super) adder: &'a Adder,
    pub(super) recipes: &'a Recipes,
    pub(super) databases: &'a [Database],
    pub(super) clashes: Vec<Clashes>,
    pub(super) progress: &'a dyn Progress,
}

/// A component on its way.
type Cut = (Group, Basis, Piece, Links);

impl Maker<'_> {
    /// Makes what `wanted` and all it requires lacks, and hands it over.
    pub(super) fn make(
        &self,
        worlds: &Worlds,
        wanted: &[String],
        ledger: &mut Ledger,
        shelf: &mut Shelf<'_>,
        report: &mut Report,
        take: &mut TakeIn<'_>,
    ) -> Result<()> {
        let databases: Vec<&Database> = self.databases.iter().collect();
        let groups = Groups::new(&databases, &self.adder.library, &|name| {
            shelf.present.contains_key(name)
        });
        let mut sessions = Vec::new();
        for world in 0..databases.len() {
            let name = format!("cut{world}");
            sessions.push(Session::start(&self.adder.workspace, worlds, world, &name)?);
        }
        let mut views = Vec::new();
        for (world, session) in sessions.iter().enumerate() {
            views.push(View::new(
                session.root(),
                databases[world],
                &worlds.state.worlds[world],
                &groups,
                self.recipes,
            )?);
        }
        let mut needed: BTreeSet<ComponentName> = BTreeSet::new();
        for package in wanted {
            if let Some(component) = groups.component(package) {
                needed.insert(component.clone());
                report.served.insert(package.clone(), component.clone());
            }
        }
        needed.extend(groups.beside(wanted, &databases));
        let mut built: Vec<Built> = Vec::new();
        let mut made: BTreeMap<ComponentName, Made> = BTreeMap::new();
        loop {
            let stale = self.stale(&needed, &groups, &views, ledger, &made, shelf);
            if stale.is_empty() {
                break;
            }
            let total = made.len() + stale.len();
            for chunk in stale.chunks(CHUNK) {
                for (one, entry) in self.chunk(chunk, &views, &groups, ledger, &made, report)? {
                    needed.extend(entry.requires.iter().cloned());
                    made.insert(one.manifest.name.clone(), entry);
                    built.push(one);
                }
                self.progress.event(&Event::Step {
                    what: "packing",
                    done: made.len(),
                    total,
                });
            }
        }
        self.hand_over(built, made, ledger, shelf, report, take)
    }

    fn hand_over(
        &self,
        built: Vec<Built>,
        made: BTreeMap<ComponentName, Made>,
        ledger: &mut Ledger,
        shelf: &mut Shelf<'_>,
        report: &mut Report,
        take: &mut TakeIn<'_>,
    ) -> Result<()> {
        let Some(first) = built.first().map(|b| b.manifest.name.clone()) else {
            return Ok(());
        };
        let files: Vec<_> = built.iter().map(|b| b.layer_file.clone()).collect();
        for one in &built {
            let name = one.manifest.name.clone();
            report.made.push(name);
        }
        self.progress.event(&Event::Step {
            what: "storing",
            done: 0,
            total: built.len(),
        });
        take(built).map_err(|source| Error::HandOver {
            component: first,
            source,
        })?;
        for (name, entry) in made {
            shelf.present.insert(name.clone(), entry.diff_id);
            ledger.made.insert(name, entry);
        }
        for file in files {
            // the store has a copy; one that stays is written over by the next that is made
            let _ = std::fs::remove_file(file);
        }
        Ok(())
    }

    /// What of `needed`, and of all it requires, has to be made, what is required first.
    fn stale(
        &self,
        needed: &BTreeSet<ComponentName>,
        groups: &Groups,
        views: &[View<'_>],
        ledger: &Ledger,
        made: &BTreeMap<ComponentName, Made>,
        shelf: &Shelf<'_>,
    ) -> Vec<(Group, Basis)> {
        let mut stale = Vec::new();
        let mut seen = BTreeSet::new();
        let mut pending: Vec<(&ComponentName, bool)> = needed.iter().map(|n| (n, false)).collect();
        let mut waiting: BTreeMap<ComponentName, (Group, Basis)> = BTreeMap::new();
        let mut known: BTreeMap<&ComponentName, &Made> = ledger.made.iter().collect();
        known.extend(made.iter());
        let mut bases: BTreeMap<&ComponentName, Basis> = BTreeMap::new();
        for (name, group) in &groups.all {
            bases.insert(name, basis(group, groups, views, &self.clashes));
        }
        while let Some((name, done)) = pending.pop() {
            if done {
                stale.extend(waiting.remove(name));
                continue;
            }
            let Some(group) = groups.all.get(name).filter(|_| seen.insert(name)) else {
                continue;
            };
            let basis = &bases[name];
            let current = known.get(name).filter(|m| {
                let stored = shelf.present.get(name) == Some(&m.diff_id);
                m.basis == *basis
                    && last_touched(group, views) <= m.layer
                    && (stored || made.contains_key(name))
            });
            match current {
                Some(current) => pending.extend(current.requires.iter().map(|r| (r, false))),
                None => {
                    pending.push((name, true));
                    waiting.insert(name.clone(), (group.clone(), basis.clone()));
                    pending.extend(basis.depends.iter().map(|r| (r, false)));
                }
            }
        }
        stale
    }

    /// Cuts, links and packs some components.
    fn chunk(
        &self,
        chunk: &[(Group, Basis)],
        views: &[View<'_>],
        groups: &Groups,
        ledger: &Ledger,
        made: &BTreeMap<ComponentName, Made>,
        report: &mut Report,
    ) -> Result<Vec<(Built, Made)>> {
        let jobs = self.adder.options.jobs;
        let cuts: Vec<Cut> = pool::map(jobs, chunk, &|(group, basis): &(Group, Basis)| {
            let view = &views[group.world];
            let piece = cut(group, view)?;
            let links = links(group, &piece, view)?;
            Ok((group.clone(), basis.clone(), piece, links))
        })?;
        let mut graph: BTreeMap<ComponentName, BTreeSet<ComponentName>> = BTreeMap::new();
        for (name, one) in ledger.made.iter().chain(made) {
            graph.insert(name.clone(), one.requires.clone());
        }
        for (name, group) in &groups.all {
            let depends = groups.depends(
                group,
                self.databases
                    .get(group.world)
                    .unwrap_or(&self.databases[0]),
            );
            graph.entry(name.clone()).or_default().extend(depends);
        }
        let mut steps = Vec::new();
        for (group, basis, piece, links) in cuts {
            let mut requires = basis.depends.clone();
            requires.extend(self.recipes.below.iter().cloned());
            for component in &links.components {
                // what a file needs of a component that requires this one comes with that one
                if !requires.contains(component) && !reaches(&graph, component, &group.name) {
                    requires.insert(component.clone());
                }
            }
            graph.insert(group.name.clone(), requires.clone());
            for member in &group.members {
                if let Some(log) = views[group.world].world.failed.get(member) {
                    report.scripts.insert(member.clone(), log.clone());
                }
            }
            if !piece.dropped.is_empty() {
                report
                    .dropped
                    .insert(group.name.clone(), piece.dropped.clone());
            }
            steps.push((group, basis, piece, links, requires));
        }
        pool::map(jobs, &steps, &|(group, basis, piece, links, requires)| {
            let view = &views[group.world];
            let built = self.pack(group, basis, piece, links, requires, view)?;
            let entry = Made {
                basis: basis.clone(),
                layer: view.world.layers.last().map_or(0, |l| l.number),
                diff_id: built.manifest.layer.diff_id,
                requires: requires.clone(),
            };
            Ok((built, entry))
        })
    }

    fn pack(
        &self,
        group: &Group,
        basis: &Basis,
        piece: &Piece,
        links: &Links,
        requires: &BTreeSet<ComponentName>,
        view: &View<'_>,
    ) -> Result<Built> {
        let name = &group.name;
        let file = |suffix: &str| self.adder.options.output.join(format!("{name}.{suffix}"));
        let (layer_file, manifest_file) = (file("tar.zst"), file("json"));
        let (layer, size) = pack(
            &piece.tree,
            piece.epoch,
            &layer_file,
            Effort::Fast,
            &mut |_| {},
        )?;
        let leading = piece.packages.first();
        let installed = leading.and_then(|p| view.database.package(&p.name));
        let upstream = leading.map_or("0", |p| p.version.as_str());
        let is_alias = |member: &&String| member.as_str() != name.as_str();
        let aliases = group.members.iter().filter(is_alias);
        let defaults = self.adder.library.defaults();
        let mut modules = module_paths::of_paths(&piece.tree);
        let members = group
            .members
            .iter()
            .filter_map(|m| view.database.package(m));
        modules.extend(members.flat_map(|one| &one.elements).map(|name| Module {
            language: "gstreamer".to_owned(),
            name: name.clone(),
        }));
        let manifest = Manifest {
            schema: SCHEMA.to_owned(),
            name: name.clone(),
            version: version::from_debian(upstream),
            upstream_version: upstream.to_owned(),
            description: installed.map_or(String::new(), |i| i.summary.clone()),
            architecture: architecture().to_owned(),
            eol: defaults.eol.clone(),
            aliases: aliases
                .filter_map(|a| ComponentName::new(a.as_str()).ok())
                .collect(),
            preference: PREFERENCE + installed.map_or(0, |i| rank(&i.priority)),
            capabilities: BTreeSet::new(),
            provides: Provides {
                paths: piece.tree.paths(),
                sonames: sonames(
                    piece.index.sonames.clone(),
                    &piece.index.needs,
                    &links.private,
                ),
                commands: links.commands.clone(),
                modules,
            },
            requires: Requires {
                components: requires.clone(),
                sonames: links.sonames.clone(),
            },
            conflicts: basis.conflicts.clone(),
            accounts: piece.accounts.clone(),
            packages: piece.packages.clone(),
            retention_seconds: defaults.retention_seconds,
            size,
            layer,
        };
        let bytes = canonical::to_vec(&manifest).map_err(|source| Error::Manifest {
            component: name.clone(),
            source,
        })?;
        std::fs::write(&manifest_file, bytes)
            .map_err(crate::world::io("writing", &manifest_file))?;
        Ok(Built {
            manifest,
            manifest_file,
            layer_file,
            reused: false,
        })
    }
}

fn rank(priority: &str) -> i32 {
    match priority {
        "required" => 4,
        "important" => 3,
        "standard" => 2,
        "optional" => 1,
        _ => 0,
    }
}

/// Number of the last layer that changed something of a group.
fn last_touched(group: &Group, views: &[View<'_>]) -> u32 {
    let touched = &views[group.world].world.touched;
    let last = group.members.iter().filter_map(|m| touched.get(m)).max();
    last.copied().unwrap_or(0)
}

fn basis(group: &Group, groups: &Groups, views: &[View<'_>], clashes: &[Clashes]) -> Basis {
    let view = &views[group.world];
    let clashing = group
        .members
        .iter()
        .filter_map(|m| clashes[group.world].get(m))
        .flatten();
    let mut conflicts: BTreeSet<ComponentName> = clashing
        .filter_map(|(world, package)| {
            let component = groups.component(package)?;
            (groups.all.get(component)?.world == *world).then(|| component.clone())
        })
        .collect();
    conflicts.remove(&group.name);
    let version = |m: &String| Some((m.clone(), view.database.package(m)?.version.clone()));
    Basis {
        members: group.members.iter().filter_map(version).collect(),
        world: group.world,
        depends: groups.depends(group, view.database),
        alternatives: group
            .members
            .iter()
            .flat_map(|m| view.alternatives(m))
            .map(|c| format!("{} {} {}", c.link, c.target, c.current))
            .collect(),
        conflicts,
    }
}

/// Whether `from` requires `to`, directly or not.
fn reaches(
    graph: &BTreeMap<ComponentName, BTreeSet<ComponentName>>,
    from: &ComponentName,
    to: &ComponentName,
) -> bool {
    let mut pending = vec![from];
    let mut seen = BTreeSet::new();
    while let Some(name) = pending.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            pending.extend(graph.get(name).into_iter().flatten());
        }
    }
    false
}
