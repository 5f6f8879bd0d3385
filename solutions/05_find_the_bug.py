# %% [markdown] difficulty="hard" minutes=60
# # 5 · Find the bug
#
# At the end you will have found five bugs that real hypervisors had, or nearly had: for each the exits that
# kill the host or rob a guest, and then the fix.
#
# Why it matters: all five were read by several people before somebody noticed. Reading is not enough; you
# have to know what to throw at a path.
#
# 18 points: 15 by tests, 3 for a written answer. 2 bonus points beside them. The tests answer at once;
# grading repeats them on other hosts.

# %% [markdown]
# First a look at the kernel that runs this notebook: is the library there, and is it the right one?

# %%
try:
    from svmlib import check
except ModuleNotFoundError:
    message = "svmlib is not in this kernel: run `make course` in the course's folder and choose its kernel"
    raise ImportError(message) from None
check.begin("05_find_the_bug", svmlib="0.1.0")

# %% [markdown]
# All that you need is imported here, each with a line on what it does.

# %%
from svmlib.kvm import Host  # a host to run on
from svmlib.kvm import cpu_kernelmode_gs_base  # cpu_kernelmode_gs_base(cpu, n): CPU n's kernel GS base
from svmlib.kvm import exits, run  # run(path, exits("user", "kernel@1"), host): a run, for the stepper
from svmlib.kvm import per_cpu  # per_cpu(cpu, n, "save_area_pa"): CPU n's data, without GS
from svmlib.kvm import svm_vcpu_run  # svm_vcpu_run(cpu, vcpu): STI, guest VMLOAD, VMRUN, guest VMSAVE, CLI
from svmlib.kvm import this_cpu_read  # this_cpu_read(cpu, "tss_desc"): this CPU's data, by GS
from svmlib.kvm.hosts import host  # host("freebsd"): other kernels' hosts
from svmlib.kvm.percpu import this_cpu_write  # this_cpu_write(cpu, "fred_rsp0", value)
from svmlib.kvm import svm_ops  # svm_ops.vmsave(cpu, pa), .vmload(cpu, pa): see bug 3
from svmlib.registers import MSR  # MSR.FRED_RSP0 and the others: the numbers of the MSRs
from svmlib.views import stepper  # stepper(run(...)): every step of a run

hint = check.hint  # after a failed check, hint() tells more

# %% [markdown]
# **How to throw.** An answer is a list of exits. `kernel` is handled in the kernel, `user` goes to user
# space, `sched` ends the time slice. `@1` is on CPU 1, `#1` is the second vCPU. `+nmi`, `+intr`, `+mc`
# arrive while the guest runs; `+reboot` is the interrupt by which a rebooting machine stops this CPU. With
# `.12` behind it, an event comes when 12 steps of that exit are done.
#
# Each list here is too harmless. Make it kill.

# %% [markdown]
# The base of most of them is the path that was merged:


# %%
def save(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        vcpu.guest_state_loaded = True


def enter_exit(cpu, vcpu):
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)


# %%
def put(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.cpu)
    vcpu.guest_state_loaded = False


merged = check.path(prepare_switch_to_guest=save, vcpu_enter_exit=enter_exit, prepare_host_switch=put)
check.survives(merged, "kernel+nmi", "user", "kernel@1", "user#1")

# %% [markdown]
# ## Bug 1: a flag
#
# One line of the merged path is missing here.


# %%
def put_1(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.cpu)


path_1 = check.path(prepare_switch_to_guest=save, vcpu_enter_exit=enter_exit, prepare_host_switch=put_1)

# %% exercise="kill_1"
kill_1 = ["kernel", "kernel"]
### BEGIN SOLUTION
kill_1 = ["kernel", "kernel@1"]
### END SOLUTION

# %% [markdown]
# 1 point if it dies. `stepper(died_1)` shows how.

# %% points=1 test="kill_1"
### BEGIN HIDDEN TESTS
check.kills(path_1, kill_1, host=Host(seed=4))
### END HIDDEN TESTS
died_1 = check.kills(path_1, kill_1, host=Host(seed=1))


# %% exercise="mend_1"
def mended_1(cpu, vcpu):
    """Called when the vCPU is put: begin with a copy of put_1."""
    ### BEGIN SOLUTION
    cpu.wrmsr(MSR.TSC_AUX, vcpu.cpu)
    vcpu.guest_state_loaded = False
    ### END SOLUTION


# %% [markdown]
# 2 points.

# %% points=2 test="mend_1"
path = check.path(prepare_switch_to_guest=save, vcpu_enter_exit=enter_exit, prepare_host_switch=mended_1)
check.explored(path, Host(seed=1, vcpus=1), exits=2, periods=2, events=0, migrations=1)
### BEGIN HIDDEN TESTS
check.survives_random(path, runs=8, name="05 mend_1")
### END HIDDEN TESTS

# %% [markdown]
# ## Bug 2: two names of one page (January 2021)
#
# With **SME**, memory encryption, a physical address carries a bit that says "encrypted", the C-bit. In the
# model it is bit 39. The address from per-CPU data has it where the host uses SME. The third version of the
# patch computed the page's address anew when it saved:

# %%
C_BIT = 1 << 39


def save_2(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa") & ~C_BIT)
        vcpu.guest_state_loaded = True


path_2 = check.path(prepare_switch_to_guest=save_2, vcpu_enter_exit=enter_exit, prepare_host_switch=put)

# %% [markdown]
# This one depends on the host. Write the exits, and in `sme_2` whether the host uses SME.

# %% exercise="kill_2"
kill_2, sme_2 = ["user", "kernel+nmi"], False
### BEGIN SOLUTION
kill_2, sme_2 = ["kernel"], True
### END SOLUTION

# %% [markdown]
# 1 point if it dies.

# %% points=1 test="kill_2"
assert sme_2 in (True, False), "sme_2 is True or False, without quotes"
### BEGIN HIDDEN TESTS
check.kills(path_2, kill_2, host=Host(seed=4, sme=bool(sme_2)))
### END HIDDEN TESTS
died_2 = check.kills(path_2, kill_2, host=Host(seed=1, sme=bool(sme_2)))


# %% exercise="mend_2"
def mended_2(cpu, vcpu):
    """Called before every entry: begin with a copy of save_2."""
    ### BEGIN SOLUTION
    if not vcpu.guest_state_loaded:
        cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        vcpu.guest_state_loaded = True
    ### END SOLUTION


# %% [markdown]
# It has to be right with SME and without. 2 points.

# %% points=2 test="mend_2"
path = check.path(prepare_switch_to_guest=mended_2, vcpu_enter_exit=enter_exit, prepare_host_switch=put)
### BEGIN HIDDEN TESTS
check.survives_random(path, runs=8, name="05 mend_2")
check.survives(path, "user", "kernel@1", "user+nmi", "kernel", host=Host(seed=9, sme=True))
### END HIDDEN TESTS
for sme in (True, False):
    check.explored(path, Host(seed=1, vcpus=1, sme=sme), exits=2, periods=2, events=0, migrations=1)

# %% [markdown]
# ## Bug 3: the machine reboots (January 2021)
#
# When Linux reboots in an emergency, every CPU gets an interrupt that clears EFER.SVME. The thread that it
# interrupts goes on for a moment. KVM's SVM instructions have an entry in the **exception table**, so that
# their #UD is passed over then. A bare instruction has none; the third version of the patch had bare ones.
#
# Nothing is wrong with the merged path as it stands above, except that its instructions are bare.

# %%
path_3 = merged
stepper(run(path_3, exits("user"), Host(seed=1)), registers=["GS.base", "EFER"])

# %% [markdown]
# At which step may the interrupt come, and which instruction is it that faults? An interrupt does not come
# while IF or GIF is clear.

# %% exercise="kill_3"
kill_3 = ["user+reboot"]
### BEGIN SOLUTION
kill_3 = ["user+reboot.1"]
### END SOLUTION

# %% [markdown]
# 1 point if it dies.

# %% points=1 test="kill_3"
### BEGIN HIDDEN TESTS
check.kills(path_3, kill_3, host=Host(seed=4))
### END HIDDEN TESTS
died_3 = check.kills(path_3, kill_3, host=Host(seed=1))

# %% [markdown]
# `svm_ops` has VMSAVE and VMLOAD with their entry in the exception table. Mend what has to be mended.


# %% exercise="mend_3"
def mended_3_save(cpu, vcpu):
    """Called before every entry: begin with a copy of save."""
    ### BEGIN SOLUTION
    if not vcpu.guest_state_loaded:
        svm_ops.vmsave(cpu, per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        vcpu.guest_state_loaded = True
    ### END SOLUTION


def mended_3_enter_exit(cpu, vcpu):
    """Called with GIF clear: begin with a copy of enter_exit."""
    ### BEGIN SOLUTION
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    svm_ops.vmload(cpu, save_area_pa)
    ### END SOLUTION


# %% [markdown]
# The check lets the interrupt come at each of the first thirty steps. 2 points.

# %% points=2 test="mend_3"
path = check.path(
    prepare_switch_to_guest=mended_3_save, vcpu_enter_exit=mended_3_enter_exit, prepare_host_switch=put
)
check.survives_each(path, [f"user+reboot.{n}" for n in range(1, 31)], host=Host(seed=1))
### BEGIN HIDDEN TESTS
check.survives_each(path, [f"kernel+reboot.{n}" for n in range(1, 31)], host=Host(seed=4))
check.survives_random(path, runs=8, name="05 mend_3")
### END HIDDEN TESTS

# %% [markdown]
# ## Bug 4: another hypervisor (2013)
#
# **bhyve** is FreeBSD's hypervisor. It has no page for the host: GS base comes from a pointer, TR by LTR
# from the GDT, the SYSCALL MSRs when the loop ends. FreeBSD loads FS and the user's GS base itself on its
# way to user space. Until 2013 something was missing.

# %%
SYSCALL_MSRS = (MSR.LSTAR, MSR.CSTAR, MSR.STAR, MSR.SFMASK)
TSS_SELECTOR = 0x40


def load_4(cpu, vcpu):
    vcpu.host_msrs = [cpu.rdmsr(msr) for msr in SYSCALL_MSRS]


def put_4(cpu, vcpu):
    for msr, value in zip(SYSCALL_MSRS, vcpu.host_msrs, strict=True):
        cpu.wrmsr(msr, value)


# %%
def enter_exit_4(cpu, vcpu):
    pcpu, vmcb_pa = cpu_kernelmode_gs_base(cpu, vcpu.cpu), vcpu.vmcb_pa
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    cpu.vmsave(vmcb_pa)
    cpu.wrmsr(MSR.GS_BASE, pcpu)
    cpu.store(this_cpu_read(cpu, "tss_desc") + 5, 0x89, 1)  # the TSS is available, not busy
    cpu.ltr(TSS_SELECTOR)


# %%
path_4 = check.path(vcpu_load=load_4, vcpu_enter_exit=enter_exit_4, prepare_host_switch=put_4)
stepper(run(path_4, exits("kernel"), host("freebsd", seed=1)), registers=["GS.base", "TR", "LDTR", "LSTAR"])

# %% exercise="kill_4"
kill_4 = ["kernel+nmi"]
### BEGIN SOLUTION
kill_4 = ["user"]
### END SOLUTION

# %% [markdown]
# 1 point if something breaks.

# %% points=1 test="kill_4"
### BEGIN HIDDEN TESTS
check.kills(path_4, kill_4, host=host("freebsd", seed=4))
### END HIDDEN TESTS
died_4 = check.kills(path_4, kill_4, host=host("freebsd", seed=1))


# %% exercise="mend_4"
def mended_4(cpu, vcpu):
    """Called with GIF clear: begin with a copy of enter_exit_4."""
    ### BEGIN SOLUTION
    ldt = cpu.sldt()
    enter_exit_4(cpu, vcpu)
    cpu.lldt(ldt)
    ### END SOLUTION


# %% [markdown]
# 2 points.

# %% points=2 test="mend_4"
path = check.path(vcpu_load=load_4, vcpu_enter_exit=mended_4, prepare_host_switch=put_4)
### BEGIN HIDDEN TESTS
check.survives(path, "user+nmi", "kernel@1", "kernel#1", "user@1", host=host("freebsd", seed=9))
### END HIDDEN TESTS
check.explored(path, host("freebsd", seed=1, vcpus=1), exits=1, periods=2, migrations=0)
check.at_most(path, "kernel", "kernel", host=host("freebsd", seed=1), VMLOAD=1)

# %% [markdown]
# ## Bug 5: a register of tomorrow (2026)
#
# **FRED** replaces the IDT. With it, events from user space begin on the stack that the MSR **FRED_RSP0**
# names. VMRUN does not switch it. Patches of January 2026 write the guest's before the run and read it
# back after; the host's comes back lazily, on the way to user space, but only if the kernel believes that
# another value is in the register. What it believes is per-CPU data, `fred_rsp0`.


# %%
def enter_exit_5(cpu, vcpu):
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    cpu.wrmsr(MSR.FRED_RSP0, vcpu.fred_rsp0)
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)
    vcpu.fred_rsp0 = cpu.rdmsr(MSR.FRED_RSP0)


path_5 = check.path(
    carries=["FRED_RSP0"],
    prepare_switch_to_guest=save,
    vcpu_enter_exit=enter_exit_5,
    prepare_host_switch=put,
)

# %% exercise="kill_5"
kill_5 = ["kernel+nmi"]
### BEGIN SOLUTION
kill_5 = ["user"]
### END SOLUTION

# %% [markdown]
# 1 point if something breaks.

# %% points=1 test="kill_5"
### BEGIN HIDDEN TESTS
check.kills(path_5, kill_5, host=host("fred", seed=4))
### END HIDDEN TESTS
died_5 = check.kills(path_5, kill_5, host=host("fred", seed=1))


# %% exercise="mend_5"
def mended_5(cpu, vcpu):
    """Called with GIF clear: begin with a copy of enter_exit_5."""
    ### BEGIN SOLUTION
    enter_exit_5(cpu, vcpu)
    # fred_sync_rsp0(): what the kernel believes is what the register holds.
    this_cpu_write(cpu, "fred_rsp0", vcpu.fred_rsp0)
    ### END SOLUTION


# %% [markdown]
# 2 points.

# %% points=2 test="mend_5"
path = check.path(
    carries=["FRED_RSP0"],
    prepare_switch_to_guest=save,
    vcpu_enter_exit=mended_5,
    prepare_host_switch=put,
)
### BEGIN HIDDEN TESTS
check.survives(path, "user+nmi", "kernel@1", "kernel#1", "user@1", host=host("fred", seed=9))
### END HIDDEN TESTS
for seed in (1, 2):
    check.explored(path, host("fred", seed=seed, vcpus=1), exits=1, periods=2, migrations=0)

# %% [markdown]
# ## Bonus: saved once
#
# The host's half, says the author of this path, does not change while KVM runs. So one VMSAVE on each CPU
# is enough, for ever.


# %%
def save_6(cpu, vcpu):
    saved = vcpu.saved_on if vcpu.guest_state_loaded else []
    if vcpu.cpu not in saved:
        cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        vcpu.saved_on, vcpu.guest_state_loaded = [*saved, vcpu.cpu], True


path_6 = check.path(prepare_switch_to_guest=save_6, vcpu_enter_exit=enter_exit, prepare_host_switch=put_1)
check.survives(path_6, "kernel", "kernel+nmi", "kernel", host=Host(seed=1, vcpus=1))

# %% [markdown]
# One CPU and one vCPU are enough to break it. 2 bonus points if something does.

# %% exercise="kill_6"
kill_6 = ["kernel"]
### BEGIN SOLUTION
kill_6 = ["user", "user", "user"]
### END SOLUTION

# %% bonus=2 expect=2 test="kill_6"
### BEGIN HIDDEN TESTS
assert all("@" not in word and "#" not in word for word in kill_6), "one CPU and one vCPU are enough"
### END HIDDEN TESTS
died_6 = check.kills(path_6, kill_6, host=Host(seed=1, cpus=1, vcpus=1))
2

# %% [markdown]
# ## In your own words
#
# 1. Bugs 1 and 5 have the same shape. Say it in one sentence that names neither.
# 2. Bug 2 "seemed to work" for its author. On which machines, and why?
# 3. Which of the five would a test of a hundred random exits on one host have found, and which not?
#
# Six sentences are enough. 3 points, marked by hand.

# %% [markdown] points=3 answer="shape"
# <!-- BEGIN SOLUTION -->
# Something remembers what a register or a page holds, and the register or page changes without the memory
# being told.
#
# On every machine without memory encryption, where the C-bit is no bit of the address and both names are
# the same number. With SME the page was written under one key and read under another, and what came back
# was noise.
#
# Random exits on one Linux host find the flag as soon as a vCPU migrates. They find nothing of the second
# without SME, nothing of the third unless somebody reboots the machine, and nothing of the other two on
# a kernel that has neither bhyve nor FRED. What a test finds is decided by what it throws and on what.
# <!-- END SOLUTION -->
# <!-- BEGIN MARK SCHEME -->
# **Mark scheme**
#
# - 1 point: a cache or flag that is not told when what it describes changes.
# - 1 point: without SME both addresses are equal; with SME the aliases differ by the C-bit.
# - 1 point: at least two of the five told right, with what would have to be thrown at the others.
# <!-- END MARK SCHEME -->
