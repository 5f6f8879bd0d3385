# %% [markdown] difficulty="hard" minutes=30
# # 3 · Back just in time
#
# After this you can
#
# - tell which of the host's registers the kernel itself needs, and which are only kept for user space,
# - retell the argument of December 2020 with its numbers, and say how much they prove,
# - explain why one register more than GS base has to be back before STGI.
#
# Comes before the exercise [The lazy path](03_lazy_restore_path.ipynb). Start page: [Start
# here](00_start_here.ipynb).

# %%
try:
    from svmlib import check
except ModuleNotFoundError:
    message = "svmlib is not in this kernel: run `make course` in the course's folder and choose its kernel"
    raise ImportError(message) from None

check.begin("03_back_just_in_time", svmlib="0.1.0")

# %% [markdown]
# ## The argument
#
# The merged path loads the whole host on every exit, though most exits never reach user space. This is
# how the KVM mailing list argued about that in December 2020:
#
# - **10 December, Michael Roth** posts the first version. It is a mixture: VMSAVE saves the host, a WRMSR
#   brings GS base back after each exit, and VMLOAD brings the rest when the vCPU is put.
# - **10 December, Andy Lutomirski** asks why host code handles selectors and bases at all.
# - **10 December, Roth**: the kernel needs GS right after the exit. A VMLOAD on each exit may hurt those
#   that stay in the kernel, as the exits of fast networking do.
# - **10 December, Lutomirski** asks for a benchmark and names two designs that he would accept. (1)
#   VMLOAD before STGI. (2) GS base alone before STGI, by WRGSBASE where there is FSGSBASE and else by
#   WRMSR, and VMLOAD in vcpu_put.
# - **14 December, Roth**: version 2 is (1). The WRMSR that it saves pays for the VMLOAD.
# - **15 December, Paolo Bonzini**: (2) is worth it only for a large gain, of the order of 100 cycles.
# - **16 December, Roth** has measured (2): 20 to 30 cycles less per exit, a little slower overall in this
#   test.
#
# (1) was merged. (2) is the path that you will write: **lazy** restore. The message with the two designs
# has the Message-ID `CALCETrV2-WwV+uz99r2RCJx6OADzwxaLxPUVW22wjHoAAN5cSQ@mail.gmail.com` in the list's
# public archive.

# %% [markdown]
# ## What the kernel itself needs
#
# Lutomirski's point was that only GS base is *kernel* state. All the rest of VMSAVE's 128 bytes serves
# user space: FS, LSTAR and the others are used there, or on the way there and back.
#
# **Question.** Is that so? Here the model's lazy path goes through a hundred exits in the kernel and one
# to user space. Which registers are the guest's all that time, after the exit and after STGI?

# %%
from svmlib.kvm import exits, run
from svmlib.paths import lazy
from svmlib.registers import carried_by

long = run(lazy, exits(*["kernel"] * 100, "user"))
at = long.exits[99].last - 1
state = long.trace.state(at)
names = (*carried_by("VMSAVE"), "TSC_AUX")
guests = [name for name in names if long.trace.owner(at, name, state[name]) == "guest"]
print("what broke:", long.violation)
print("the guest's meanwhile:", *guests)

# %% [markdown]
# All but GS base and TR, and the host is well. Compare the exit of the two designs, first (1), then (2).
# Both runs have an NMI that waits for STGI.

# %%
from svmlib.paths import vmload_before_stgi
from svmlib.views import timeline

timeline(run(vmload_before_stgi, exits("kernel+nmi")))

# %%
timeline(run(lazy, exits("kernel+nmi")))

# %% [markdown]
# ## An instruction that may not be there
#
# WRGSBASE belongs to **FSGSBASE**, an extension that the kernel switches on with a bit of CR4. Linux uses
# it since 5.9 where the processor has it, and an administrator can turn it off.
#
# **Question.** This partial path puts GS base back with WRGSBASE, always. What happens on a host without
# FSGSBASE?

# %%
from types import SimpleNamespace
from svmlib.kvm import Host, svm_vcpu_run
from svmlib.registers import MSR
from svmlib.views import show


def save_gs(cpu, vcpu):
    vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)


def gs_alone(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrgsbase(vcpu.host_gs_base)


partial = SimpleNamespace(**vars(lazy) | {"vcpu_load": save_gs, "vcpu_enter_exit": gs_alone})
show(run(partial, exits("kernel"), Host(fsgsbase=False)))

# %% [markdown]
# The processor does not know the instruction (#UD, undefined opcode), and it says so while GS base is the
# guest's: the handler of #UD has no per-CPU data. A path has to ask first; the kernel's question is
# `static_cpu_has`, which is answered once, at boot.
#
# ## The register that nobody named
#
# On a host with FSGSBASE this partial path gets through in-kernel exits and through exits to user space.
#
# **Question.** Then the last exit of this run kills the host. Walk back from the end: which register was
# missing, and who needed it?

# %%
from svmlib.views import stepper

risky = run(partial, exits(*["kernel"] * 20, "user", "kernel", "kernel+nmi"))
stepper(risky, steps=risky.exits[-1], registers=["GS.base", "FS.base", "TR", "LSTAR"], prices="epyc-2020")

# %% [markdown]
# TR. It is among the 128 bytes, but it is not only for user space: every event that has a stack of its
# own, an NMI first of all, finds that stack through TR. The message with the two designs speaks of GS
# base. Nobody had to name TR: KVM's `reload_tss` ran on every exit anyway, until 2023.
#
# ## The measurement
#
# On 16 December 2020 Roth posted time stamps of four moments: entry of the system call KVM_RUN, before
# VMRUN, after VMRUN, and the way out. There are two samples of each design. The intervals between them,
# in ticks:

# %%
samples = {
    "(1) VMLOAD on every exit": [(576, 1376, 576), (576, 1360, 592)],
    "(2) WRGSBASE, VMLOAD late": [(576, 1344, 656), (560, 1344, 640)],
}
print(f"{'':27}{'before':>8}{'VMRUN':>8}{'after':>8}")
for design, pair in samples.items():
    means = [sum(column) / 2 for column in zip(*pair, strict=True)]
    print(f"{design:27}" + "".join(f"{mean:8.0f}" for mean in means))

# %% [markdown]
# **Question.** What does the lazy design gain around VMRUN, and what does it lose on the way out?
# Subtract before you open the answer.
#
# <details><summary>Answer</summary>
#
# It gains 24 ticks and loses 64.
#
# </details>
#
# Now ask how far that carries:
#
# - All time stamps are multiples of 16; the counter moved in such steps. Each mean may be off by several
#   ticks.
# - Two samples of each design tell nothing about the spread from run to run.
# - The processor is called a recent EPYC and not named.
# - The guest did nothing but HLT. We take it that every exit went to user space: the lazy design paid its
#   64 ticks each time.
#
# So in this test lazy had to lose, and elsewhere it may win. It depends on how many exits go to user
# space.
#
# ## Who exits how often
#
# Shares of exits that end in `vcpu_put`, from published counters. All these hosts are Intel's; nobody has
# published such counters of an AMD host, as far as we found.
#
# | guest | share |
# |---|---|
# | a guest that hung, 2012 | 0.03 % |
# | two hosts at work | 5.9 % and 7.05 % |
# | an idle guest with two vCPUs | 48.6 % |
# | the HLT loop of the measurement | 100 % (assumed) |
#
# **Question.** Move the slider of the share from 0 to 1. Which path is the cheapest at each end? Then
# change the price of VMLOAD: on another machine, inside a guest, it was timed at about 300 ticks.

# %%
from svmlib.costs import prices
from svmlib.views import what_if

what_if({"(1) VMLOAD": check.bills(vmload_before_stgi), "(2) lazy": check.bills(lazy)}, prices("epyc-2020"))

# %% [markdown]
# The bills follow the samples: the list's prices of WRGSBASE and of a warm VMLOAD are derived from them.
# Other prices would draw the border elsewhere, and a page that has left the cache costs a VMLOAD several
# hundred ticks more (measured on another machine).
#
# A gain of 20 to 30 was far from the 100 that Bonzini had asked for, and he and Roth agreed on (1).
#
# ## 2023
#
# Look at the exit of (1) again, in the picture above: TR is the host's after the VMLOAD, and after that
# comes LTR all the same. VMLOAD had brought TR back with its hidden part, so `reload_tss` did nothing. It
# was removed with commit 0d3518d2f8c3 (Zhang Mingwei, 1 June 2023), more than two years after the merge.
#
# **Question.** Could the lazy path have followed? You have seen the answer in a run above.

# %%
from svmlib.views import compare_bars

since_2023 = vmload_before_stgi.since_2023
designs = {"(1) as merged": vmload_before_stgi, "(1) since 2023": since_2023, "(2) lazy": lazy}
in_kernel = {name: check.bills(path)["kernel"].by_part() for name, path in designs.items()}
compare_bars(in_kernel, title="An exit that the kernel handles")

# %% [markdown]
# It could not: before STGI nothing but LTR brings its TR back. What an LTR costs nobody has published;
# the list assumes 20 to 300 ticks. At its nominal 100 that is four times what the lazy design gained in
# 2020; at its low end it is about as much.
#
# ## Three quick questions
#
# 1. Which registers must be the host's at STGI, whatever the design?
#
# <details><summary>Answer</summary>
#
# GS base and TR, besides what #VMEXIT brings back itself.
#
# </details>
#
# 2. In the lazy design the thread of the vCPU is preempted, and another thread gets the CPU. Who brings
#    FS and LSTAR back?
#
# <details><summary>Answer</summary>
#
# The path's `prepare_host_switch`: KVM calls vcpu_put before another thread runs, not only on the way to
# user space.
#
# </details>
#
# 3. The measurement showed lazy a little slower overall. Why does that not settle the question?
#
# <details><summary>Answer</summary>
#
# In that test, we assume, every exit went to user space, which is the worst case for lazy; and there were
# two samples of each design.
#
# </details>
#
# ---
#
# **Next:** the exercise [The lazy path](03_lazy_restore_path.ipynb)
