# %% [markdown] difficulty="hard" minutes=45
# # 4 · The GIF window
#
# At the end you will have killed three hosts, each with one event at one instruction, and mended two of
# them.
#
# Why it matters: a path can be right in every straight run and fatal all the same, if something arrives
# between two of its instructions. Such a machine dies once a month. Here you find the instruction before
# the month is over.
#
# 20 points: 17 by tests, 3 for a written answer. 2 bonus points beside them. The tests answer at once;
# grading repeats them on other hosts.

# %% [markdown]
# First a look at the kernel that runs this notebook: is the library there, and is it the right one?

# %%
try:
    from svmlib import check
except ModuleNotFoundError:
    message = "svmlib is not in this kernel: run `make course` in the course's folder and choose its kernel"
    raise ImportError(message) from None
check.begin("04_the_gif_window", svmlib="0.1.0")

# %% [markdown]
# All that you need is imported here, each with a line on what it does.

# %%
from svmlib.kvm import Host  # a host to run on: its seed, whether its kernel uses FSGSBASE, and more
from svmlib.kvm import exits, run  # run(path, exits("kernel+nmi.12"), host): a run, for the stepper
from svmlib.kvm import load_gs_index  # load_gs_index(cpu, selector): GS between two SWAPGS
from svmlib.kvm import per_cpu  # per_cpu(cpu, n, "save_area_pa"): CPU n's data, without GS
from svmlib.kvm import reload_tss  # reload_tss(cpu, vcpu): TR from the host's GDT, with LTR
from svmlib.kvm import svm_vcpu_run  # svm_vcpu_run(cpu, vcpu): STI, guest VMLOAD, VMRUN, guest VMSAVE, CLI
from svmlib.registers import MSR  # MSR.GS_BASE and the others: the numbers of the MSRs
from svmlib.views import stepper  # stepper(run(...)): every step of a run

hint = check.hint  # after a failed check, hint() tells more

# %% [markdown]
# **How to let something arrive.** `kernel+nmi` is an exit during which an NMI becomes pending while the
# guest runs. `kernel+nmi.12` lets it arrive when 12 steps of that exit are done, after the step that the
# stepper numbers 11, and so before step 12. `+intr` and `+mc` are an interrupt and a machine check. What
# arrives where the processor holds it back waits until it may come.
#
# **Three hosts.** Which form of the NMI's entry a kernel has makes a difference here:

# %%
with_fsgsbase = Host(seed=1, fsgsbase=True)  # the entry finds this CPU's base by LSL and loads it
without = Host(seed=1, fsgsbase=False)  # the entry looks at the sign of GS base, and swaps or not
summer_2020 = Host(seed=1, fsgsbase=True, nmi_cpu="rdpid")  # as the first, but the CPU's number is RDPID's

# %% [markdown]
# ## Path A: a shorter window
#
# While GIF is clear nothing gets in, not even an NMI, so the time from CLGI to STGI should be short. The
# author of path A moves the guest's VMLOAD out of it: what can be done before CLGI is done before.


# %%
def a_save(cpu, vcpu):
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    if not vcpu.guest_state_loaded:
        cpu.vmsave(save_area_pa)
        vcpu.guest_state_loaded = True
    vcpu.save_area_pa = save_area_pa
    cpu.vmload(vcpu.vmcb_pa)


# %% [markdown]
# The rest is the path of exercise 2, without the VMLOAD that has moved.


# %%
def a_enter_exit(cpu, vcpu):
    cpu.sti()
    cpu.vmrun(vcpu.vmcb_pa)
    cpu.vmsave(vcpu.vmcb_pa)
    cpu.cli()
    cpu.vmload(vcpu.save_area_pa)


def a_put(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.cpu)
    vcpu.guest_state_loaded = False


# %%
path_a = check.path(prepare_switch_to_guest=a_save, vcpu_enter_exit=a_enter_exit, prepare_host_switch=a_put)

# %% [markdown]
# In a straight run nothing is wrong with it, not even with an NMI that waits for STGI:

# %%
check.survives(path_a, "kernel", "kernel+nmi", "user", host=with_fsgsbase)

# %% [markdown]
# Step through one exit. At which steps is GIF set while something that an NMI needs is the guest's? Write
# the exit that kills this host.

# %% exercise="fatal_a"
fatal_a = "kernel+nmi"
### BEGIN SOLUTION
fatal_a = "kernel+nmi.11"
### END SOLUTION

# %%
stepper(run(path_a, exits("kernel"), with_fsgsbase), registers=["GS.base", "TR"])

# %% [markdown]
# 2 points if it dies. `stepper(died_a)` shows how.

# %% points=2 test="fatal_a"
### BEGIN HIDDEN TESTS
check.kills(path_a, fatal_a, host=Host(seed=4))
### END HIDDEN TESTS
died_a = check.kills(path_a, fatal_a, host=Host(seed=1))

# %% [markdown]
# Now mend path A. It should survive whatever arrives at whatever instruction, on both kinds of host, and
# execute no more VMLOADs than it does now: two on an exit.


# %% exercise="mend_a"
def mended_a_save(cpu, vcpu):
    """Called before every entry, with GIF set: begin with a copy of a_save."""
    ### BEGIN SOLUTION
    vcpu.save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    if not vcpu.guest_state_loaded:
        cpu.vmsave(vcpu.save_area_pa)
        vcpu.guest_state_loaded = True
    ### END SOLUTION


def mended_a_enter_exit(cpu, vcpu):
    """Called with GIF clear: begin with a copy of a_enter_exit."""
    ### BEGIN SOLUTION
    save_area_pa = vcpu.save_area_pa
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)
    ### END SOLUTION


# %% [markdown]
# The check lets an NMI, a machine check, an interrupt and an SMI arrive at every instruction where the
# processor would take them, with every kind of exit. 3 points.

# %% points=3 test="mend_a"
mended_a = check.path(
    prepare_switch_to_guest=mended_a_save,
    vcpu_enter_exit=mended_a_enter_exit,
    prepare_host_switch=a_put,
)
for fsgsbase in (True, False):
    host = Host(seed=1, fsgsbase=fsgsbase, vcpus=1)
    check.explored(mended_a, host, exits=2, periods=1, migrations=0)
check.at_most(mended_a, "kernel", "kernel", VMLOAD=2)
### BEGIN HIDDEN TESTS
check.explored_random(mended_a, name="04 mend_a", exits=1, periods=1)
check.survives_random(mended_a, runs=4, name="04 mend_a")
### END HIDDEN TESTS

# %% [markdown]
# ## Path B: tidied up
#
# Path B is KVM's of 2020, the one of exercise 1, after somebody has read it closely. When the vCPU is put,
# KVM writes KernelGSBase with WRMSR, then calls `load_gs_index`, which overwrites it, and then writes it
# again in the loop over its list of MSRs. The author of path B has left out the first of the three.

# %%
MSRS = [
    *(MSR.STAR, MSR.LSTAR, MSR.CSTAR, MSR.SFMASK, MSR.KERNEL_GS_BASE),
    *(MSR.FS_BASE, MSR.SYSENTER_CS, MSR.SYSENTER_ESP, MSR.SYSENTER_EIP, MSR.TSC_AUX),
]


def b_load(cpu, vcpu):
    vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)
    vcpu.host_fs, vcpu.host_gs = cpu.mov_from_sreg("FS"), cpu.mov_from_sreg("GS")
    vcpu.host_ldt = cpu.sldt()
    vcpu.host_user_msrs = [cpu.rdmsr(msr) for msr in MSRS]


# %%
def b_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    reload_tss(cpu, vcpu)


def b_put(cpu, vcpu):
    cpu.lldt(vcpu.host_ldt)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    load_gs_index(cpu, vcpu.host_gs)
    for msr, value in zip(MSRS, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)


# %%
path_b = check.path(vcpu_load=b_load, vcpu_enter_exit=b_enter_exit, prepare_host_switch=b_put)
check.survives(path_b, "user+nmi", "kernel+nmi", "user", host=without)

# %% [markdown]
# Again one event at one instruction kills a host, but only one kind of host. Which of the two, and when?
# Think of the sign of a base, and of whose it is. Write the exit, and the name of the host that
# it kills.

# %% exercise="fatal_b"
fatal_b, dies_b = "user+nmi", "with_fsgsbase"
### BEGIN SOLUTION
fatal_b, dies_b = "user+nmi.51", "without"
### END SOLUTION

# %%
stepper(run(path_b, exits("user"), without), registers=["GS.base", "KernelGSBase", "GS.hidden"])

# %% [markdown]
# 2 points if it dies.

# %% points=2 test="fatal_b"
assert dies_b in ("with_fsgsbase", "without"), 'dies_b is "with_fsgsbase" or "without", in quotes'
### BEGIN HIDDEN TESTS
check.kills(path_b, fatal_b, host=Host(seed=1, fsgsbase=dies_b == "with_fsgsbase", cpus=3, vcpus=1))
### END HIDDEN TESTS
died_b = check.kills(path_b, fatal_b, host=Host(seed=1, fsgsbase=dies_b == "with_fsgsbase"))

# %% [markdown]
# Mend it. It stays a path of the old kind: the only VMLOAD is the guest's.


# %% exercise="mend_b"
def mended_b_put(cpu, vcpu):
    """Called when the vCPU is put, with GIF set: begin with a copy of b_put."""
    ### BEGIN SOLUTION
    cpu.lldt(vcpu.host_ldt)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    # Between the two SWAPGS of load_gs_index this is the active base: a user's, so its sign says "swap".
    cpu.wrmsr(MSR.KERNEL_GS_BASE, vcpu.host_user_msrs[MSRS.index(MSR.KERNEL_GS_BASE)])
    load_gs_index(cpu, vcpu.host_gs)
    for msr, value in zip(MSRS, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)
    ### END SOLUTION


# %% [markdown]
# 4 points.

# %% points=4 test="mend_b"
mended_b = check.path(vcpu_load=b_load, vcpu_enter_exit=b_enter_exit, prepare_host_switch=mended_b_put)
for fsgsbase in (True, False):
    host = Host(seed=1, fsgsbase=fsgsbase, vcpus=1)
    check.explored(mended_b, host, exits=2, periods=1, migrations=0)
check.at_most(mended_b, "user", "user", VMLOAD=1)
### BEGIN HIDDEN TESTS
check.explored_random(mended_b, name="04 mend_b", exits=1, periods=1)
check.survives_random(mended_b, runs=4, name="04 mend_b")
### END HIDDEN TESTS

# %% [markdown]
# ## Path C: nothing to see
#
# Path C is the one that was merged: VMLOAD before STGI. On today's kernels it is safe. In the summer of
# 2020 the NMI's entry asked RDPID for the number of its CPU, to find that CPU's base in a table. RDPID
# reads TSC_AUX.


# %%
def c_save(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        vcpu.guest_state_loaded = True


def c_enter_exit(cpu, vcpu):
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)


def c_put(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.cpu)
    vcpu.guest_state_loaded = False


# %%
path_c = check.path(prepare_switch_to_guest=c_save, vcpu_enter_exit=c_enter_exit, prepare_host_switch=c_put)

# %% [markdown]
# Write an exit that kills `summer_2020`.

# %% exercise="fatal_c"
fatal_c = "kernel"
### BEGIN SOLUTION
fatal_c = "kernel+nmi"
### END SOLUTION

# %% [markdown]
# 2 points if it dies.

# %% points=2 test="fatal_c"
### BEGIN HIDDEN TESTS
check.kills(path_c, fatal_c, host=Host(seed=4, nmi_cpu="rdpid"))
### END HIDDEN TESTS
died_c = check.kills(path_c, fatal_c, host=Host(seed=1, nmi_cpu="rdpid"))

# %% [markdown]
# ## Which of them survive what?
#
# Say it for all: does the path survive whatever arrives, on each of the three hosts? Path D is the lazy
# path of exercise 3 with two lines exchanged, LTR before the GS base. Decide before you let anything run.


# %%
def d_enter_exit(cpu, vcpu):
    gs_base = cpu.rdmsr(MSR.GS_BASE)
    svm_vcpu_run(cpu, vcpu)
    reload_tss(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, gs_base)


def d_put(cpu, vcpu):
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    cpu.wrmsr(MSR.TSC_AUX, vcpu.cpu)
    vcpu.guest_state_loaded = False


# %%
path_d = check.path(prepare_switch_to_guest=c_save, vcpu_enter_exit=d_enter_exit, prepare_host_switch=d_put)

# %% exercise="survives"
#               with_fsgsbase, without, summer_2020
survives = {
    "A": (None, None, None),
    "B": (None, None, None),
    "C": (None, None, None),
    "D": (None, None, None),
}
### BEGIN SOLUTION
survives = {
    "A": (False, False, False),
    "B": (True, False, False),
    "C": (True, True, False),
    "D": (True, True, False),
}
### END SOLUTION

# %% [markdown]
# One point for each path of which all three are right: 4 points.

# %% points=4 test="survives"
given = {"A": path_a, "B": path_b, "C": path_c, "D": path_d}
hosts = [Host(seed=1, fsgsbase=with_it, vcpus=1) for with_it in (True, False)]
hosts.append(Host(seed=1, vcpus=1, nmi_cpu="rdpid"))
right = 0
### BEGIN HIDDEN TESTS
assert isinstance(survives, dict), "survives is a dict, one line a path, A to D"
### END HIDDEN TESTS
for name, one in given.items():
    said = survives.get(name)
    if not isinstance(said, (tuple, list)) or len(said) != 3:
        print(name, "needs three of True and False, as in (True, True, False)")
        continue
    found = [check.is_safe(one, host, exits=1, periods=1, migrations=0) for host in hosts]
    right += found == list(said)
    print(name, "right" if found == list(said) else "not all three right")
right

# %% [markdown]
# ## Bonus: the shortest window
#
# Path A's wish was not a bad one. How short can the window be? Write a path that is safe on both kinds of
# host and executes fewer instructions between CLGI and STGI than the merged one with its `svm_vcpu_run`,
# loads and stores of `vcpu` and memory counted. 2 bonus points.

# %% exercise="shortest"
shortest = check.path(
    prepare_switch_to_guest=mended_a_save,
    vcpu_enter_exit=mended_a_enter_exit,
    prepare_host_switch=a_put,
)
### BEGIN SOLUTION


def only_the_switch(cpu, vcpu):
    """Both addresses are fields, so that nothing is looked up while GIF is clear."""
    save_area_pa, vmcb_pa = vcpu.save_area_pa, vcpu.vmcb_pa
    cpu.sti()
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    cpu.vmsave(vmcb_pa)
    cpu.cli()
    cpu.vmload(save_area_pa)


shortest = check.path(
    prepare_switch_to_guest=mended_a_save, vcpu_enter_exit=only_the_switch, prepare_host_switch=a_put
)
### END SOLUTION

# %% bonus=2 expect=2 test="shortest"
### BEGIN HIDDEN TESTS
check.survives_random(shortest, runs=5, name="04 shortest")
### END HIDDEN TESTS
from svmlib.paths import vmload_before_stgi

check.shorter_window(shortest, vmload_before_stgi.since_2023, points=2)

# %% [markdown]
# ## In your own words
#
# 1. KVM wrote a register with WRMSR, although the next function overwrote it and a loop after that wrote it
#    once more. What was that first write for? On which hosts could it have been left out?
# 2. Path C was mended in the entry of the NMI (LSL instead of RDPID), in the summer of 2020, and not in
#    KVM. What would it have taken to mend it in the path, and why would that not have been enough?
# 3. Path A shortens the time in which nothing can arrive. Is there a harm in a long window at all?
#
# Eight sentences are enough. 3 points, marked by hand.

# %% [markdown] points=3 answer="window"
# <!-- BEGIN SOLUTION -->
# Between the two SWAPGS of `load_gs_index` the kernel runs with what was in KernelGSBase as its GS base. An
# NMI that arrives there on a host without FSGSBASE looks at the sign: a user's base is not negative, so it
# swaps and is right. After a guest's run KernelGSBase is the guest's, and a guest kernel may have put a
# negative base there; then the NMI takes the guest's base for the kernel's. The first WRMSR puts a user's
# base there before the window opens. With FSGSBASE the entry looks at no sign, and the write could be left
# out.
#
# A path would have to put the host's TSC_AUX back before STGI and the guest's in after CLGI: two WRMSR on
# every exit. It would still not be enough: KVM writes the guest's value before the first entry, with GIF
# set, and does so outside of the path. The register was not the kernel's to rely on; the entry had to stop.
#
# While GIF is clear an NMI or a machine check waits, and so does the interrupt that should have stopped a
# thread. A long window is latency, not danger; a short one that opens too early is danger.
# <!-- END SOLUTION -->
# <!-- BEGIN MARK SCHEME -->
# **Mark scheme**
#
# - 1 point: the sign test, KernelGSBase of the guest's that is negative, and that only hosts without
#   FSGSBASE need the write.
# - 1 point: TSC_AUX before STGI costs two WRMSR an exit, and one reason why that is not enough (the guest's
#   value is loaded with GIF set; #MC and NMI may come at any time outside of the window).
# - 1 point: events wait while GIF is clear: latency, say of a watchdog's NMI, not damage.
# <!-- END MARK SCHEME -->
