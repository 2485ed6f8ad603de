//! Worlds: roots that grow by a layer with every installation, so that any package of the archive is installed once.
//!
//! ```text
//! WORK/worlds/state.json      what each world consists of; a layer counts once it is named here
//! WORK/worlds/l/NUMBER/       layers: what an installation added, upper directory of its overlay then, a lower one ever after
//! ```
//!
//! A package that cannot be installed beside what a world has goes to the next one. Numbers of users are unique over all.

mod accounts;
mod attribution;
mod grow;
mod listing;
mod merge;
mod session;
mod simulation;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use fragment_types::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::workspace::{Job, Workspace, remove};

pub(crate) use accounts::Lists;
pub(crate) use grow::{Outcome, grow, simulate, sizes};
pub(crate) use session::Session;
pub(crate) use simulation::{Refused, Step};

/// Changes when worlds of earlier builders cannot go on.
const FORMAT: u32 = 1;
/// Most layers of a world, and how many of the topmost are made one when there are more.
const MOST_LAYERS: usize = 64;
const MERGED: usize = 48;

/// All worlds of a work directory.
#[derive(Debug)]
pub(crate) struct Worlds {
    directory: PathBuf,
    pub(crate) state: State,
}

/// What `state.json` says.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    format: u32,
    /// The base root that the layers lie on.
    generation: Option<Digest>,
    pub(crate) worlds: Vec<World>,
    /// Number of the last layer.
    last: u32,
    /// Packages asked for whose components have been made.
    pub(crate) requested: BTreeSet<String>,
    /// Lines of `/etc/passwd` and `/etc/group` beyond the base's, of all worlds and generations.
    pub(crate) accounts: Lists,
}

/// One world.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct World {
    /// From the lowest to the topmost.
    pub(crate) layers: Vec<Layer>,
    /// What maintainer scripts made, and the package of the script that made it first.
    pub(crate) made: BTreeMap<String, String>,
    /// Package -> users and groups that its scripts made or asked for.
    pub(crate) users: BTreeMap<String, BTreeSet<String>>,
    /// Package -> number of the last layer that changed something of it.
    pub(crate) touched: BTreeMap<String, u32>,
    /// Packages whose scripts failed, with their last words.
    pub(crate) failed: BTreeMap<String, String>,
}

/// One layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    pub(crate) number: u32,
}

impl Worlds {
    /// Reads the state of `workspace`'s worlds; layers on another base root, or of a killed run, are removed.
    pub(crate) fn open(workspace: &Workspace) -> Result<Self> {
        let directory = workspace.directory().join("worlds");
        fs::create_dir_all(directory.join("l")).map_err(io("creating", &directory))?;
        let mut state = fs::read(directory.join("state.json"))
            .ok()
            .and_then(|text| serde_json::from_slice::<State>(&text).ok())
            .filter(|state| state.format == FORMAT)
            .unwrap_or_default();
        let generation = workspace.generation().map(|g| g.id);
        if state.generation != generation {
            state = State {
                accounts: state.accounts,
                ..State::default()
            };
        }
        (state.format, state.generation) = (FORMAT, generation);
        let worlds = Self { directory, state };
        worlds.remove_leftovers()?;
        Ok(worlds)
    }

    fn remove_leftovers(&self) -> Result<()> {
        let known: BTreeSet<String> = self
            .state
            .worlds
            .iter()
            .flat_map(|w| &w.layers)
            .map(|l| l.number.to_string())
            .collect();
        let layers = self.directory.join("l");
        for entry in fs::read_dir(&layers).map_err(io("reading", &layers))? {
            let path = entry.map_err(io("reading", &layers))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !known.contains(name.as_ref()) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Where layers are named from in mount options: short names, for these have to fit a page (mount(2)).
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The layers of a world, topmost first, as an overlay's option names them.
    pub(crate) fn lower(&self, world: usize) -> String {
        let layers = self.state.worlds.get(world).map_or(&[][..], |w| &w.layers);
        let mut lower: Vec<String> = layers
            .iter()
            .rev()
            .map(|l| format!("l/{}", l.number))
            .collect();
        lower.push("../generation/base".to_owned());
        lower.join(":")
    }

    /// The directories of a world's layers and base, topmost first.
    pub(crate) fn lowers(&self, world: usize) -> Vec<PathBuf> {
        let lower = self.lower(world);
        lower.split(':').map(|l| self.directory.join(l)).collect()
    }

    /// Takes the upper directory of a finished installation as the topmost layer of a world; [`Worlds::save`] makes it count.
    pub(crate) fn publish(&mut self, world: usize, job: &Job) -> Result<u32> {
        self.state.last += 1;
        let number = self.state.last;
        let to = self.directory.join("l").join(number.to_string());
        let upper = job.upper();
        // the overlay was volatile: nothing of it need be on the disk yet (overlayfs.rst, "Volatile mount")
        sync(&upper)?;
        fs::rename(&upper, &to).map_err(io("publishing", &to))?;
        if let Some(world) = self.state.worlds.get_mut(world) {
            world.layers.push(Layer { number });
        }
        Ok(number)
    }

    /// Makes the topmost layers of a world one when there are many. Numbers only grow: what was made of the world as it was is
    /// still as old as it was.
    pub(crate) fn merge(&mut self, world: usize) -> Result<()> {
        let count = self.state.worlds.get(world).map_or(0, |w| w.layers.len());
        if count <= MOST_LAYERS {
            return Ok(());
        }
        let mut lowers = self.lowers(world);
        lowers.truncate(MERGED);
        self.state.last += 1;
        let number = self.state.last;
        let to = self.directory.join("l").join(number.to_string());
        merge::merge(&lowers, &to)?;
        sync(&to)?;
        if let Some(world) = self.state.worlds.get_mut(world) {
            world.layers.truncate(count - MERGED);
            world.layers.push(Layer { number });
        }
        self.save()?;
        self.remove_leftovers()
    }

    /// Writes the state, all or nothing.
    pub(crate) fn save(&self) -> Result<()> {
        write(&self.directory.join("state.json"), &self.state)
    }
}

/// Writes a layer to the disk.
fn sync(layer: &Path) -> Result<()> {
    let opened = File::open(layer).map_err(io("opening", layer))?;
    rustix::fs::syncfs(&opened).map_err(|e| io("writing", layer)(e.into()))
}

/// Replaces a JSON file.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let new = path.with_extension("new");
    let text = serde_json::to_vec(value).map_err(|e| io("describing", path)(e.into()))?;
    let mut file = File::create(&new).map_err(io("creating", &new))?;
    file.write_all(&text).map_err(io("writing", &new))?;
    file.sync_all().map_err(io("writing", &new))?;
    fs::rename(&new, path).map_err(io("publishing", path))
}

/// The error of a file operation.
pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Layer, MERGED, MOST_LAYERS, State, World, Worlds};

    #[test]
    fn layers_of_a_world_that_has_many_become_one() {
        let place = tempfile::tempdir().unwrap();
        let layers = place.path().join("l");
        let count = u32::try_from(MOST_LAYERS).unwrap();
        let mut worlds = Worlds {
            directory: place.path().to_owned(),
            state: State::default(),
        };
        worlds.state.worlds.push(World::default());
        for number in 1..=count + 1 {
            let directory = layers.join(number.to_string());
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(format!("of{number}")), "").unwrap();
            fs::write(directory.join("last"), number.to_string()).unwrap();
            worlds.state.worlds[0].layers.push(Layer { number });
            worlds.state.last = number;
            worlds.merge(0).unwrap();
        }
        let kept = &worlds.state.worlds[0].layers;
        assert_eq!(kept.len(), MOST_LAYERS + 1 - MERGED + 1);
        // younger than everything that was made of the layers
        assert_eq!(kept.last().unwrap().number, count + 2);
        let merged = layers.join((count + 2).to_string());
        assert_eq!(fs::read_dir(&merged).unwrap().count(), MERGED + 1);
        let last = fs::read_to_string(merged.join("last")).unwrap();
        assert_eq!(last, (count + 1).to_string());
        assert_eq!(fs::read_dir(&layers).unwrap().count(), kept.len());
        assert!(place.path().join("state.json").exists());
    }
}
