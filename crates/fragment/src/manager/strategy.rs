//! Node strategies: a class of tasks has a set of components, loaded when a task of the class is assigned to this node and let go
//! when it is done.
//!
//! An assignment outlives the process that makes it. It is a directory in `<state>/strategies/.fragment`, which its lease names: both
//! are gone when the machine starts again.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use fragment_store::{Holder, HolderProcess, LeasedComponent, Load};
use fragment_types::ComponentName;
use serde::{Deserialize, Serialize};

use super::{Manager, ManagerError};
use crate::library::Library;
use crate::life;
use crate::planner;
use crate::process;

/// The file of an assignment.
const DOCUMENT: &str = "assignment.json";
/// Longest name of a task.
const MAX_NAME: usize = 128;

/// A task that this node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Its name.
    pub task: String,
    /// Its class.
    pub class: String,
    /// The components of its set with all they require.
    pub components: Vec<ComponentName>,
    /// Who is making it; None when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maker: Option<HolderProcess>,
}

impl Manager {
    /// Gives this node a task of a class: its components are unpacked, and stay until [`Manager::release`]. How each came to be there.
    ///
    /// # Errors
    /// [`ManagerError::UnknownClass`], [`ManagerError::Assigned`] for a name that is taken; as [`Manager::preload`]. Nothing is assigned then.
    pub fn assign(&self, class: &str, task: &str) -> Result<(Assignment, Vec<Load>), ManagerError> {
        let strategies = &self.settings.life.strategies;
        let strategy = strategies
            .get(class)
            .ok_or_else(|| ManagerError::UnknownClass {
                class: class.to_owned(),
                known: strategies.keys().cloned().collect::<Vec<_>>().join(", "),
            })?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if task.is_empty()
            || task.len() > MAX_NAME
            || task.starts_with('.')
            || !task.chars().all(plain)
        {
            return Err(ManagerError::TaskName {
                task: task.to_owned(),
            });
        }
        self.sweep_assignments()?;
        let library = Library::open(&self.settings)?;
        let layers = planner::closure(&library, &strategy.components)?;
        let components: Vec<LeasedComponent> = layers.iter().map(Into::into).collect();
        let mut assignment = Assignment {
            task: task.to_owned(),
            class: class.to_owned(),
            components: layers.iter().map(|layer| layer.name.clone()).collect(),
            maker: process::this(),
        };
        self.reserve(&assignment)?;
        let made = (|| {
            self.write(&assignment)?;
            let holder = Holder {
                runtime_root: self.strategies(),
                id: task.to_owned(),
                process: None,
            };
            self.store
                .lease(&self.assignment_key(task), holder, &components, None)?;
            let options = life::load_options(&self.settings.life);
            let loads = life::warm(&self.store, &components, &options)?;
            assignment.maker = None;
            self.write(&assignment)?;
            Ok(loads)
        })();
        match made {
            Ok(loads) => {
                self.count_loads(assignment.components.iter(), &loads);
                Ok((assignment, loads))
            }
            Err(error) => {
                self.forget(task)?;
                Err(error)
            }
        }
    }

    /// Takes a task from this node: what only it used may go when its retention is over, or when room is needed. Whether there was one.
    ///
    /// # Errors
    /// When its lease cannot be ended; as [`Manager::cleanup_unused`].
    pub fn release(&self, task: &str) -> Result<bool, ManagerError> {
        let there = self.directory(task).is_dir();
        self.forget(task)?;
        self.store.tidy(&life::limits(&self.settings.life))?;
        Ok(there)
    }

    /// The tasks that this node has, by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn assignments(&self) -> Result<Vec<Assignment>, ManagerError> {
        self.sweep_assignments()?;
        let mut found = Vec::new();
        for task in self.assigned()? {
            // released meanwhile, or just being made
            found.extend(self.read(&task));
        }
        found.sort_by(|a, b| a.task.cmp(&b.task));
        Ok(found)
    }

    /// Removes what killed makers of assignments left.
    fn sweep_assignments(&self) -> Result<(), ManagerError> {
        for task in self.assigned()? {
            let maker = self.read(&task).and_then(|assignment| assignment.maker);
            if maker.is_some_and(|maker| !process::is_alive(maker)) {
                self.forget(&task)?;
            }
        }
        Ok(())
    }

    fn assigned(&self) -> Result<Vec<String>, ManagerError> {
        let directory = self.strategies().join(".fragment");
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ManagerError::io("read", &directory))?,
        };
        let names = entries
            .filter_map(Result::ok)
            .map(|entry| entry.file_name());
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }

    fn reserve(&self, assignment: &Assignment) -> Result<(), ManagerError> {
        let directory = self.directory(&assignment.task);
        let make = |recursive: bool, path: &PathBuf| {
            let mut builder = DirBuilder::new();
            builder.mode(0o700).recursive(recursive).create(path)
        };
        let above = self.strategies().join(".fragment");
        make(true, &above).map_err(ManagerError::io("create", &above))?;
        match make(false, &directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(ManagerError::Assigned {
                    task: assignment.task.clone(),
                })
            }
            made => made.map_err(ManagerError::io("create", &directory)),
        }
    }

    fn write(&self, assignment: &Assignment) -> Result<(), ManagerError> {
        let path = self.directory(&assignment.task).join(DOCUMENT);
        let new = path.with_extension("new");
        let text = serde_json::to_vec(assignment).unwrap_or_default();
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(ManagerError::io("write", &path))
    }

    fn read(&self, task: &str) -> Option<Assignment> {
        let text = fs::read(self.directory(task).join(DOCUMENT)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn forget(&self, task: &str) -> Result<(), ManagerError> {
        self.store.release(&self.assignment_key(task))?;
        let directory = self.directory(task);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ManagerError::io("remove", &directory)(error))
            }
            _ => Ok(()),
        }
    }

    fn strategies(&self) -> PathBuf {
        self.settings.state.join("strategies")
    }

    fn directory(&self, task: &str) -> PathBuf {
        self.strategies().join(".fragment").join(task)
    }

    fn assignment_key(&self, task: &str) -> String {
        format!("{}\0{task}", self.strategies().display())
    }
}
