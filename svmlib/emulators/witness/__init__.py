"""A real kernel as witness: what Debian's Linux 6.1 executes between two VMRUNs, under QEMU's TCG.

python -m svmlib.emulators.witness tests/recorded/kernel-6.1.txt
python -m svmlib.emulators.witness.exits tests/recorded/exits

recording   the text that comes out, written and read
kernel      Debian's package, unpacked: the kernel, KVM's modules, an initramfs
boot        that kernel under QEMU, once with the plugin and once with the debugger
gdb         a debugger's side of QEMU's gdbstub
exits       that kernel once more, with perf and trace-cmd in it, which record the exits of guests.c
init.c      the only program in the initramfs: loads KVM and runs a tiny guest
plugin.c    a plugin for QEMU: lists what the host executes from #VMEXIT to VMRUN
exits.c     the first program of the other initramfs: runs the tools and hands their files over
guests.c    a virtual machine of a busy and an idle vCPU
"""
