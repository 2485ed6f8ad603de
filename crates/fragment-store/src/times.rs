//! Times as utimensat(2) takes them.

use std::time::SystemTime;

use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};

/// The beginning of 1970.
pub(crate) const LONG_AGO: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

const OMITTED: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: UTIME_OMIT,
};

/// The time of the last access alone.
pub(crate) fn accessed(time: Timespec) -> Timestamps {
    Timestamps {
        last_access: time,
        last_modification: OMITTED,
    }
}

/// The time of the last modification alone.
pub(crate) fn modified(time: Timespec) -> Timestamps {
    Timestamps {
        last_access: OMITTED,
        last_modification: time,
    }
}

/// `time`; one before 1970 is that year's beginning.
pub(crate) fn of(time: SystemTime) -> Timespec {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: since.subsec_nanos().into(),
    }
}
