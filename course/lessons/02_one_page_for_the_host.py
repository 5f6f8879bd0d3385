# %% [markdown] difficulty="moderate" minutes=25
# # 2 · One page for the host
#
# After this you can
#
# - explain why the address of the host's page has to be known before the guest is entered,
# - say what goes wrong when the host is saved too seldom, too often, or into the wrong CPU's page,
# - read a bill of two paths and say where the ticks went.
#
# Comes before the exercise [The VMSAVE/VMLOAD path](02_vmsave_vmload_path.ipynb). Start page: [Start
# here](00_start_here.ipynb).

# %%
try:
    from svmlib import check
except ModuleNotFoundError:
    message = "svmlib is not in this kernel: run `make course` in the course's folder and choose its kernel"
    raise ImportError(message) from None

check.begin("02_one_page_for_the_host", svmlib="0.1.0")

# %% [markdown]
# ## The patch of 10 December 2020
#
# VMSAVE and VMLOAD move in one instruction what the legacy path moves in some fifteen each way: FS, GS,
# TR and LDTR with their hidden parts, KernelGSBase, and the registers of SYSCALL and SYSENTER. KVM had
# always used them for the guest. Michael Roth of AMD proposed to use them for the host, too. After four
# versions it was merged for Linux 5.12, as commit e79b91bb3c91 and two more (553cc15f6e8d, a7fc06dd2f14).
#
# Each CPU has a page for this, the **host save page**. Linux takes the page that it has to reserve for
# VMRUN anyway: VMRUN keeps the host's other half there, or inside the processor, and their fields do not
# overlap.
#
# Nothing tells host from guest but the address that you pass.
#
# **Question.** What if a path passes the wrong one of its two pages, and saves the host into the guest's
# VMCB?

# %%
from svmlib.kvm import exits, run, svm_vcpu_run


def save_into_the_vmcb(cpu, vcpu):
    cpu.vmsave(vcpu.vmcb_pa)


mixed_up = run(check.path(prepare_switch_to_guest=save_into_the_vmcb), exits("kernel"))
print(mixed_up.violation)

# %% [markdown]
# The guest wakes up with the host's registers: it can read where the kernel keeps its per-CPU data and
# where SYSCALL enters it.
#
# ## The key is in the safe
#
# The page's address is per-CPU data: each CPU has its own. KVM reads per-CPU data through GS base.
#
# **Question.** This path fetches the address where it needs it, right before the host's VMLOAD. What
# happens?

# %%
from svmlib.kvm import this_cpu_read
from svmlib.views import show, stepper


def fetch_when_needed(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    save_area_pa = this_cpu_read(cpu, "save_area_pa")
    cpu.vmload(save_area_pa)


locked_out = run(check.path(vcpu_enter_exit=fetch_when_needed), exits("kernel"))
show(locked_out)

# %%
stepper(locked_out, registers=["GS.base", "TR", "FS.base", "LSTAR"], prices="epyc-2020")

# %% [markdown]
# To load GS base the path needs the page; to find the page it needs GS base. The versions of the patch
# and the years after tried four ways out:
#
# - v1 (10 December 2020) copied the fields that were needed at once out of the page, before the entry;
# - v2 (14 December 2020) kept a pointer to the page in the vCPU;
# - v3 (5 January 2021) put the address on the stack, and loaded in assembly; KVM came back to that in
#   2022;
# - v4 (2 February 2021), the one that was merged, kept the address in a local variable from before the
#   entry.
#
# Which do you like best? The exercise will ask you to choose.
#
# In 2022 the question came back. With the fixes for Retbleed came per-CPU reads between #VMEXIT and the
# return from assembly. The host's VMLOAD followed only after that return, in C. Hosts failed to boot.
# Commit e287bd005ad9 (Paolo Bonzini, November 2022) moved the VMLOAD into the assembly.
#
# ## How often to save
#
# The reference path of this design is in `svmlib.paths`. We use it here without looking at its source,
# and break it from outside: one function is replaced by one of ours, which calls the old one and spoils
# something.
#
# The path saves the host once a period, and remembers that in `vcpu.guest_state_loaded`. Version 3
# brought the flag.
#
# **Question.** Is the flag only there to save time? This path forgets it, so that every entry saves the
# host again.

# %%
from types import SimpleNamespace
from svmlib.paths import vmload_before_stgi as reference


def instead(**functions):
    return SimpleNamespace(**vars(reference) | functions)


def save_every_time(cpu, vcpu):
    vcpu.guest_state_loaded = False
    reference.prepare_switch_to_guest(cpu, vcpu)


too_often = run(instead(prepare_switch_to_guest=save_every_time), exits("kernel", "kernel", "user"))
print(too_often.violation)

# %%
stepper(too_often, only="path", registers=["TSC_AUX", "GS.base", "FS.base"], prices="epyc-2020")

# %% [markdown]
# Look at RDMSR TSC_AUX in the second entry: it reads the guest's number. VMSAVE has brought no harm,
# since VMLOAD had put its registers back. TSC_AUX is not among the 128 bytes; from the first entry to the
# end of the period it is the guest's, and whoever saves it a second time saves that.
#
# Besides, each VMSAVE costs 100 to 200 ticks, by the patch's author's estimate of 15 December 2020.
#
# ## How seldom
#
# **Question.** The other way round: the flag is never cleared, so the host is saved once and for all. The
# thread goes to user space twice. What will it find changed?


# %%
def keep_the_flag(cpu, vcpu):
    reference.prepare_host_switch(cpu, vcpu)
    vcpu.guest_state_loaded = True


too_seldom = run(instead(prepare_host_switch=keep_the_flag), exits("user", "user"))
print(too_seldom.violation)
print()
print(too_seldom.violation.detail)

# %% [markdown]
# The value is nobody's but the thread's own, from before. In user space it moved its FS base, as a thread
# may; the page still had the old one, and VMLOAD brought it back.
#
# ## Whose page
#
# A vCPU's thread can be moved to another CPU between two periods. There the page is another one.
#
# **Question.** This path does all that it should, and on CPU 1 it then loads the page of CPU 0. `user@1`
# is an exit on CPU 1. What does the kernel notice first?

# %%
from svmlib.kvm import per_cpu


def loads_page_0(cpu, vcpu):
    reference.vcpu_enter_exit(cpu, vcpu)
    if vcpu.cpu == 1:
        cpu.vmload(per_cpu(cpu, 0, "save_area_pa"))


elsewhere = run(instead(vcpu_enter_exit=loads_page_0), exits("user", "user@1"))
print(elsewhere.violation)

# %%
stepper(elsewhere, steps=elsewhere.exits[-1], registers=["GS.base", "TR", "FS.base"], prices="epyc-2020")

# %% [markdown]
# CPU 1 loaded CPU 0's GS base. Every value is a host's, and the wrong one: the stepper calls it
# *neither*, since neither this CPU's host nor a guest had it.
#
# ## What the 128 bytes leave out
#
# **Question.** This path ends a period by clearing the flag, and does nothing else. Who notices?


# %%
def only_the_flag(cpu, vcpu):
    vcpu.guest_state_loaded = False


print(run(instead(prepare_host_switch=only_the_flag), exits("kernel", "user")).violation)

# %% [markdown]
# Of the ten MSRs in KVM's list, one was left when the patch was in: TSC_AUX.
#
# ## The bill
#
# Here are both paths, by part: an exit that goes on to user space, with all that its period costs.

# %%
from svmlib.paths import legacy
from svmlib.views import compare_bars

paths = {"legacy": check.bills(legacy), "VMLOAD": check.bills(reference)}
compare_bars({name: bills["user"].by_part() for name, bills in paths.items()}, title="An exit to user space")

# %% [markdown]
# Saving and restoring shrink to a fraction. *Enter/exit* is about what it was: the path now pays a VMLOAD
# there on every exit, also on those that the kernel handles by itself. Was that a bad trade? The author
# feared so at first. You will compare these bills in the exercise.
#
# What was measured: KVM_RUN, the system call around it all, went from about 4600 to about 2800 ticks for
# a guest that does nothing but HLT, on an EPYC of unnamed model (commit e79b91bb3c91). UnixBench, netperf
# and kernel builds showed no noticeable difference. The numbers came with version 1 already, so they
# probably belong to that design and not to the merged one.
#
# ## The exit in one picture
#
# The merged path of 2021, with an NMI that waits for STGI. Compare it with the picture of the last
# lesson: what is the guest's when GIF becomes 1?

# %%
from svmlib.views import timeline

whole = run(reference, exits("kernel+nmi"))
timeline(whole)

# %% [markdown]
# Only TSC_AUX. All the rest has come back with one VMLOAD. The same exit step by step: is every step
# needed?

# %%
stepper(whole, only="path", registers=["GS.base", "TR", "FS.base", "LSTAR", "TSC_AUX"], prices="epyc-2020")

# %% [markdown]
# ## Three quick questions
#
# 1. Why does a local variable or the stack work where `this_cpu_read` does not?
#
# <details><summary>Answer</summary>
#
# Neither needs GS base. A local variable is in a register or on the stack, and the stack pointer is
# carried by VMRUN.
#
# </details>
#
# 2. Why must the host be saved again after every trip to user space?
#
# <details><summary>Answer</summary>
#
# User space may change what VMSAVE saves, its FS and GS bases for instance, and the thread may come back
# on another CPU.
#
# </details>
#
# 3. VMSAVE saves twelve things. Name one that a guest can change, that it does not save, and that the
#    path must restore.
#
# <details><summary>Answer</summary>
#
# TSC_AUX.
#
# </details>
#
# ---
#
# **Next:** the exercise [The VMSAVE/VMLOAD path](02_vmsave_vmload_path.ipynb)
