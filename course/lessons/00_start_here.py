# %% [markdown] difficulty="easy" minutes=15
# # Start here
#
# AMD's processors have an extension for virtual machines, SVM. With one instruction of it, **VMRUN**, a
# hypervisor lets a guest run. When the guest has to stop, the processor comes back to the host by itself;
# that is a **#VMEXIT**. You would expect that the processor then holds the host's registers again. About
# half of them it does not. This course is about the other half: who puts the host's values back, with
# which instructions, when, and what does it cost?
#
# After this you can
#
# - say what goes wrong first when nobody puts anything back,
# - walk through a run step by step, forwards and backwards, and see whose value each register holds,
# - use the checks and `hint()`, and find your progress in the [table of notebooks](#The-notebooks).
#
# You need to know what a register, a page and an interrupt are on x86, and to read Python. All of AMD's
# terms are explained where they first appear. Nothing here needs an AMD processor: the machine is a
# model.
#
# Run a cell with Shift+Enter.

# %%
try:
    from svmlib import check
except ModuleNotFoundError:
    message = "svmlib is not in this kernel: run `make course` in the course's folder and choose its kernel"
    raise ImportError(message) from None

check.begin("00_start_here", svmlib="0.1.0")

# %% [markdown]
# ## The host that does nothing
#
# The host here is Linux with **KVM**, its hypervisor. A virtual processor of the guest is a **vCPU**.
# What KVM does around VMRUN to keep host and guest apart we call a **path**; a path is a few functions
# with KVM's names.
#
# The shortest path runs the guest and restores nothing. `svm_vcpu_run` stands for the assembly of KVM
# around VMRUN. It gets `cpu`, on which it executes instructions, and `vcpu`, in which KVM keeps what it
# knows of the vCPU.

# %%
from svmlib.kvm import exits, run, svm_vcpu_run


def only_run_the_guest(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)


shortest = check.path(vcpu_enter_exit=only_run_the_guest)

# %% [markdown]
# **Question.** The guest runs once and exits. The kernel can handle this exit itself and does not go to
# user space. What is the first thing to go wrong?
#
# 1. Nothing yet. The guest's values do harm in user space, and nobody went there.
# 2. The next system call on this CPU ends up at an address that the guest chose.
# 3. The kernel dies before it has looked at the exit.
#
# Decide, then run the cell. `exits("kernel")` is one exit that is handled in the kernel.

# %%
from svmlib.views import show

first = run(shortest, exits("kernel"))
show(first)

# %% [markdown]
# The third. The kernel keeps data for each CPU in an area of its own, the **per-CPU** data, and finds
# that area through the register **GS base**. VMRUN and #VMEXIT leave GS base alone, so it was still the
# guest's. The first access to per-CPU data was a page fault (#PF). The handler of the page fault needs
# per-CPU data, too. A fault while the processor cannot even report a fault is a triple fault: the machine
# resets.
#
# ## The stepper
#
# Here is the same run, one instruction a step. Click a line of the list, then walk with the arrow keys ↑
# and ↓. For each step you see
#
# - who executes, host or guest, and **GIF**, a flag that holds back interrupts of every kind while it is
#   0 (CLGI clears it, STGI sets it),
# - each register with its value and whose it is: a glyph, a word and a colour that say the same,
# - the **bill** so far: what the path's instructions cost, in ticks of the time-stamp counter.
#
# **Question.** At which step does GS base become the guest's? It is not VMRUN.

# %%
from svmlib.views import stepper

stepper(first, prices="epyc-2020", registers=["GS.base", "FS.base", "TR", "LSTAR", "TSC_AUX"])

# %% [markdown]
# It is **VMLOAD**, one step earlier: the instruction that loads what VMRUN leaves alone. From there to
# the end no step turns GS base back.
#
# ## One register put back, and five hundred exits
#
# So save GS base before and write it back after. RDGSBASE and WRGSBASE are the instructions for that. The
# path has two functions now: `vcpu_load` is called when the vCPU is put on a CPU, `vcpu_enter_exit` on
# every entry.


# %%
def save_gs(cpu, vcpu):
    vcpu.host_gs_base = cpu.rdgsbase()


def put_gs_back(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrgsbase(vcpu.host_gs_base)


only_gs = check.path(vcpu_load=save_gs, vcpu_enter_exit=put_gs_back)
calm = run(only_gs, exits(*["kernel"] * 500))
print(f"{len(calm.exits)} exits, what broke: {calm.violation}")

# %% [markdown]
# Five hundred exits, and the host is well. It still runs with the guest's FS, TR, LSTAR and some twenty
# other registers.
#
# **Question.** What has to happen for one of them to be missed? Think of an interrupt that CLI does not
# hold back, an **NMI**. `kernel+nmi` is an exit during which one becomes pending. Let it come last.

# %%
late = run(only_gs, exits(*["kernel"] * 500, "kernel+nmi"))
print(f"{len(late.exits)} exits, what broke: {late.violation}")

# %% [markdown]
# The processor takes the stack for an NMI from a table in memory, the task-state segment (TSS), and finds
# that table through the register **TR**. TR was the guest's. Walk through the last exit: the NMI waits
# while GIF is 0 and arrives at **STGI**, the instruction that sets GIF.

# %%
stepper(late, steps=late.exits[-1], registers=["GS.base", "TR", "FS.base", "LSTAR"], prices="epyc-2020")

# %% [markdown]
# This is what the course looks like: a path, a run that ends where a real machine would end, and the
# question which register was whose at that moment. Kernel developers argued about this code in December
# 2020, on the KVM mailing list; the three exercises are the three designs of that thread.
#
# ## Checks and hints
#
# In an exercise you write the path, and a check runs it. A check that fails says what somebody noticed:
# user space, an NMI, the next thread. Here is one that fails; `try` only keeps the notebook going.

# %%
try:
    check.survives(only_gs, "kernel", "user")
except check.CheckFailed as failed:
    print(failed)

# %% [markdown]
# `hint()` tells the rest: the rule, the register, its value and whose that is, what carries the register
# across the switch, and the last steps.

# %%
check.hint()

# %% [markdown]
# ## The bill
#
# A correct path can still be too dear. Every instruction has a price, and a price is an interval with a
# label that says how it is known. The list `epyc-2020` follows numbers that were published for an EPYC
# whose model was not named; where nothing was published, the price is assumed and says so.

# %%
from svmlib.costs import bill, prices

bill(calm.steps(calm.exits[-1]), prices("epyc-2020"))

# %% [markdown]
# ## The notebooks
#
# A lesson comes before each exercise. Run the next cell again whenever you want to know where you are: ○
# open means that nothing ran yet, ◐ tried that something did, ● done that every cell of a lesson, or
# every test of an exercise, ended well when it last ran. This page is done when you have run that cell
# twice.

# %%
from svmlib import progress
from svmlib.views.contents import contents

contents(progress.overview())

# %% [markdown]
# **Your copies.** `make course` put copies of all notebooks into the folder `work`, and you work on
# those. Nothing overwrites them. After an update a copy that you have not changed is renewed, and one
# that you have changed is kept.
#
# **Progress** is one file in that folder, `.progress.json`, written as your cells run. It never leaves
# your machine.
#
# **Begin a notebook again:** type `make reset NN=01_legacy_path` in the course's folder. Your version
# goes to `work/backups` with its date, and its progress starts from nothing.
#
# **Mark yourself:** `make grade ME=1` gives the points of your exercises, your bills beside the
# reference's, and the model answers of the written questions.
#
# ## Three quick questions
#
# 1. Why did five hundred exits succeed with the guest's TR?
#
# <details><summary>Answer</summary>
#
# TR is read only when the processor needs the TSS, here for the stack of an NMI. No NMI came.
#
# </details>
#
# 2. Why is GS base the first register that the host misses?
#
# <details><summary>Answer</summary>
#
# The kernel uses it itself, all the time, for its per-CPU data. It uses FS, LSTAR and the others only for
# user space or on the way there and back.
#
# </details>
#
# 3. An NMI becomes pending while the guest's GS base is loaded and GIF is 0. Is that a problem?
#
# <details><summary>Answer</summary>
#
# No. It waits until STGI. What counts is what the registers hold when GIF becomes 1.
#
# </details>
#
# ---
#
# **Next:** [What VMRUN leaves behind](01_what_vmrun_leaves_behind.ipynb)
