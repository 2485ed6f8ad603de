//! What can go wrong while recipes become components.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use fragment_types::ComponentName;
use fragment_types::name::InvalidName;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, one variant for each operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A recipe or the directory of recipes cannot be read.
    #[error("reading `{}`", file.display())]
    ReadRecipe {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A recipe is not the YAML that `library/README.md` describes.
    #[error("{}:{line}: `{text}`: {reason}", file.display())]
    ParseRecipe {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// The line: key and value as written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A recipe says what cannot be.
    #[error("{}: {reason}", file.display())]
    InvalidRecipe {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A recipe's file name is not a component name.
    #[error("{}: a recipe's file is named after its component", file.display())]
    RecipeName {
        /// The file.
        file: PathBuf,
        /// Why it is no name.
        source: InvalidName,
    },
    /// No recipe has this name or alias.
    #[error("there is no recipe for `{name}` in `{}` (write `{name}.yaml` there, or check the spelling)", directory.display())]
    UnknownComponent {
        /// The name as given.
        name: String,
        /// The directory of recipes.
        directory: PathBuf,
    },
    /// A recipe names a component that no recipe makes.
    #[error(
        "recipe `{name}` names `{other}` in `{key}`, and there is no recipe of that name or alias"
    )]
    UnknownMention {
        /// The recipe.
        name: ComponentName,
        /// `requires` or `conflicts`.
        key: &'static str,
        /// The unknown name.
        other: ComponentName,
    },
    /// `defaults.yaml` requires a component that no recipe makes.
    #[error("{}: `requires` names `{other}`, and there is no recipe of that name or alias", file.display())]
    UnknownDefault {
        /// The file.
        file: PathBuf,
        /// The unknown name.
        other: ComponentName,
    },
    /// Two recipes claim one package.
    #[error(
        "package `{package}` is claimed by `{first}` and by `{second}` (leave it in `packages` of one of them)"
    )]
    ClaimedTwice {
        /// The package.
        package: String,
        /// One recipe.
        first: ComponentName,
        /// The other.
        second: ComponentName,
    },
    /// Two recipes answer to one name, and nothing says which is meant.
    #[error("`{first}` and `{second}` both answer to `{alias}` (give them different `preference`)")]
    AliasClash {
        /// The name.
        alias: String,
        /// One recipe.
        first: ComponentName,
        /// The other.
        second: ComponentName,
    },
    /// Two recipes give one user name or number to different users.
    #[error("`{first}` and `{second}` both have {what} in `users` (give one of them another)")]
    UserClash {
        /// `the user redis`, `the uid 100`.
        what: String,
        /// One recipe.
        first: ComponentName,
        /// The other.
        second: ComponentName,
    },
    /// A file belongs to a user of the installation that the recipe does not know.
    #[error(
        "component `{component}`: {path} belongs to {owner}: name it in `users` with a number of its own"
    )]
    UnknownOwner {
        /// The component.
        component: ComponentName,
        /// The path.
        path: String,
        /// `user redis (100)`.
        owner: String,
    },
    /// Components require each other.
    #[error(
        "components require each other: {cycle} (claim the packages in one recipe, or cut one edge with `without`)"
    )]
    CyclicRequires {
        /// `a -> b -> a`.
        cycle: String,
    },
    /// Building installs packages into a root, which only root may do.
    #[error(
        "building components installs packages into a clean root: this needs root (try again with sudo)"
    )]
    NotRoot,
    /// A program is missing on this machine.
    #[error("`{tool}` is not installed (apt-get install {package})")]
    MissingTool {
        /// The program.
        tool: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// apt knows no archive to install from.
    #[error(
        "apt has no indexes of Debian's main archive for release `{codename}` (check /etc/apt/sources.list.d, then run \
         apt-get update)"
    )]
    Sources {
        /// The machine's release.
        codename: String,
    },
    /// The working directory's path cannot stand in mount options.
    #[error("`{}` cannot be a working directory: its path has to consist of letters, digits and ._+-", path.display())]
    WorkDirectoryName {
        /// The directory.
        path: PathBuf,
    },
    /// The working directory lies on an overlay.
    #[error(
        "`{}` cannot be a working directory: it lies on an overlay, which cannot carry another one (name a directory on a \
         disk or a tmpfs)",
        path.display()
    )]
    WorkDirectoryFilesystem {
        /// The directory.
        path: PathBuf,
    },
    /// Another build uses the working directory.
    #[error("another build is running in `{}` (wait for it, or name another working directory)", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// A file operation.
    #[error("{operation} `{}`", path.display())]
    Io {
        /// What was done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it did not work.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{tool} ended with {status}; its last lines:\n{log}")]
    Tool {
        /// The program.
        tool: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said last.
        log: String,
    },
    /// apt could not install a component's packages.
    #[error("component `{component}`: apt-get install ended with {status}; its last lines:\n{log}")]
    Install {
        /// The component.
        component: String,
        /// How apt ended.
        status: ExitStatus,
        /// What it said last.
        log: String,
    },
    /// A recipe names a package the archive does not have.
    #[error(
        "recipe `{component}` names the package `{package}`, and this release's main archive has none of that name (look \
         for its name with `apt-cache search {package}`, or take it out of the recipe)"
    )]
    UnknownPackage {
        /// The recipe.
        component: String,
        /// The package.
        package: String,
    },
    /// A package asked for is not in the archive.
    #[error(
        "this release's main archive has no package `{package}` (look for its name with `apt-cache search {package}`; if it \
         is new there, try again with --refresh)"
    )]
    NoPackage {
        /// The package.
        package: String,
    },
    /// Packages exclude what is installed, or each other.
    #[error(
        "apt cannot install these packages together (add them one by one: each gets a root where it fits); it says:\n{log}"
    )]
    Conflict {
        /// What apt said.
        log: String,
    },
    /// What every component requires is not in the store.
    #[error(
        "the library lacks the component `{name}`, which all others require (`fragment library build {name}`, or import it \
         with `fragment library import`)"
    )]
    NothingBelow {
        /// The component.
        name: ComponentName,
    },
    /// What cannot be the name of a package.
    #[error("`{package}` is not a package name")]
    PackageName {
        /// As given.
        package: String,
        /// The rule it breaks.
        source: InvalidName,
    },
    /// Packages could not be downloaded.
    #[error(
        "downloading {packages} (what was downloaded is kept; check the way to the archive and run it again); apt's last \
         lines:\n{log}"
    )]
    Download {
        /// The first of those that are missing.
        packages: String,
        /// What apt said last.
        log: String,
    },
    /// Packages could not be unpacked or configured.
    #[error("installing {package}; dpkg's last lines:\n{log}")]
    Unpack {
        /// The packages.
        package: String,
        /// What dpkg said last.
        log: String,
    },
    /// No space is left where the work directory is.
    #[error("no space is left for `{}` (make some, or name another working directory with --work, and run it again: what is finished is kept)", path.display())]
    DiskFull {
        /// What was written.
        path: PathBuf,
    },
    /// A package that should be installed is not.
    #[error("package `{package}` is not installed although apt reported success")]
    NotInstalled {
        /// The package.
        package: String,
    },
    /// A path of an installed root cannot be read.
    #[error("reading `{path}` of the installed root")]
    ReadRoot {
        /// The path inside the root.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Something in a directory that is to be a component cannot be read.
    #[error("reading `{path}` of the directory `{}`", directory.display())]
    ReadDirectory {
        /// The directory.
        directory: PathBuf,
        /// The path inside.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A directory that is to be a component holds nothing.
    #[error("the directory `{}` holds no file, so that there is nothing to make a component of", directory.display())]
    EmptyDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// A directory that is to be a component holds a path by two spellings.
    #[error(
        "the directory `{}` holds `{path}` twice, below /usr and beside it: /bin, /sbin, /lib and /lib64 are those of /usr", directory.display()
    )]
    TwicePath {
        /// The directory.
        directory: PathBuf,
        /// The path.
        path: String,
    },
    /// A file of the package database is missing.
    #[error("the installed root has no `{path}`")]
    Database {
        /// The path inside the root.
        path: String,
    },
    /// A path pattern matches nothing.
    #[error(
        "recipe `{component}`: `{pattern}` in `{key}` matches nothing of {package} (check the spelling, or take it out)"
    )]
    InvalidSlice {
        /// The recipe.
        component: ComponentName,
        /// `slices` or `generated`.
        key: &'static str,
        /// What was searched.
        package: String,
        /// The pattern.
        pattern: String,
    },
    /// A device node or FIFO was about to become content.
    #[error(
        "`{path}` is a device node or FIFO, which components do not hold (leave it out: of a recipe, by `exclude`)"
    )]
    SpecialFile {
        /// The path.
        path: String,
    },
    /// `special` names a path that is not there.
    #[error(
        "recipe `{component}`: `special` names `{path}`, which is no regular file of the component"
    )]
    NoSpecialFile {
        /// The recipe.
        component: ComponentName,
        /// The path.
        path: String,
    },
    /// One package would be bundled into two components.
    #[error(
        "package `{package}` would be bundled into `{first}` and into `{second}` (name it in `packages` of one of them, or \
         write a recipe `{package}.yaml` with `packages: [{package}]`)"
    )]
    BundledTwice {
        /// The package.
        package: String,
        /// One component.
        first: ComponentName,
        /// The other.
        second: ComponentName,
    },
    /// Files need what no component of the library provides.
    #[error(
        "component `{component}` needs what no component provides:\n{}",
        list(missing)
    )]
    Unresolved {
        /// The component.
        component: ComponentName,
        /// One line for each need, with advice.
        missing: Vec<String>,
    },
    /// A component is larger than its recipe allows.
    #[error(
        "component `{component}` has {stored} bytes, and its budget is {budget}; its largest files:\n{}",
        list(largest)
    )]
    OverBudget {
        /// The component.
        component: ComponentName,
        /// Bytes of the blob.
        stored: u64,
        /// Bytes allowed.
        budget: u64,
        /// Its ten largest files.
        largest: Vec<String>,
    },
    /// A recipe's `version` is no semantic version.
    #[error("recipe `{component}`: `version: {version}` is not a semantic version such as 1.0.0")]
    Version {
        /// The recipe.
        component: ComponentName,
        /// As written.
        version: String,
        /// Why.
        source: semver::Error,
    },
    /// A manifest could not be written as JSON.
    #[error("writing the manifest of `{component}`")]
    Manifest {
        /// The component.
        component: ComponentName,
        /// Why.
        source: serde_json::Error,
    },
    /// Whoever takes the built components did not want this one.
    #[error("handing over component `{component}`")]
    HandOver {
        /// The component.
        component: ComponentName,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn list(lines: &[String]) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let _ = write!(text, "{}  {line}", if number == 0 { "" } else { "\n" });
    }
    text
}
