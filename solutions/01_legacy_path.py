# %% [markdown] difficulty="easy" minutes=35
# # 1 · The legacy path: one register at a time
#
# At the end you will have written the path that KVM used on AMD before Linux 5.12: it saves and restores
# the host's registers one by one.
#
# Why it matters: VMRUN saves only half of the host. After #VMEXIT the other half still holds the guest's
# values, among them the address at which SYSCALL enters the kernel. What the path forgets, the guest has
# chosen.
#
# 20 points: 17 by tests, 3 for a written answer. 2 bonus points beside them. The tests answer at once;
# grading repeats them on other hosts, with random exits.

# %% [markdown]
# First a look at the kernel that runs this notebook: is the library there, and is it the right one?

# %%
try:
    from svmlib import check
except ModuleNotFoundError:
    message = "svmlib is not in this kernel: run `make course` in the course's folder and choose its kernel"
    raise ImportError(message) from None
check.begin("01_legacy_path", svmlib="0.1.0")

# %% [markdown]
# All that you need is imported here, each with a line on what it does.

# %%
from svmlib.kvm import Host  # a host to run on, chosen by its seed
from svmlib.kvm import load_gs_index  # load_gs_index(cpu, selector): SWAPGS, MOV GS, SWAPGS
from svmlib.kvm import reload_tss  # reload_tss(cpu, vcpu): TR from the host's GDT, with LTR
from svmlib.kvm import svm_vcpu_run  # svm_vcpu_run(cpu, vcpu): guest VMLOAD, VMRUN, guest VMSAVE
from svmlib.kvm import this_cpu_read  # this_cpu_read(cpu, "current_task"): per-CPU data, through GS
from svmlib.registers import MSR  # MSR.LSTAR and the others: the numbers of the MSRs

hint = check.hint  # after a failed check, hint() tells more

# %% [markdown]
# **What you may use.** A path is a few functions, each called with `cpu` and `vcpu`.
#
# - `cpu` has instructions and nothing else: `cpu.rdmsr(MSR.LSTAR)` returns a value,
#   `cpu.wrmsr(MSR.LSTAR, value)` writes one.
# - `vcpu` is what KVM keeps for the vCPU. Read its fields, assign them, add your own:
#   `vcpu.host_ldt = 0x50`. A field holds a number, or a list or dict of numbers that is assigned whole.
#
# Between two calls only `vcpu` remembers. Every instruction and every access to a field has its price.

# %% [markdown]
# ## Step 1: ten MSRs
#
# A guest is free to write these ten, and VMRUN leaves all of them alone. KVM kept them in a list,
# `host_save_user_msrs` (`svm.c` at commit 35a7831912f4).
#
# When does KVM have to read them: before the guest runs, or after?

# %%
HOST_SAVE_USER_MSRS = (
    MSR.STAR,
    MSR.LSTAR,
    MSR.CSTAR,
    MSR.SFMASK,
    MSR.KERNEL_GS_BASE,
    MSR.FS_BASE,
    MSR.SYSENTER_CS,
    MSR.SYSENTER_ESP,
    MSR.SYSENTER_EIP,
    MSR.TSC_AUX,
)


# %% exercise="host_msrs"
def save_host_msrs(cpu, vcpu):
    """Read the ten MSRs with cpu.rdmsr and keep their values in a field of vcpu."""
    ### BEGIN SOLUTION
    vcpu.host_user_msrs = [cpu.rdmsr(msr) for msr in HOST_SAVE_USER_MSRS]
    ### END SOLUTION


def restore_host_msrs(cpu, vcpu):
    """Write the values back with cpu.wrmsr."""
    ### BEGIN SOLUTION
    for msr, value in zip(HOST_SAVE_USER_MSRS, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)
    ### END SOLUTION


# %% [markdown]
# The test saves, lets a guest overwrite the ten, and restores. 3 points.

# %% points=3 test="host_msrs"
check.restores(save_host_msrs, restore_host_msrs, HOST_SAVE_USER_MSRS)
### BEGIN HIDDEN TESTS
check.restores(save_host_msrs, restore_host_msrs, HOST_SAVE_USER_MSRS, runs=8, name="01 host_msrs")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 2: the kernel's own GS base
#
# One base is in more of a hurry than the ten. The kernel finds its per-CPU data through GS, and right after
# the guest's VMSAVE the GS base is the guest's. From STGI on the kernel needs its own.
#
# GS is the guest's at that moment. Where can `vcpu_enter_exit` find the host's value without it?

# %% [markdown]
# KVM read the base in `svm_vcpu_load()`, while it was the host's, and wrote it with WRMSR in
# `svm_vcpu_enter_exit()`.


# %% exercise="gs_base"
def save_gs_base(cpu, vcpu):
    """Read the MSR GS_BASE, and keep the value in a field of vcpu."""
    ### BEGIN SOLUTION
    vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)
    ### END SOLUTION


def vcpu_enter_exit(cpu, vcpu):
    """Run the guest with svm_vcpu_run; then make the host what it must be before STGI.

    You come with GIF clear.  The caller does CLGI before and STGI after.
    """
    ### BEGIN SOLUTION
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    # Step 3: an NMI after STGI takes its stack from the TSS that TR names.
    reload_tss(cpu, vcpu)
    ### END SOLUTION


# %% [markdown]
# The test is a list of exits. After "kernel" the kernel handles the exit itself and enters the guest again;
# nobody goes to user space meanwhile. 3 points.

# %% points=3 test="gs_base"
window = check.path(vcpu_load=save_gs_base, vcpu_enter_exit=vcpu_enter_exit)
check.survives(window, "kernel", "kernel", "kernel")
### BEGIN HIDDEN TESTS
check.survives_random(window, "kernel", length=4, name="01 gs_base")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 3: something waits for STGI
#
# While GIF is clear, an NMI waits. STGI lets it in, in the middle of your path's way back. An NMI does not
# use the stack it finds: it takes one from a table of the host's. Which register leads the CPU to that
# table, and whose is it?
#
# In the test, "+nmi" lets an NMI arrive in the window. Run it. If somebody dies, ask `hint()`, go back to
# `vcpu_enter_exit` and mend it. 2 points.

# %% points=2 test="nmi"
window = check.path(vcpu_load=save_gs_base, vcpu_enter_exit=vcpu_enter_exit)
check.survives(window, "kernel", "kernel+nmi", "kernel+nmi")
### BEGIN HIDDEN TESTS
check.survives_random(window, "kernel", "kernel+nmi", length=4, name="01 nmi")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 4: the whole path
#
# Besides the MSRs, a thread has selectors in FS and GS, and perhaps an LDT. KVM reads all of it in
# `svm_vcpu_load()`, once for each time that a vCPU is put on a CPU, and restores it in `svm_vcpu_put()`.
#
# The selectors are read with `cpu.mov_from_sreg("FS")` and `cpu.mov_from_sreg("GS")`, the LDT's with
# `cpu.sldt()`.


# %% exercise="vcpu_load"
def vcpu_load(cpu, vcpu):
    """Save the GS base, the selectors in FS and GS, the LDT's, and the ten MSRs."""
    ### BEGIN SOLUTION
    save_gs_base(cpu, vcpu)
    vcpu.host_fs = cpu.mov_from_sreg("FS")
    vcpu.host_gs = cpu.mov_from_sreg("GS")
    vcpu.host_ldt = cpu.sldt()
    save_host_msrs(cpu, vcpu)
    ### END SOLUTION


# %% [markdown]
# `svm_vcpu_put()` consisted of five pieces. Here they are, in no order:
#
# - `restore_host_msrs(cpu, vcpu)`;
# - `cpu.mov_to_sreg("FS", selector)`: loads FS, base included, from the selector's descriptor;
# - `cpu.lldt(selector)`: loads the LDT's place from its descriptor in the GDT;
# - `cpu.wrmsr(MSR.KERNEL_GS_BASE, thread_gs_base(cpu))`: the user's GS base, as the task structure has it;
# - `load_gs_index(cpu, selector)`: loads GS, base included, while the user's base is the active one.
#
# A selector may point into the GDT or into the LDT. Which piece overwrites what another one has written?


# %%
def thread_gs_base(cpu):
    """current->thread.gsbase: what the kernel noted of the user's GS base when it last switched threads."""
    return cpu.load(this_cpu_read(cpu, "current_task") + 0x18)


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    """Restore what vcpu_load saved, in an order in which nothing that you restore is lost again."""
    ### BEGIN SOLUTION
    cpu.lldt(vcpu.host_ldt)  # first: the selectors may point into it
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    cpu.wrmsr(MSR.KERNEL_GS_BASE, thread_gs_base(cpu))
    load_gs_index(cpu, vcpu.host_gs)
    restore_host_msrs(cpu, vcpu)  # last: a selector load writes a base
    ### END SOLUTION


# %% [markdown]
# After "user" the vCPU is put and its thread goes to user space. FS of this thread selects from its LDT.
# VMSAVE and VMLOAD are for the guest alone: the host's registers go one by one here. 4 points.

# %% points=4 test="put"
path = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
check.survives(path, "user", "kernel", "user+nmi", "user", host=Host(seed=34))
check.at_most(path, "user", VMSAVE=1, VMLOAD=1)
### BEGIN HIDDEN TESTS
check.survives_random(path, "user", "kernel", "user+nmi", length=5, name="01 put")
### END HIDDEN TESTS

# %% [markdown]
# Now two vCPUs on two CPUs: "@1" is on CPU 1, "#1" is the second vCPU. A vCPU that has to move is put on
# the old CPU and loaded on the new one. 2 points.

# %% points=2 test="migration"
path = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
moves = ("kernel", "kernel@1", "kernel#1", "kernel+nmi@1", "user#1", "user@1#1", "user", "user@1")
check.survives(path, *moves, host=Host(seed=34))
### BEGIN HIDDEN TESTS
check.survives_random(path, name="01 migration")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 5: the bill
#
# Nothing is free. The reference is KVM's path of 2020, on the price list `epyc-2020`. Yours may cost a few
# memory accesses more, but no whole instruction. 3 points.

# %% points=3 test="budget"
from svmlib.paths import legacy

path = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
check.within_budget(path, legacy)
### BEGIN HIDDEN TESTS
check.within_budget(path, legacy, name="01 budget")
### END HIDDEN TESTS

# %% [markdown]
# ## Bonus: something for nothing
#
# In all the years of the legacy path one of its instructions had no effect that lasted. Find it, and write
# a path without it. You may define new functions in this cell. 2 bonus points if it is correct and cheaper
# than KVM's.

# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
### BEGIN SOLUTION


def restore_once(cpu, vcpu):
    """The thread's GS base is written by restore_host_msrs, after load_gs_index; once is enough."""
    cpu.lldt(vcpu.host_ldt)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    load_gs_index(cpu, vcpu.host_gs)
    restore_host_msrs(cpu, vcpu)


cheaper = check.path(vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=restore_once)
### END SOLUTION

# %% bonus=2 expect=2 test="cheaper"
check.at_most(cheaper, "user", VMSAVE=1, VMLOAD=1)
won = check.beats(cheaper, legacy, points=2)
### BEGIN HIDDEN TESTS
if won:
    check.within_budget(cheaper, legacy, name="01 cheaper")
### END HIDDEN TESTS
won

# %% [markdown]
# ## In your own words
#
# Somebody tidies KVM up and moves `restore_host_msrs` to the beginning of `prepare_host_switch`, in front
# of the other pieces. Most threads of their host crash; a few never notice.
#
# Which registers are lost, by which instructions? Why those two and none of the other eight? And on which
# CPUs and threads does nobody notice? Five sentences are enough. 3 points, marked by hand.

# %% [markdown] points=3 answer="msrs_last"
# <!-- BEGIN SOLUTION -->
# FS.base is lost to the MOV to FS, and KernelGSBase, the thread's GS base, to the MOV to GS inside
# `load_gs_index`: between its two SWAPGS the thread's base is the active one. A selector load takes the
# base from the descriptor, which has only 32 bits of it, and a null selector clears it. The other eight
# MSRs belong to no segment, so no selector load touches them. Nobody notices where the load puts back the
# very base that was there: a thread whose base is the descriptor's. And on CPUs without
# NullSelectorClearsBase, before Zen 2, threads with null selectors, for there a null selector leaves the
# base alone.
# <!-- END SOLUTION -->
# <!-- BEGIN MARK SCHEME -->
# **Mark scheme**
#
# - 1 point: FS.base by the load of FS, and KernelGSBase by `load_gs_index` (MOV GS between the SWAPGS).
#   Half a point for one of the two with its instruction.
# - 1 point: the reason, that a selector load writes the segment's base, from a 32-bit descriptor field or
#   as 0 for a null selector; the other eight belong to no segment.
# - 1 point: a case in which nobody notices: base equal to the descriptor's (for instance 0), or a null
#   selector on a CPU that keeps the base. "Threads that do not use FS or GS" gets half a point.
# <!-- END MARK SCHEME -->
