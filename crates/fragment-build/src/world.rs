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
mod session;
mod simulation;

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
        let opened = File::open(&upper).map_err(io("opening", &upper))?;
        // the overlay was volatile: nothing of it need be on the disk yet (overlayfs.rst, "Volatile mount")
        rustix::fs::syncfs(&opened).map_err(|e| io("writing", &upper)(e.into()))?;
        fs::rename(&upper, &to).map_err(io("publishing", &to))?;
        if let Some(world) = self.state.worlds.get_mut(world) {
            world.layers.push(Layer { number });
        }
        Ok(number)
    }

    /// Writes the state, all or nothing.
    pub(crate) fn save(&self) -> Result<()> {
        write(&self.directory.join("state.json"), &self.state)
    }
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
