//! How long each phase of a command took: lines of the log, and a file that viewers of traces open.
//!
//! A phase is a `tracing` span of level debug. The file is in the Trace Event Format of Chromium, which Perfetto and `chrome://tracing`
//! read: a JSON array of which the end may be missing, one event a line. Each line is appended by one write(2), so that all commands of a
//! node can have the same file, and the processes that become containers add to it until they execute their program. Times are those of
//! CLOCK_MONOTONIC, which is one for all of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::time::ClockId;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Longest name of an event, in bytes.
const LONGEST_NAME: usize = 500;

/// A moment, as the time since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(ClockId::Monotonic);
        Self(Duration::try_from(now).unwrap_or_default())
    }

    fn micros(self) -> f64 {
        micros(self.0)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// A file that events are appended to.
#[derive(Debug, Clone)]
struct Trace {
    file: Arc<File>,
    /// The command: its processes are threads of it, as their own numbers may be those of a namespace.
    process: u32,
}

impl Trace {
    /// Opens `path`, made if it is not there, and names this process in it.
    ///
    /// # Errors
    /// When it cannot be opened; a symbolic link is not followed.
    fn open(path: &Path) -> io::Result<Self> {
        let open = || {
            OpenOptions::new()
                .append(true)
                // a fifo without a reader must not block us
                .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
                .open(path)
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                begin(path)?;
                open()?
            }
            opened => opened?,
        };
        let trace = Self {
            file: Arc::new(file),
            process: std::process::id(),
        };
        let words: Vec<_> = std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let words = words.join(" ");
        trace.append(
            json!({ "name": "process_name", "ph": "M", "pid": trace.process, "args": { "name": shortened(&words) } }),
        );
        Ok(trace)
    }

    fn append(&self, event: Value) {
        // a full disk must not end a container
        let _ = (&*self.file).write_all(format!("{event},\n").as_bytes());
    }

    fn phase(&self, name: &str, began: Moment, took: Duration, fields: &Map<String, Value>) {
        self.append(json!({
            "name": name, "cat": "phase", "ph": "X", "ts": began.micros(), "dur": micros(took),
            "pid": self.process, "tid": thread(), "args": fields,
        }));
    }

    fn instant(&self, name: &str) {
        self.append(json!({
            "name": shortened(name), "cat": "log", "ph": "i", "s": "t", "ts": Moment::now().micros(),
            "pid": self.process, "tid": thread(),
        }));
    }
}

/// Makes the file with the beginning of the array in it: whoever finds it finds that too.
fn begin(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let unfinished = Path::new(&name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(unfinished)?;
    let linked = file
        .write_all(b"[\n")
        .and_then(|()| fs::hard_link(unfinished, path));
    fs::remove_file(unfinished)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

fn thread() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_NAME)]
}

/// The layer of `tracing` that tells phases.
#[derive(Debug)]
struct Phases {
    trace: Option<Trace>,
    line: Option<fn(&str)>,
}

/// A trace that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("open trace file {}", path.display())]
pub struct TraceError {
    /// The file.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

/// The layer that tells phases to the trace file of this name, and as one line each to `line`; none where there is neither, so that
/// nothing asks for spans. `began` is when this program did.
///
/// # Errors
/// [`TraceError`].
pub fn layer<S: Subscriber + for<'l> LookupSpan<'l>>(
    trace: Option<&Path>,
    line: Option<fn(&str)>,
    began: Moment,
) -> Result<Option<impl Layer<S> + use<S>>, TraceError> {
    let trace = trace.map(|path| {
        let path = path.to_owned();
        Trace::open(&path).map_err(|source| TraceError { path, source })
    });
    let trace = trace.transpose()?;
    if trace.is_none() && line.is_none() {
        return Ok(None);
    }
    // of libcontainer what it says, and not its spans
    let asked = filter_fn(|metadata| {
        *metadata.level() <= Level::DEBUG
            && (metadata.is_event() || metadata.target().starts_with("fragment"))
    });
    let asked = asked.with_max_level_hint(Level::DEBUG);
    Ok(Some(Phases::new(trace, line, began).with_filter(asked)))
}

impl Phases {
    /// Phases go to `trace`, as one line each to `line`, or to both. `began` is when this program did: until now it was beginning.
    fn new(trace: Option<Trace>, line: Option<fn(&str)>, began: Moment) -> Self {
        let phases = Self { trace, line };
        phases.tell("begin", "begin", began, &Map::new());
        phases
    }

    fn tell(&self, path: &str, name: &str, began: Moment, fields: &Map<String, Value>) {
        let took = Moment::now().0.saturating_sub(began.0);
        if let Some(trace) = &self.trace {
            trace.phase(name, began, took, fields);
        }
        if let Some(line) = self.line {
            let about: String = fields
                .iter()
                .map(|(name, value)| format!(" {name}={value}"))
                .collect();
            line(&format!("phase {path} took {:.0} us{about}", micros(took)));
        }
    }
}

/// What is kept of a span.
struct Phase {
    began: Moment,
    fields: Map<String, Value>,
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Phases {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Phase {
                began: Moment::now(),
                fields: fields.0,
            });
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if let Some(trace) = &self.trace {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let message = fields.0.remove("message");
            let message = message.as_ref().and_then(Value::as_str);
            trace.instant(message.unwrap_or(event.metadata().name()));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let names: Vec<&str> = span.scope().from_root().map(|span| span.name()).collect();
        if let Some(phase) = span.extensions().get::<Phase>() {
            self.tell(&names.join("/"), span.name(), phase.began, &phase.fields);
        }
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0
            .insert(field.name().to_owned(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn events(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        let array = text.trim_end().trim_end_matches(',').to_owned() + "]";
        serde_json::from_str(&array).unwrap()
    }

    fn named<'e>(events: &'e [Value], name: &str) -> &'e Value {
        events.iter().find(|event| event["name"] == name).unwrap()
    }

    #[test]
    fn a_phase_lies_within_the_one_it_is_part_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.json");
        let trace = Trace::open(&path).unwrap();
        let phases = Phases::new(Some(trace), None, Moment::now());
        let subscriber = tracing_subscriber::registry().with(phases);
        tracing::subscriber::with_default(subscriber, || {
            let _plan = tracing::debug_span!("plan").entered();
            let _load =
                tracing::debug_span!("load", component = "a\"b\n", layers = 3_u64).entered();
            tracing::debug!("half way");
        });
        let events = events(&path);
        let (plan, load) = (named(&events, "plan"), named(&events, "load"));
        let span = |event: &Value| {
            let began = event["ts"].as_f64().unwrap();
            (began, began + event["dur"].as_f64().unwrap())
        };
        let (outer, inner) = (span(plan), span(load));
        assert!(outer.0 <= inner.0 && inner.1 <= outer.1, "{events:?}");
        assert_eq!(load["args"], json!({ "component": "a\"b\n", "layers": 3 }));
        let half = named(&events, "half way");
        let at = half["ts"].as_f64().unwrap();
        assert!(inner.0 <= at && at <= inner.1, "{events:?}");
        assert_eq!(half["ph"], "i");
        assert!(
            events
                .iter()
                .all(|event| event["pid"] == std::process::id())
        );
        assert_eq!(named(&events, "begin")["ph"], "X");
    }

    #[test]
    fn commands_share_a_file_and_nothing_else_is_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.json");
        for _ in 0..2 {
            let trace = Trace::open(&path).unwrap();
            drop(Phases::new(Some(trace), None, Moment::now()));
        }
        assert_eq!(events(&path).len(), 4);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Trace::open(&link).is_err(), "a link is not followed");
        assert!(Trace::open(directory.path()).is_err());
        assert_eq!(events(&path).len(), 4);
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        let long = "ä".repeat(LONGEST_NAME);
        assert_eq!(shortened(&long).len(), LONGEST_NAME);
        let odd = format!("a{long}");
        assert_eq!(shortened(&odd).len(), LONGEST_NAME - 1);
    }

    #[test]
    fn lines_have_the_phases_above() {
        static LINES: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
        let line = |line: &str| LINES.lock().unwrap().push(line.to_owned());
        let phases = Phases::new(None, Some(line), Moment::now());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(phases), || {
            let _plan = tracing::debug_span!("plan").entered();
            drop(tracing::debug_span!("cache", kept = true).entered());
        });
        let lines = LINES.lock().unwrap();
        let starts = [
            "phase begin took ",
            "phase plan/cache took ",
            "phase plan took ",
        ];
        assert_eq!(lines.len(), starts.len(), "{lines:?}");
        for (line, start) in lines.iter().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
        assert!(lines[1].ends_with(" us kept=true"), "{lines:?}");
    }
}
