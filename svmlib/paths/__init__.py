"""The designs on record: each path a module with KVM's function names, nothing to inherit or register.

A path is anything with these functions, each called as f(cpu, vcpu):

- `vcpu_load` (optional), when the vCPU is put on a CPU;
- `prepare_switch_to_guest`, on every entry; the path itself keeps the flag `vcpu.guest_state_loaded`;
- `vcpu_enter_exit`, between CLGI and STGI: guest VMLOAD, VMRUN, guest VMSAVE, and what must be the host's
  before STGI;
- `prepare_host_switch`, when the vCPU is put: the rest.

Between calls a path keeps state only in vcpu fields and in modelled memory.

`upstream_6_1` is what Debian's Linux 6.1 does.  It is held against the list of instructions that the real
kernel executes (svmlib.emulators.witness), and stands outside PATHS because it was not in the thread.
"""

from types import ModuleType

from . import hybrid, lazy, legacy, vmload_before_stgi

#: The four paths of the thread, by name, in the order of their history.
PATHS: dict[str, ModuleType] = {
    "legacy": legacy,
    "hybrid": hybrid,
    "vmload_before_stgi": vmload_before_stgi,
    "lazy": lazy,
}
