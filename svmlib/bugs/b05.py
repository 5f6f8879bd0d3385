"""An emergency reboot clears EFER.SVME: an SVM instruction that stands alone is then an oops."""

from ..explorer import Bounds
from ..kvm.hosts import host
from ..paths import vmload_before_stgi
from . import Case

_HOST = host("zen3+fsgsbase", seed=1, vcpus=1)
#: The rebooting CPU's interrupt, at any step.
_BOUNDS, _REBOOT = Bounds(exits=1, periods=1, events=1, migrations=0), ("REBOOT",)
#: v3: VMSAVE and VMLOAD bare.
BROKEN = Case(vmload_before_stgi.v3, _HOST, _BOUNDS, arrivals=_REBOOT)
#: v4: the helpers of svm_ops.h, with their entries in the exception table.
FIXED = Case(vmload_before_stgi, _HOST, _BOUNDS, arrivals=_REBOOT)
