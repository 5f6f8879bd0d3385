"""The NMI's entry asked RDPID for its CPU; while a vCPU is loaded TSC_AUX is the guest's."""

from ..kvm.hosts import host
from ..paths import lazy
from . import Case

#: Nothing is wrong with the path: what bites is an entry that relies on what the path restores late.
BROKEN = Case(lazy, host("zen3+fsgsbase", seed=1, vcpus=1, nmi_cpu="rdpid"))
FIXED = Case(lazy, host("zen3+fsgsbase", seed=1, vcpus=1, nmi_cpu="lsl"))
