# %% [markdown] difficulty="hard" minutes=40
# # 3 · Lazy restore: only what the kernel needs
#
# At the end you will have written the other design that was proposed in December 2020, measured, and not
# merged: after an exit only what the kernel itself needs comes back, and the rest when somebody in user
# space could look.
#
# Why it matters: laziness pays when the expensive step is often skipped. Whether it is, depends on who
# exits how often, and you will work out where the border lies. And lazy state has sharper edges: the host
# runs on with the guest's registers.
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
check.begin("03_lazy_restore_path", svmlib="0.1.0")

# %% [markdown]
# All that you need is imported here, each with a line on what it does.

# %%
from svmlib.kvm import Host  # a host to run on: its seed, and whether its kernel uses FSGSBASE
from svmlib.kvm import cpu_kernelmode_gs_base  # cpu_kernelmode_gs_base(cpu, n): CPU n's kernel GS base
from svmlib.kvm import per_cpu  # per_cpu(cpu, n, "save_area_pa"): CPU n's data, without GS
from svmlib.kvm import reload_tss  # reload_tss(cpu, vcpu): TR from the host's GDT, with LTR
from svmlib.kvm import static_cpu_has  # static_cpu_has(vcpu, "FSGSBASE"): whether the kernel uses it
from svmlib.kvm import svm_vcpu_run  # svm_vcpu_run(cpu, vcpu): STI, guest VMLOAD, VMRUN, guest VMSAVE, CLI
from svmlib.registers import MSR  # MSR.GS_BASE and the others: the numbers of the MSRs

hint = check.hint  # after a failed check, hint() tells more

# %% [markdown]
# **What you may use.** `cpu` has instructions, among them `cpu.wrgsbase(value)`,
# `cpu.wrmsr(MSR.GS_BASE, value)`, `cpu.vmsave(pa)` and `cpu.vmload(pa)`. `vcpu.cpu` is the number of the
# CPU that the vCPU is loaded on, and `vcpu.guest_state_loaded` a flag of yours, False at first. Between two
# calls only the fields of `vcpu` and memory remember.

# %% [markdown]
# ## Step 1: one base
#
# From STGI on the kernel needs its GS base, whatever else is the guest's. The value never changes: each CPU
# has one, for as long as the kernel runs. So nobody has to read it from a register, and nobody has to
# restore the other registers for it.
#
# Where does the kernel keep it, and how do you get there while GS is the guest's?

# %% [markdown]
# There are two instructions to write it. WRGSBASE is the faster one, but it is #UD unless the kernel has
# switched FSGSBASE on. Linux does so since 5.9 where the CPU has it, and `nofsgsbase` on its command line
# prevents it. Your path has to serve both kinds of host.


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    """Run the guest with svm_vcpu_run; put the GS base back by WRGSBASE, or by WRMSR without FSGSBASE.

    You come with GIF clear.  The caller does CLGI before and STGI after.
    """
    ### BEGIN SOLUTION
    gs_base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    if static_cpu_has(vcpu, "FSGSBASE"):
        cpu.wrgsbase(gs_base)
    else:
        cpu.wrmsr(MSR.GS_BASE, gs_base)
    # Step 2: TR is not GS, and an NMI after STGI needs it.
    reload_tss(cpu, vcpu)
    ### END SOLUTION


# %% [markdown]
# "kernel" is an exit that the kernel handles itself. The test has both kinds of host. The only VMLOAD
# allowed is the guest's. 3 points.

# %% points=3 test="gs_base"
window = check.path(vcpu_enter_exit=vcpu_enter_exit)
for fsgsbase in (True, False):
    check.survives(window, "kernel", "kernel", "kernel", host=Host(seed=1, fsgsbase=fsgsbase))
check.at_most(window, "kernel", "kernel", VMLOAD=1)
### BEGIN HIDDEN TESTS
check.survives_random(window, "kernel", length=4, name="03 gs_base")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 2: the visitor at STGI
#
# The message that proposed this path speaks of the GS base alone. In the next test, "+nmi" lets an NMI wait
# for STGI.
#
# Run it and read what happened. Then mend `vcpu_enter_exit`. 3 points.

# %% points=3 test="nmi"
window = check.path(vcpu_enter_exit=vcpu_enter_exit)
for fsgsbase in (True, False):
    check.survives(window, "kernel", "kernel+nmi", "kernel+nmi", host=Host(seed=1, fsgsbase=fsgsbase))
### BEGIN HIDDEN TESTS
check.survives_random(window, "kernel", "kernel+nmi", length=4, name="03 nmi")
check.at_most(window, "kernel", "kernel+nmi", VMLOAD=1)
### END HIDDEN TESTS

# %% [markdown]
# ## Step 3: the rest, later
#
# `prepare_switch_to_guest` is called before every entry, and on all but the first of a period the CPU still
# holds the **guest's** FS, LDTR and MSRs. When is the host's state there to be saved?
#
# `prepare_host_switch` is called when the vCPU is put. User space comes next, or another thread. One
# register that both can see is in no page of VMSAVE's: remember exercise 2.


# %% exercise="put"
def prepare_switch_to_guest(cpu, vcpu):
    """Save the host into the page of the CPU that the vCPU is on, while it is the host that is there."""
    ### BEGIN SOLUTION
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.guest_state_loaded = True
    ### END SOLUTION


def prepare_host_switch(cpu, vcpu):
    """Bring back all the rest, and end the period."""
    ### BEGIN SOLUTION
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)
    vcpu.guest_state_loaded = False
    ### END SOLUTION


# %% [markdown]
# One thread leaves for user space now and then, on both kinds of host. 4 points.

# %% points=4 test="put"
path = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
for fsgsbase in (True, False):
    host = Host(seed=34, fsgsbase=fsgsbase)
    check.survives(path, "user", "kernel", "kernel", "user+nmi", "user", "user", host=host)
check.at_most(path, "kernel", "kernel", VMLOAD=1)
### BEGIN HIDDEN TESTS
check.survives_random(path, "user", "kernel", "user+nmi", length=5, name="03 put")
### END HIDDEN TESTS

# %% [markdown]
# Now two vCPUs on two CPUs: "@1" is on CPU 1, "#1" is the second vCPU. A vCPU that has to move is put on
# the old CPU and loaded on the new one. 4 points.

# %% points=4 test="migration"
path = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
moves = ("kernel", "kernel@1", "kernel#1", "kernel+nmi@1", "user#1", "user@1#1", "user", "user@1")
check.survives(path, *moves, host=Host(seed=34))
### BEGIN HIDDEN TESTS
check.survives_random(path, name="03 migration")
### END HIDDEN TESTS

# %% [markdown]
# ## Step 4: the bill
#
# The reference is the proposal, on the price list `epyc-2020`. Yours may cost a few memory accesses more,
# but no whole instruction, on either kind of exit and of host. 3 points.

# %% points=3 test="budget"
from svmlib.paths import lazy

path = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
for fsgsbase in (True, False):
    check.within_budget(path, lazy, host=Host(seed=1, fsgsbase=fsgsbase))
### BEGIN HIDDEN TESTS
check.within_budget(path, lazy, name="03 budget")
### END HIDDEN TESTS

# %% [markdown]
# ## Bonus: lazier still
#
# The kernel knows the value of its GS base without reading it. Is there something else on the bill of an
# exit to user space that it reads although it could know? Write a path that does not. You may define new
# functions in this cell. 2 bonus points if it is correct, lazy, and cheaper than the proposal.

# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
### BEGIN SOLUTION


def save_without_reading(cpu, vcpu):
    """In the host TSC_AUX holds the CPU's number, for RDTSCP to tell, so nobody has to read it."""
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    vcpu.guest_state_loaded = True


def restore_what_is_known(cpu, vcpu):
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    cpu.wrmsr(MSR.TSC_AUX, vcpu.cpu)
    vcpu.guest_state_loaded = False


cheaper = check.path(
    prepare_switch_to_guest=save_without_reading,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=restore_what_is_known,
)
### END SOLUTION

# %% bonus=2 expect=2 test="cheaper"
check.at_most(cheaper, "kernel", "kernel", VMLOAD=1)
won = check.beats(cheaper, lazy, points=2)
### BEGIN HIDDEN TESTS
if won:
    check.within_budget(cheaper, lazy, name="03 cheaper")
### END HIDDEN TESTS
won

# %% [markdown]
# ## In your own words
#
# Your path against the one that was merged, on the price list of 2020, and against the form it has since
# 2023, which does without `reload_tss` (commit 0d3518d2f8c3). Every exit costs the first number more or
# less; an exit to user space adds the second.

# %%
from svmlib.costs import break_even
from svmlib.paths import vmload_before_stgi

for year, merged in {2020: vmload_before_stgi, 2023: vmload_before_stgi.since_2023}.items():
    found = break_even(check.bills(path), check.bills(merged))
    every, put = found.every_exit.nominal, found.each_put.nominal
    print(f"{year}: every exit {every:+.0f} ticks, to user space {put:+.0f} more; lazy wins {found}")

# %% [markdown]
# In December 2020 the two designs were measured on a guest whose every exit goes on to user space. The lazy
# one took 24 ticks less around each run of the guest, and 64 more on the way to user space. The clock moved
# in steps of 16 ticks.
#
# 1. Below which share of exits to user space does lazy pay, by these two numbers? How sure is that, from
#    two samples for each design?
# 2. What changed in 2023, and why could the lazy path not change with it?
# 3. The merged path was chosen. Defend the decision or overturn it, with a number and with a reason that is
#    none.
#
# Eight sentences are enough. 3 points, marked by hand.

# %% [markdown] points=3 answer="share"
# <!-- BEGIN SOLUTION -->
# With a share f of exits to user space, lazy costs −24 + 64·f ticks an exit, which is 0 at f = 24/64 =
# 0.375; below that it pays. The clock moved in steps of 16 ticks and there were two samples of each design,
# so both numbers may be off by several ticks and the border lies anywhere between about a fifth and six
# tenths; nothing is known of the spread between runs.
#
# In 2023 the merged path dropped `reload_tss`, for its VMLOAD loads TR on every exit. The lazy path has no
# VMLOAD before STGI, and an NMI would take its stack from the guest's TSS, so it has to keep the LTR. With
# an LTR of some 100 ticks on its side alone it is dearer on every exit, by 79 ticks on this price list; the
# price of LTR is assumed, but even 24 ticks are enough to eat the gain.
#
# I defend the decision. At best lazy gained 24 of some 1,370 ticks, below two per cent. And before STGI the
# merged path has the whole host back: no state of the guest's is left for code that runs later to trip
# over.
# <!-- END SOLUTION -->
# <!-- BEGIN MARK SCHEME -->
# **Mark scheme**
#
# - 1 point: 0.375 (or 37 %) with the calculation, and one reason to doubt it (two samples, steps of 16
#   ticks, one unnamed CPU, a workload at f = 1).
# - 1 point: the merged path dropped LTR because VMLOAD carries TR; lazy cannot, since an NMI after STGI
#   needs the host's TR; so lazy's gain on every exit is gone or becomes a loss.
# - 1 point: a position with one number (24 of about 1,370 ticks; the learner's own bill) and one reason
#   that is none: simplicity, no guest state after STGI, other CPUs. Overturning it is as good if it names a
#   share of exits and a CPU for which it holds.
# <!-- END MARK SCHEME -->
