//! Requirements and a catalogue in, the smallest ordered set of components out. Pure: no I/O beyond catalogue look-ups.
//!
//! | module | its job |
//! |---|---|
//! | `request` | what is asked for, what is answered |
//! | `refusal` | why it cannot be had, and what to do |
//! | `shelf` | the catalogue with every answer remembered, exclusions applied, conflicts and closures worked out |
//! | `candidacy` | the same for those who ask why another was chosen |
//! | `candidate` | which sets of components would supply a need |
//! | `search` | choosing among them: no conflicts, bounded backtracking |
//! | `dead_end` | why a search ends without an answer, in words |
//! | `minimal` | dropping what the final set can do without |
//! | `merged` | the shared objects as the dynamic loader will see them |
//! | `layers` | order of the layers and the reasons for each |
//! | `resolve` | the whole of it |
//!
//! The answer depends on the library and on the request alone: neither the order of the requirements nor the numbering of
//! the catalogue shows in it.

mod candidacy;
mod candidate;
mod dead_end;
mod layers;
mod merged;
mod minimal;
mod refusal;
mod request;
mod resolve;
mod search;
mod shelf;

pub use candidacy::{Answer, Candidacy, Offers};
pub use refusal::{Absent, ConflictSide, Refusal, RefusalKind, Unmet};
pub use request::{CORE_CAPABILITY, Compose, Policy, Request, Resolution};
pub use resolve::resolve;
