"""A real kernel as witness: what Debian's Linux 6.1 executes between two VMRUNs, under QEMU's TCG.

python -m svmlib.emulators.witness tests/recorded/kernel-6.1.txt

recording   the text that comes out, written and read
kernel      Debian's package, unpacked: the kernel, KVM's modules, an initramfs
boot        that kernel under QEMU, once with the plugin and once with the debugger
gdb         a debugger's side of QEMU's gdbstub
init.c      the only program in the initramfs: loads KVM and runs a tiny guest
plugin.c    a plugin for QEMU: lists what the host executes from #VMEXIT to VMRUN
"""
