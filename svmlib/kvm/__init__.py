"""The host kernel around the switch: per-CPU data, threads, NMI entry, and the loop that runs a path."""

from .exits import Exit, ExitRecord, exits
from .host import Host
from .invariants import INVARIANTS, Violation
from .machine import PathError
from .percpu import cpu_kernelmode_gs_base, per_cpu, this_cpu_read
from .run import Run, random_exits, random_host, run
from .vcpu import Vcpu, static_cpu_has
from .vmenter import load_gs_index, reload_tss, svm_vcpu_run

__all__ = [
    "INVARIANTS",
    "Exit",
    "ExitRecord",
    "Host",
    "PathError",
    "Run",
    "Vcpu",
    "Violation",
    "cpu_kernelmode_gs_base",
    "exits",
    "load_gs_index",
    "per_cpu",
    "random_exits",
    "random_host",
    "reload_tss",
    "run",
    "static_cpu_has",
    "svm_vcpu_run",
    "this_cpu_read",
]
