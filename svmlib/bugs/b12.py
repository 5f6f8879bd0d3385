"""L0 emulated VMLOAD for L2 on vmcb02, while VMLOAD and VMSAVE around VMRUN always use vmcb01."""

from ..explorer import Bounds
from ..kvm.exits import EXITCODES, NESTED_KINDS
from ..kvm.hosts import host
from ..paths import upstream
from . import Case

_BOUNDS, _KINDS = Bounds(exits=3, periods=1, events=0, migrations=0), (*EXITCODES, *NESTED_KINDS)
_HOST = host("zen3+fsgsbase", seed=1, cpus=1, vcpus=1, nested="vmcb02")
#: Emulated on the VMCB that is current.
BROKEN = Case(upstream, _HOST._replace(bugs=("B12",)), _BOUNDS, _KINDS)
#: Emulated on the one that the hardware path uses.
FIXED = Case(upstream, _HOST, _BOUNDS, _KINDS)
