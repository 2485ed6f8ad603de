//! The command line, flag by flag as runc 1.3 has it: what the flags are stands here and in the files of the command
//! groups, how they are written stands in [`dialect`].

mod checkpoint;
mod dialect;
mod exec;
mod global;
mod help;
mod information;
mod life;
mod mistake;
mod resources;

use std::ffi::OsString;

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use checkpoint::{CheckpointArguments, CriuArguments, RestoreArguments};
pub(crate) use exec::ExecArguments;
pub(crate) use global::{Global, LogFormat};
pub(crate) use information::{Format, ListArguments, PsArguments, SpecArguments};
pub(crate) use life::{CreateArguments, DeleteArguments, KillArguments, RunArguments};
pub(crate) use mistake::Answer;
pub(crate) use resources::{EventsArguments, UpdateArguments};

/// Commands whose flags end at the first word that is none: what follows is somebody else's command line.
const ENDING_AT_THE_FIRST_WORD: [&str; 2] = ["exec", "ps"];

/// Everything there is to say, for help. What a command line says is read with the flags of its one command alone, see [`known`].
#[derive(Debug, Parser)]
#[command(
    name = "fragment-runc",
    about = "Open Container Initiative runtime that composes a container's rootfs from shared components",
    disable_version_flag = true,
    disable_help_subcommand = true,
    disable_help_flag = true
)]
struct Words {
    #[command(flatten)]
    _global: Global,
    #[command(subcommand)]
    _command: Option<Command>,
}

#[derive(Debug, Subcommand)]
#[command(disable_help_flag = true)]
pub(crate) enum Command {
    /// checkpoint a running container
    Checkpoint(CheckpointArguments),
    /// create a container
    Create(CreateArguments),
    /// delete any resources held by the container, often used with a detached container
    Delete(DeleteArguments),
    /// display container events such as OOM notifications, and usage statistics
    Events(EventsArguments),
    /// execute a new process inside the container
    Exec(ExecArguments),
    /// show what this runtime can do, as JSON
    Features,
    /// send a signal (SIGTERM by default) to the container's init process
    Kill(KillArguments),
    /// list the containers of the given root
    List(ListArguments),
    /// suspend all processes inside the container
    Pause(IdArguments),
    /// display the processes running inside a container
    Ps(PsArguments),
    /// restore a container from a previous checkpoint
    Restore(RestoreArguments),
    /// resume all processes that have been previously paused
    Resume(IdArguments),
    /// create and run a container
    Run(RunArguments),
    /// create a new specification file
    Spec(SpecArguments),
    /// execute the user defined process in a created container
    Start(IdArguments),
    /// output the state of a container
    State(IdArguments),
    /// update container resource constraints
    Update(UpdateArguments),
}

/// A command that wants to know which container, and nothing else.
#[derive(Debug, Args)]
pub(crate) struct IdArguments {
    /// name of the container
    #[arg(value_name = "container-id")]
    pub(crate) id: String,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The flags before the command; the defaults where those are wrong.
    pub(crate) global: Global,
    /// The command, or what is to be said instead of doing one.
    pub(crate) request: Result<Command, Answer>,
}

/// Makes a command of the flags that are given.
type Read = dyn Fn(&ArgMatches) -> Result<Command, clap::Error>;

/// One command: its flags, and what is made of those that are given.
struct Known {
    flags: clap::Command,
    read: Box<Read>,
}

/// The command of a name. All of them together are a thousand small allocations, which every start would make.
fn known(name: &str) -> Option<Known> {
    fn with<A: Args + 'static>(name: &'static str, command: fn(A) -> Command) -> Option<Known> {
        Some(Known {
            flags: A::augment_args(bare(name)),
            read: Box::new(move |matches| A::from_arg_matches(matches).map(command)),
        })
    }
    match name {
        "checkpoint" => with("checkpoint", Command::Checkpoint),
        "create" => with("create", Command::Create),
        "delete" => with("delete", Command::Delete),
        "events" => with("events", Command::Events),
        "exec" => with("exec", Command::Exec),
        "features" => Some(Known {
            flags: bare("features"),
            read: Box::new(|_| Ok(Command::Features)),
        }),
        "kill" => with("kill", Command::Kill),
        "list" => with("list", Command::List),
        "pause" => with("pause", Command::Pause),
        "ps" => with("ps", Command::Ps),
        "restore" => with("restore", Command::Restore),
        "resume" => with("resume", Command::Resume),
        "run" => with("run", Command::Run),
        "spec" => with("spec", Command::Spec),
        "start" => with("start", Command::Start),
        "state" => with("state", Command::State),
        "update" => with("update", Command::Update),
        _ => None,
    }
}

/// A command without flags, those of clap's own included.
fn bare(name: &'static str) -> clap::Command {
    clap::Command::new(name)
        .disable_help_flag(true)
        .disable_version_flag(true)
}

/// Reads the command line.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Arguments {
    let flags = Global::augment_args(bare("fragment-runc"));
    let line = dialect::split(&flags, words.skip(1).collect());
    let (global, mistake) = match read(flags, line.global, Global::from_arg_matches) {
        Ok(global) => (global, None),
        Err(answer) => (Global::default(), Some(answer)),
    };
    let request = match (mistake, line.rest) {
        (Some(answer), _) | (None, Err(answer)) => Err(answer),
        (None, Ok(_)) if global.version => Err(Answer::Version),
        (None, Ok(None)) => Err(Answer::Help(help::of_all(&Words::command()))),
        (None, Ok(Some((command, words)))) => read(command.flags, words, command.read),
    };
    Arguments { global, request }
}

/// Reads words in the one form clap is given.
fn read<T>(
    flags: clap::Command,
    words: Vec<OsString>,
    made: impl Fn(&ArgMatches) -> Result<T, clap::Error>,
) -> Result<T, Answer> {
    let name = std::iter::once(OsString::from("fragment-runc"));
    flags
        .try_get_matches_from(name.chain(words))
        .and_then(|matches| made(&matches))
        .map_err(|error| mistake::of_clap(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Command, Answer> {
        let words = format!("fragment-runc {line}");
        parse(words.split_whitespace().map(OsString::from)).request
    }

    #[test]
    fn the_flags_of_every_command_are_consistent() {
        Words::command().debug_assert();
        let tree = Words::command();
        for listed in tree.get_subcommands() {
            let name = listed.get_name();
            let alone = known(name).expect(name).flags;
            alone.clone().debug_assert();
            let ids = |command: &clap::Command| -> Vec<String> {
                command
                    .get_arguments()
                    .map(|it| it.get_id().to_string())
                    .collect()
            };
            assert_eq!(ids(listed), ids(&alone), "{name}");
        }
    }

    #[test]
    fn one_flag_in_all_its_spellings() {
        for line in [
            "delete --force a",
            "delete -force a",
            "delete -f a",
            "delete a --force",
            "delete a -f",
            "delete --force=true a",
            "delete -f=1 a",
            "delete --force --force a",
            "delete --force=false -force=T a",
            "delete --force -- a",
            "--root /r --log= -systemd-cgroup --debug=false delete -f a",
        ] {
            let Ok(Command::Delete(delete)) = request(line) else {
                panic!("{line}: {:?}", request(line))
            };
            assert!(delete.force && delete.id == "a", "{line}: {delete:?}");
        }
        let Ok(Command::Delete(delete)) = request("delete --force=0 a") else {
            panic!("it is a delete")
        };
        assert!(!delete.force);
    }

    #[test]
    fn values_may_look_like_flags_and_the_last_one_counts() {
        let Ok(Command::Update(update)) = request("update --pids-limit 5 --pids-limit -1 a") else {
            panic!("it is an update")
        };
        assert_eq!(update.pids_limit, Some(-1));
        let Ok(Command::Create(create)) = request("create a -b /x --pid-file= -preserve-fds=2")
        else {
            panic!("it is a create")
        };
        assert_eq!(create.bundle.as_os_str(), "/x");
        assert_eq!((create.pid_file, create.preserve_fds), (None, 2));
    }

    #[test]
    fn the_words_after_the_container_of_exec_and_ps_are_not_ours() {
        let Ok(Command::Exec(exec)) = request("exec -e A=1 -env B=2 a ls -e --force -- -x") else {
            panic!("it is an exec")
        };
        assert_eq!(exec.env, ["A=1", "B=2"]);
        assert_eq!(exec.command, ["ls", "-e", "--force", "--", "-x"]);
        let Ok(Command::Ps(ps)) = request("ps -f table a -f -e") else {
            panic!("it is a ps")
        };
        assert_eq!(ps.options, ["-f", "-e"]);
        let Ok(Command::Exec(exec)) = request("exec --no-new-privs=false a true") else {
            panic!("it is an exec")
        };
        assert_eq!(exec.no_new_privs, Some(false));
    }

    #[test]
    fn mistakes_are_told_in_the_words_of_runc() {
        for (line, words) in [
            (
                "create",
                "fragment-runc: \"create\" requires exactly 1 argument(s)",
            ),
            (
                "create a b",
                "fragment-runc: \"create\" requires exactly 1 argument(s)",
            ),
            (
                "kill",
                "fragment-runc: \"kill\" requires a minimum of 1 argument(s)",
            ),
            (
                "kill a 9 8",
                "fragment-runc: \"kill\" requires a maximum of 2 argument(s)",
            ),
            (
                "ps",
                "fragment-runc: \"ps\" requires a minimum of 1 argument(s)",
            ),
            (
                "list a",
                "fragment-runc: \"list\" requires exactly 0 argument(s)",
            ),
            (
                "features a",
                "fragment-runc: \"features\" requires exactly 0 argument(s)",
            ),
            (
                "delete --nosuch a",
                "flag provided but not defined: -nosuch",
            ),
            (
                "delete a --nosuch",
                "fragment-runc: \"delete\" requires exactly 1 argument(s)",
            ),
            ("kill -9 a", "flag provided but not defined: -9"),
            ("--nosuch list", "flag provided but not defined: -nosuch"),
            ("list --format", "flag needs an argument: -format"),
            ("--root", "flag needs an argument: -root"),
            ("list ---q", "bad flag syntax: ---q"),
            (
                "delete --force=x a",
                "invalid boolean value \"x\" for -force: parse error",
            ),
            ("list --format xml", "invalid format option"),
            ("--log-format xml list", "invalid log-format: xml"),
            (
                "create --preserve-fds x a",
                "invalid value \"x\" for flag -preserve-fds: ",
            ),
            ("foo", "No help topic for 'foo'"),
            ("foo -h", "No help topic for 'foo'"),
            ("help foo", "No help topic for 'foo'"),
        ] {
            let Err(Answer::Mistake { message, .. } | Answer::NoTopic(message)) = request(line)
            else {
                panic!("{line}: {:?}", request(line))
            };
            assert!(message.starts_with(words), "{line}: {message}");
        }
    }

    #[test]
    fn help_is_given_wherever_it_is_asked_for() {
        for line in ["", "-h", "--help", "help", "-help", "--root /x help"] {
            let Err(Answer::Help(text)) = request(line) else {
                panic!("{line}: {:?}", request(line))
            };
            assert!(
                text.starts_with("NAME:\n   fragment-runc - Open Container"),
                "{text}"
            );
        }
        for line in ["kill -h", "kill a --help", "help kill", "kill -help"] {
            let Err(Answer::Help(text)) = request(line) else {
                panic!("{line}: {:?}", request(line))
            };
            assert!(
                text.starts_with("NAME:\n   fragment-runc kill - send a signal"),
                "{text}"
            );
        }
        // another program's question
        assert!(matches!(request("exec a ls -h"), Ok(Command::Exec(_))));
        assert!(matches!(request("--version"), Err(Answer::Version)));
        assert!(matches!(request("-v list"), Err(Answer::Version)));
    }

    #[test]
    fn a_log_named_before_a_mistake_is_known() {
        let words = "fragment-runc --log /l --log-format json create".split(' ');
        let arguments = parse(words.map(OsString::from));
        assert_eq!(arguments.global.log.unwrap().as_os_str(), "/l");
        assert!(arguments.request.is_err());
    }
}
