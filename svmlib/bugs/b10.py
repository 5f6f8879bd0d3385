"""CVE-2021-3656: a guest's VMSAVE that nobody intercepts or translates writes to the host's memory."""

from ..explorer import Bounds
from ..kvm.exits import EXITCODES, NESTED_KINDS
from ..kvm.hosts import host
from ..paths import upstream
from . import Case

#: L2 runs when an exit "nested" has entered it; "escape" is its VMSAVE to a page that is the host's.
_BOUNDS, _KINDS = Bounds(exits=3, periods=1, events=0, migrations=0), (*EXITCODES, *NESTED_KINDS)
_HOST = host("zen3+fsgsbase", seed=1, cpus=1, vcpus=1, nested="vmcb02")
#: L1's wish not to intercept VMSAVE is taken over for L2.
BROKEN = Case(upstream, _HOST._replace(bugs=("B10",)), _BOUNDS, _KINDS)
#: L0 intercepts, whatever L1 asks for.
FIXED = Case(upstream, _HOST, _BOUNDS, _KINDS)
