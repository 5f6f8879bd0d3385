# %% [markdown] difficulty="hard" minutes=30
# # 4 · What waits for STGI
#
# After this you can
#
# - tell which events CLI holds back, which CLGI does, and which nothing does,
# - explain how an NMI finds its stack and its CPU's data, in both forms of the kernel's entry,
# - hand a path to the explorer and read the story of how a host dies.
#
# Comes before the exercise [The GIF window](04_the_gif_window.ipynb). Start page: [Start
# here](00_start_here.ipynb).

# %%
try:
    from svmlib import check
except ModuleNotFoundError:
    message = "svmlib is not in this kernel: run `make course` in the course's folder and choose its kernel"
    raise ImportError(message) from None

check.begin("04_what_waits_for_stgi", svmlib="0.1.0")

# %% [markdown]
# ## Two flags and what passes them
#
# RFLAGS.**IF** holds back interrupts (INTR), and only those; CLI and STI change it. **GIF** holds back
# INTR, and NMI, SMI, INIT and machine checks (#MC) as well; CLGI and STGI change it, VMRUN sets it for the
# guest, and #VMEXIT clears it. (That a machine check waits is known here from a kernel developer's mail
# only.) Exceptions of the code itself, such as a page fault, wait for neither.
#
# Here an event comes in the middle of an exit, when 23 steps of it are done. That is inside the window: the
# guest has just left and VMSAVE is still to come, GIF is 0, and GS base is the guest's.
#
# **Question.** After which instruction is each of the three taken?

# %%
from svmlib.kvm import exits, run
from svmlib.paths import vmload_before_stgi


def taken(word):
    trace = run(vmload_before_stgi, exits(word, "kernel")).trace
    came = {"nmi": "NMI", "mc": "#MC", "intr": "INTR"}[word.split("+")[1].split(".")[0]]
    at = next(number for number, step in enumerate(trace) if step.event == came)
    return f"comes after step 22, {trace[22].event}; is taken after step {at - 1}, {trace[at - 1].event}"


for word in ("kernel+nmi.23", "kernel+mc.23", "kernel+intr.23"):
    print(f"{word:15}", taken(word))

# %% [markdown]
# NMI and #MC come with STGI, the interrupt with STI, and one instruction late: STI has a **shadow**, in
# which interrupts still wait. So two moments decide. At STGI everything has to be there that an NMI needs;
# at STI, what an interrupt needs.
#
# ## What an NMI needs
#
# 1. **A stack.** The NMI's gate in the IDT names an entry of the TSS, one of those called IST, and the
#    stack is what lies there. The processor finds the TSS through TR. Nobody asks the kernel.
# 2. **Its CPU's data.** Whatever the handler does, it does for this CPU: GS base.
#
# An NMI may come at any instruction, also right after SYSCALL, when GS base is still the user's, or between
# the two SWAPGS of `load_gs_index`. So its entry cannot simply use GS base as an interrupt from the kernel
# does. There are two forms of it:
#
# - **Without FSGSBASE** it reads GS base with RDMSR. A **negative** number is the kernel's: it goes on. For
#   any other it executes SWAPGS, and again on the way out.
# - **With FSGSBASE** it asks for its CPU's number (by LSL, which reads the limit of a descriptor), looks up
#   that CPU's base in a table and writes it with WRGSBASE. On the way out it puts back what it found.
#
# Addresses of the kernel are in the upper half, so its bases are negative as signed numbers, and user
# space cannot have one there.
#
# **Question.** A guest can have one anywhere; its kernel lives in the upper half as well. This path brings
# TR back and not GS base, and an NMI waits for STGI. Which of the two forms survives it?

# %%
from svmlib.kvm import Host, reload_tss, svm_vcpu_run
from svmlib.paths import lazy


def tr_alone(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    reload_tss(cpu, vcpu)


no_gs = check.path(vcpu_enter_exit=tr_alone)
for fsgsbase in (False, True):
    print("with FSGSBASE: " if fsgsbase else "without:  ", end="")
    print(run(no_gs, exits("kernel+nmi"), Host(seed=1, fsgsbase=fsgsbase)).violation)

# %% [markdown]
# Without FSGSBASE the entry looked at the guest's GS base and found it not negative. So it swapped, and had
# the guest's KernelGSBase. (A negative one it would have taken for the kernel's.)
#
# The second form took its NMI well, and put back what it had found. So the host died nevertheless, at the
# kernel's own next look at its per-CPU data, for which it uses GS base as it is.
#
# So FSGSBASE makes an NMI safe that would be deadly otherwise. Whether a path is right depends on the
# kernel around it, and nobody runs a path on all kernels, with an event at every instruction. Except a
# machine that has nothing else to do.
#
# ## The explorer
#
# `explore` gets a path and a host. It tries every order of exits within bounds, and lets an NMI, a machine
# check, an interrupt and an SMI arrive after every instruction at which the processor would take one. It
# returns the shortest story of how the host dies, or says that there is none within these bounds.

# %%
from svmlib.explorer import Bounds, explore

print(explore(no_gs))

# %% [markdown]
# Shortest means: no event was needed. Now a path that is right in all straight runs, the lazy one, but with
# TR brought back when the vCPU is put.

# %%
from types import SimpleNamespace
from svmlib.kvm import cpu_kernelmode_gs_base


def gs_alone(cpu, vcpu):
    gs_base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    cpu.wrgsbase(gs_base)


late_tr = SimpleNamespace(**vars(lazy) | {"vcpu_enter_exit": gs_alone})
check.survives(late_tr, "kernel", "kernel", "user")
died = explore(late_tr)
print(died)

# %% [markdown]
# **Question.** The NMI waits for STGI and dies there. Where else could one have arrived and been harmless?
# Step through the counterexample; it is a run like any other.

# %%
from svmlib.views import stepper

stepper(died.run, registers=["GS.base", "TR", "KernelGSBase", "TSC_AUX"])

# %% [markdown]
# Everywhere before CLGI: there TR is the host's. From the guest's VMLOAD on it is not, and with this path
# not before vcpu_put.
#
# ## No counterexample
#
# The lazy path as it was proposed, with its LTR:

# %%
bounds = Bounds(exits=2, periods=2, events=1, migrations=0)
print(bounds)
print(explore(lazy, Host(seed=1, fsgsbase=False, vcpus=1), bounds))

# %% [markdown]
# A **state** is what machine and path hold between two exits; a **schedule** is a list of exits with the
# events in it. Complete means that all of them were tried: two entries to a period, two periods, one event
# anywhere. It says nothing of three. But a path that remembers no more than a flag has rarely anything left
# to surprise with.
#
# ## An NMI between two SWAPGS
#
# The trickiest place is none of the window's. `load_gs_index` swaps, loads the selector, swaps back, with
# GIF set. In between, GS base is the user's.
#
# **Question.** Here an NMI arrives after the first SWAPGS, on a host without FSGSBASE. What does its entry
# read, and what does it do? Follow GS base through the next six steps.

# %%
from svmlib.paths import legacy

old_host = Host(seed=1, fsgsbase=False)
steps = [step.event for step in run(legacy, exits("user"), old_host).trace]
first_swap = steps.index("SWAPGS")
between = run(legacy, exits(f"user+nmi.{first_swap + 1}"), old_host)
stepper(between, steps=range(first_swap - 2, first_swap + 10), registers=["GS.base", "KernelGSBase"])

# %% [markdown]
# RDMSR reads a number that is not negative, so the entry swaps once more and has the kernel's base; on the
# way out it swaps back. It works because what the first SWAPGS fetched from KernelGSBase is a *user's* base.
#
# Whose base lies in KernelGSBase right after a guest has run? And which of the legacy path's instructions
# sees to it that the answer is no longer "the guest's" when the window opens? That is part of the exercise.
#
# ## Three quick questions
#
# 1. GIF is 0 and the guest's GS base is loaded. A page fault happens. Does it wait?
#
# <details><summary>Answer</summary>
#
# No. Exceptions do not wait for GIF. The handler runs with the guest's GS base, and the host dies.
#
# </details>
#
# 2. Why does an NMI not just use GS base, as an interrupt does that comes while the kernel runs?
#
# <details><summary>Answer</summary>
#
# An interrupt that comes while the kernel runs comes where IF is set, and there the kernel keeps its own
# base loaded. An NMI comes anywhere, between SYSCALL and SWAPGS, too.
#
# </details>
#
# 3. The explorer says "complete for these bounds". What has it not tried?
#
# <details><summary>Answer</summary>
#
# Longer periods, more events, more CPUs than the bounds say, other hosts than the one it was given, and
# whatever the model itself does not have.
#
# </details>
#
# ---
#
# **Next:** the exercise [The GIF window](04_the_gif_window.ipynb)
