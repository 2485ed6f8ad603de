//! The shared objects of a program, as the dynamic loader loads them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fragment_sys::root::Kind;
use fragment_types::manifest::NeededSoname;
use fragment_types::path::merged_usr;
use fragment_types::{EvidenceKind, Need};

use crate::analyser::{Analyser, Context, clean};
use crate::elf::Elf;
use crate::error::{AnalysisError, list};
use crate::loader::{self, Loader, User};
use crate::words::file_name;

/// Most shared objects of one program.
const MAX_OBJECTS: usize = 512;

/// An object of a program, in the order in which the loader loads them.
pub(crate) struct Object {
    pub(crate) elf: Rc<Elf>,
    /// Path by which it was opened.
    pub(crate) path: String,
    pub(crate) origin: String,
    /// The object that loaded it.
    pub(crate) loader: Option<usize>,
    pub(crate) context: Context,
}

/// A dynamically linked program, as its libraries see it.
pub(crate) struct Program<'p> {
    pub(crate) interpreter: &'p str,
    /// Whether the interpreter is the bundle's own file.
    pub(crate) own_interpreter: bool,
    /// Whether its private libraries speak for the application.
    pub(crate) speaks: bool,
}

/// What became of a soname.
enum Loaded {
    /// A library of the bundle.
    Here(usize),
    /// The loader itself, or a library that a component has to supply.
    Elsewhere,
}

impl Analyser<'_> {
    /// Follows DT_NEEDED breadth first, as the loader does.
    pub(crate) fn libraries(
        &mut self,
        program: &Program<'_>,
        object: Object,
        mut loader: Loader<'_>,
    ) -> Result<(), AnalysisError> {
        let interpreter = file_name(program.interpreter);
        let mut objects = vec![object];
        let mut loaded: BTreeMap<String, Loaded> = BTreeMap::new();
        let (mut at, mut edges) = (0, 0_usize);
        while at < objects.len() {
            let user = Rc::clone(&objects[at].elf);
            for soname in &user.needed {
                if soname == interpreter || loader.is_musl() && loader::is_inside_musl(soname) {
                    continue;
                }
                edges += 1;
                if !loaded.contains_key(soname) {
                    if loaded.len() >= MAX_OBJECTS {
                        let (path, limit) = (objects[0].path.clone(), MAX_OBJECTS);
                        return Err(AnalysisError::TooManyLibraries { path, limit });
                    }
                    let found = self.load(soname, at, &objects, program, &mut loader)?;
                    let state = match found {
                        None => Loaded::Elsewhere,
                        Some(object) => Loaded::Here(place(&mut objects, object)?),
                    };
                    if let Loaded::Here(index) = state
                        && let Some(name) = &objects[index].elf.soname
                    {
                        loaded.entry(name.clone()).or_insert(Loaded::Here(index));
                    }
                    loaded.insert(soname.clone(), state);
                }
                if loader.is_exhausted() || edges > loader::MAX_LOOKUPS {
                    let (path, limit) = (objects[0].path.clone(), loader::MAX_LOOKUPS);
                    return Err(AnalysisError::TooManyPlaces { path, limit });
                }
                let library = match loaded.get(soname) {
                    Some(Loaded::Here(index)) => Some(&objects[*index]),
                    _ => None,
                };
                self.soname(soname, &objects[at], library, program, &loader)?;
            }
            at += 1;
        }
        Ok(())
    }

    /// A shared object that an interpreter loads: what it needs, as one of the interpreter's own would.
    pub(crate) fn native_module(
        &mut self,
        path: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let Ok(Some(found)) = self.root.lookup(path) else {
            return Ok(());
        };
        let soft = context.soft();
        if found.kind != Kind::File || !self.enter(&format!("library {path}"), &soft) {
            return Ok(());
        }
        let elf = self.elf(&found);
        let Some(elf) = self.tolerate(&soft, elf)? else {
            return Ok(());
        };
        self.own_file(&found, true, &soft);
        let loader = Loader::new(self.root, self.task, "", false, elf.machine);
        let program = Program {
            interpreter: "",
            own_interpreter: false,
            speaks: true,
        };
        let object = Object {
            elf,
            origin: directory(&found.path).to_owned(),
            path: found.path,
            loader: None,
            context: soft.clone(),
        };
        let result = self.libraries(&program, object, loader);
        self.tolerate(&soft, result).map(drop)
    }

    /// The library of the bundle that the loader would take for `soname`.
    fn load(
        &mut self,
        soname: &str,
        user: usize,
        objects: &[Object],
        program: &Program<'_>,
        loader: &mut Loader<'_>,
    ) -> Result<Option<Object>, AnalysisError> {
        let mut users = Vec::new();
        let mut next = Some(user);
        while let Some(index) = next {
            let object = &objects[index];
            users.push(User {
                elf: &object.elf,
                origin: &object.origin,
            });
            next = object.loader;
        }
        let of = &objects[user];
        let public = loader.public_directories();
        loader.find(soname, &users, |path, found| {
            let elf = self.elf(found)?;
            // A library of another machine is passed over (`open_verify` in elf/dl-load.c).
            if (elf.machine, elf.is_64) != (of.elf.machine, of.elf.is_64) {
                return Ok(None);
            }
            let context = of.context.with(EvidenceKind::Needed, &of.path, soname);
            let private = !public.iter().any(|dir| dir == directory(path));
            self.own_file(found, program.speaks && private, &context);
            let (path, origin) = (path.to_owned(), directory(path).to_owned());
            Ok(Some(Object {
                elf,
                path,
                origin,
                loader: Some(user),
                context,
            }))
        })
    }

    /// Notes that a soname is needed, and checks the symbol versions of the library that will be loaded.
    fn soname(
        &mut self,
        soname: &str,
        user: &Object,
        library: Option<&Object>,
        program: &Program<'_>,
        loader: &Loader<'_>,
    ) -> Result<(), AnalysisError> {
        let versions = user
            .elf
            .versions_needed
            .get(soname)
            .cloned()
            .unwrap_or_default();
        let detail = if versions.is_empty() {
            soname.to_owned()
        } else {
            format!("{soname} ({})", list(&versions))
        };
        let context = user.context.with(EvidenceKind::Needed, &user.path, detail);
        let (musl, interpreter) = (loader::is_musl(program.interpreter), program.interpreter);
        if let Some(library) = library {
            let defined = &library.elf.versions_defined;
            let missing: BTreeSet<String> = versions.difference(defined).cloned().collect();
            // Without any definition the loader only warns; musl knows no versions.
            if !musl && !defined.is_empty() && !missing.is_empty() {
                let error = AnalysisError::SymbolVersion {
                    user: user.path.clone(),
                    soname: soname.to_owned(),
                    path: library.path.clone(),
                    missing,
                };
                self.tolerate(&context, Err::<(), _>(error))?;
            }
        } else if musl && program.own_interpreter && self.in_library(interpreter)?.is_none() {
            let error = AnalysisError::ForeignLibc {
                user: user.path.clone(),
                soname: soname.to_owned(),
                interpreter: interpreter.to_owned(),
            };
            self.tolerate(&context, Err::<(), _>(error))?;
            return Ok(());
        }
        let private = match library {
            Some(_) => None,
            None => self.private_library(soname, user, loader)?,
        };
        let need = match private {
            Some(path) => Need::Path { path },
            None => Need::Soname(NeededSoname {
                soname: soname.to_owned(),
                machine: user.elf.machine,
                versions,
            }),
        };
        let here = library.map(|library| library.path.clone());
        self.ledger.add(need, context.strength, here, context.chain);
        Ok(())
    }
}

impl Analyser<'_> {
    /// Where a component has a library in a directory that the run path of its user names, and the loader looks for it nowhere
    /// else: the programs of one source package are linked so with the libraries of another of its packages (samba, Java).
    fn private_library(
        &self,
        soname: &str,
        user: &Object,
        loader: &Loader<'_>,
    ) -> Result<Option<String>, AnalysisError> {
        let public = loader.public_directories();
        for directory in loader.run_path(&User {
            elf: &user.elf,
            origin: &user.origin,
        }) {
            let path = merged_usr(&clean(&format!("{directory}/{soname}"))).into_owned();
            if !public.iter().any(|public| public == self::directory(&path))
                && self.in_library(&path)?.is_some()
            {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

/// Index of an object among those loaded; a file that is loaded already, by another name, is taken again.
fn place(objects: &mut Vec<Object>, object: Object) -> Result<usize, AnalysisError> {
    if let Some(known) = objects.iter().position(|other| other.path == object.path) {
        return Ok(known);
    }
    if objects.len() >= MAX_OBJECTS {
        let (path, limit) = (objects[0].path.clone(), MAX_OBJECTS);
        return Err(AnalysisError::TooManyLibraries { path, limit });
    }
    objects.push(object);
    Ok(objects.len() - 1)
}

/// The directory of an absolute path.
pub(crate) fn directory(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((directory, _)) => directory,
    }
}
