"""How long a command takes."""

import resource
import signal
import subprocess
import sys
import tempfile
import time


def _late(*_):
    raise TimeoutError


def timed(command, limit=60, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
    """Seconds of wall time and of processor time (of the command and those of its processes that it waited for); ends this program
    when it fails or takes longer than `limit` seconds.

    A limit of subprocess' own is none: it looks for the end at moments that lie ever further apart (0.5, 1.5, 3.5, ... ms after the
    start), and all times would be one of those.
    """
    # a file: a created container holds it open, and a pipe would be read until the container ends
    with tempfile.TemporaryFile() as errors:
        signal.signal(signal.SIGALRM, _late)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=errors)
        signal.alarm(limit)
        try:
            code = process.wait()
        except TimeoutError:
            process.kill()
            process.wait()
            sys.exit(f"{' '.join(command)}: not done after {limit} s")
        finally:
            signal.alarm(0)
        elapsed = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if code:
            errors.seek(0)
            sys.exit(f"{' '.join(command)}: exit code {code}: {errors.read().decode(errors='replace')}")
    return elapsed, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
