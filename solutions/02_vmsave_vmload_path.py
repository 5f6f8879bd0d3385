# %% [markdown] difficulty="moderate" minutes=35
# # 2 · VMSAVE and VMLOAD: the host in one page
#
# At the end you will have written the path that was merged for Linux 5.12: one VMSAVE saves the host, and
# one VMLOAD after every exit brings it back.
#
# Why it matters: the path of exercise 1 costs some twenty-two MSR accesses for each way back to user space.
# This one is shorter, faster, and nothing of the guest is left when interrupts come back. It has its own
# ways to go wrong.
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
check.begin("02_vmsave_vmload_path", svmlib="0.1.0")

# %% [markdown]
# All that you need is imported here, each with a line on what it does.

# %%
from svmlib.kvm import Host  # a host to run on, chosen by its seed
from svmlib.kvm import per_cpu  # per_cpu(cpu, n, "save_area_pa"): CPU n's data, without GS
from svmlib.kvm import reload_tss  # reload_tss(cpu, vcpu): TR from the host's GDT, with LTR
from svmlib.kvm import svm_vcpu_run  # svm_vcpu_run(cpu, vcpu): STI, guest VMLOAD, VMRUN, guest VMSAVE, CLI
from svmlib.kvm import this_cpu_read  # this_cpu_read(cpu, "save_area_pa"): this CPU's data, through GS
from svmlib.registers import MSR  # MSR.LSTAR and the others: the numbers of the MSRs
from svmlib.registers import carried_by  # carried_by("VMSAVE"): names of the registers that VMSAVE stores

hint = check.hint  # after a failed check, hint() tells more

# %% [markdown]
# **What you may use.** `cpu` has instructions: `cpu.vmsave(pa)` stores into the page at that physical
# address, `cpu.vmload(pa)` loads from it. `vcpu.cpu` is the number of the CPU that the vCPU is loaded on.
# `vcpu.guest_state_loaded` is a flag of yours, False at first. Between two calls only the fields of `vcpu`
# and memory remember.

# %% [markdown]
# ## Step 1: save the host, once
#
# Every CPU has a page for its host's state. The kernel keeps its address in per-CPU data, under the name
# `save_area_pa`.
#
# `prepare_switch_to_guest` is called before **every** entry. A vCPU often enters a thousand times before it
# goes back to user space, and its thread changes nothing meanwhile. How often does the host have to be
# saved? (`svm_prepare_guest_switch()`, commit a7fc06dd2f14.)


# %% exercise="prepare_switch_to_guest"
def prepare_switch_to_guest(cpu, vcpu):
    """Save the host with cpu.vmsave into the page of the CPU that the vCPU is on, once in a period.

    A period lasts until the vCPU is put; vcpu.guest_state_loaded says whether one has begun.
    """
    ### BEGIN SOLUTION
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(this_cpu_read(cpu, "save_area_pa"))  # GS is still the host's
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)  # step 3: VMSAVE does not store it
    vcpu.guest_state_loaded = True
    ### END SOLUTION


# %% [markdown]
# The test saves, lets a guest overwrite what VMSAVE stores, and loads this CPU's page. 4 points.


# %% points=4 test="save"
def load_this_page(cpu, vcpu):
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))


check.restores(prepare_switch_to_guest, load_this_page, carried_by("VMSAVE"))
check.once_a_period(prepare_switch_to_guest, "VMSAVE")
### BEGIN HIDDEN TESTS
check.restores(prepare_switch_to_guest, load_this_page, carried_by("VMSAVE"), runs=8, name="02 save")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 2: bring it back before STGI
#
# Until STGI nobody interrupts you, so there is time for one instruction that brings everything back: FS,
# GS, TR, LDTR and the MSRs of SYSCALL and SYSENTER.
#
# VMLOAD wants the page's address. When you need it, GS is the guest's. Who still knows the address then?
#
# And the guest's VMSAVE is still to come when VMRUN returns. What would it store if the host's VMLOAD came
# first?

# %% [markdown]
# After the VMLOAD, KVM went on with `reload_tss(cpu, vcpu)`, as on every exit in the years before (commit
# e79b91bb3c91). So does your path.


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    """Run the guest with svm_vcpu_run; bring the host back with cpu.vmload; then reload_tss.

    You come with GIF clear.  The caller does CLGI before and STGI after.
    """
    ### BEGIN SOLUTION
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")  # before VMRUN, or after it: per_cpu needs no GS
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)
    reload_tss(cpu, vcpu)
    ### END SOLUTION


# %% [markdown]
# "kernel" is an exit that the kernel handles itself, "+nmi" an NMI that waits for STGI, "@1" the second
# CPU. 4 points.

# %% points=4 test="window"
window = check.path(prepare_switch_to_guest=prepare_switch_to_guest, vcpu_enter_exit=vcpu_enter_exit)
check.survives(window, "kernel", "kernel+nmi", "kernel")
check.survives(window, "kernel@1", "kernel+nmi@1", "kernel@1")
### BEGIN HIDDEN TESTS
check.survives_random(window, "kernel", "kernel+nmi", length=4, name="02 window")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 3: what VMLOAD does not carry
#
# Ten MSRs were on the list of exercise 1. Nine of them are in VMSAVE's page. `carried_by("VMSAVE")` names
# what is; look for the one that is not.
#
# It can wait until user space looks. Save it where the host is saved: go back to `prepare_switch_to_guest`
# and add it there. Restore it when the vCPU is put, and end the period (`svm_prepare_host_switch()`).


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    """Restore what VMLOAD has not brought back, and end the period."""
    ### BEGIN SOLUTION
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)
    vcpu.guest_state_loaded = False
    ### END SOLUTION


# %% [markdown]
# One thread, on one CPU, leaves for user space again and again. 3 points.

# %% points=3 test="put"
path = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
check.survives(path, "user", "kernel", "user+nmi", "user", "user", host=Host(seed=34))
### BEGIN HIDDEN TESTS
check.survives_random(path, "user", "kernel", "user+nmi", length=5, name="02 put")
### END HIDDEN TESTS

# %% [markdown]
# Now two vCPUs on two CPUs: "@1" is on CPU 1, "#1" is the second vCPU. A vCPU that has to move is put on
# the old CPU and loaded on the new one. 3 points.

# %% points=3 test="migration"
path = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
moves = ("kernel", "kernel@1", "kernel#1", "kernel+nmi@1", "user#1", "user@1#1", "user", "user@1")
check.survives(path, *moves, host=Host(seed=34))
### BEGIN HIDDEN TESTS
check.survives_random(path, name="02 migration")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 4: the bill
#
# The reference is the path as it was merged, on the price list `epyc-2020`. Yours may cost a few memory
# accesses more, but no whole instruction, on either kind of exit. 3 points.

# %% points=3 test="budget"
from svmlib.paths import vmload_before_stgi

path = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
check.within_budget(path, vmload_before_stgi)
### BEGIN HIDDEN TESTS
check.within_budget(path, vmload_before_stgi, name="02 budget")
### END HIDDEN TESTS

# %% [markdown]
# ## Bonus: two years later
#
# The path as it was merged does something twice on every exit. It took until 2023 that a patch removed one
# of the two. Find it, and write a path without it. You may define new functions in this cell. 2 bonus
# points if it is correct and cheaper than the one merged.

# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
### BEGIN SOLUTION


def enter_exit_without_ltr(cpu, vcpu):
    """VMLOAD has loaded TR with its hidden part, so there is nothing to reload (commit 0d3518d2f8c3)."""
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)


cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=enter_exit_without_ltr,
    prepare_host_switch=prepare_host_switch,
)
### END SOLUTION

# %% bonus=2 expect=2 test="cheaper"
won = check.beats(cheaper, vmload_before_stgi, points=2)
### BEGIN HIDDEN TESTS
if won:
    check.within_budget(cheaper, vmload_before_stgi, name="02 cheaper")
### END HIDDEN TESTS
won

# %% [markdown]
# ## In your own words
#
# Two bills of an in-kernel exit: the legacy path's, and yours.

# %%
from svmlib.paths import legacy

print(check.bills(legacy)["kernel"])
print(check.bills(path)["kernel"])

# %% [markdown]
# When the patch was first discussed, its author feared for exits that the kernel handles itself, such as
# those of a guest with a fast network card: the host's VMLOAD would now be paid on every one of them.
#
# Does it make them dearer? Answer with numbers from the two bills: which instruction goes, which comes,
# what each costs and how well that is known. And say what the bills cannot tell. Six sentences are enough.
# 3 points, marked by hand.

# %% [markdown] points=3 answer="in_kernel_exits"
# <!-- BEGIN SOLUTION -->
# Nominally not: an in-kernel exit costs 1,477 ticks instead of 1,542. One WRMSR to GS_BASE goes, 132 ticks
# and between 65 and 140; one VMLOAD comes, 64 ticks and between 48 and 80; two loads find the page's
# address and one of a field goes. VMRUN, the guest's own VMLOAD and VMSAVE and LTR are on both bills and
# cancel out. Both prices are derived from few published numbers, and their intervals overlap: a VMLOAD of
# 80 is dearer than a WRMSR of 65, so the bills alone do not prove it. They fit what the author reported
# after measuring, that dropping the WRMSR cancels the overhead of the VMLOAD. They cannot tell about other
# CPUs, where WRMSR to GS_BASE may not serialise, nor about a page that is not in the cache; on some other
# machine VMLOAD was timed at 300 ticks, and with that price the author would have been right. Only a
# measurement of such exits on the machine in question decides.
# <!-- END SOLUTION -->
# <!-- BEGIN MARK SCHEME -->
# **Mark scheme**
#
# - 1 point: both totals, or their difference, from the learner's own bills, and the conclusion that follows
#   from them.
# - 1 point: the exchange behind it: one WRMSR of GS_BASE against one VMLOAD, both prices with interval or
#   label. Full marks, too, where the learner's path has no LTR, if that is said.
# - 1 point: a limit of the answer: overlapping intervals, few samples, another CPU, cold memory. "One would
#   have to measure" without saying what is half a point.
# <!-- END MARK SCHEME -->
