"""Benchmarks beside Debian's runc and crun: hack/bench.

| module | what it knows |
|---|---|
| `machine` | this machine, the three views of control groups, where programs are |
| `bundles` | what containers are made of: composed and complete |
| `cases` | what is measured |
| `measure` | how it is measured |
| `memory` | memory that stays beside a container |
| `estimate` | medians, ratios, intervals |
| `figures` | what is promised, and whether it is reached |
| `report`, `plot` | what a person reads |
| `launch.c` | the stopwatch |
| `floor.c` | the least that a container costs |
"""
