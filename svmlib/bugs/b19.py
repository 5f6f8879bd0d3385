"""DEBUGCTL was the host's in the guest: with bus lock detection on in the host, guests died of #DB."""

from ..explorer import Bounds
from ..kvm.hosts import host
from ..paths import vmload_before_stgi
from . import Case

#: DEBUGCTL.BusLockDetect.
BUS_LOCK_DETECT = 1 << 2
_HOST = host("zen4+fsgsbase", seed=1, vcpus=1, debugctl=BUS_LOCK_DETECT)
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
BROKEN = Case(vmload_before_stgi, _HOST._replace(debugctl_switched=False), _BOUNDS)
FIXED = Case(vmload_before_stgi, _HOST._replace(debugctl_switched=True), _BOUNDS)
