# %% [markdown] difficulty="easy" minutes=25
# # 1 · What VMRUN leaves behind
#
# After this you can
#
# - say of any register who moves it between host and guest: VMRUN, VMSAVE, or nobody but software,
# - point at the 128 bytes of a page that VMSAVE writes and VMLOAD reads,
# - name the stretch of code in which the host must not touch its per-CPU data, and say why.
#
# Comes before: [Why order matters](01_why_order_matters.ipynb) and the first exercise. Start page: [Start
# here](00_start_here.ipynb).

# %%
try:
    from svmlib import check
except ModuleNotFoundError:
    message = "svmlib is not in this kernel: run `make course` in the course's folder and choose its kernel"
    raise ImportError(message) from None

check.begin("01_what_vmrun_leaves_behind", svmlib="0.1.0")

# %% [markdown]
# ## A page for the guest
#
# A guest's registers wait in a page of 4096 bytes, the **VMCB** (virtual machine control block). Its
# first 1024 bytes say what the guest may do and how it came to exit. The registers follow from offset
# 0x400.
#
# VMRUN gets the physical address of that page in RAX. It keeps the host's registers in a place of the
# processor's own, loads the guest's from the page, and the guest runs. #VMEXIT does the reverse.
#
# But not with every register. Here is the entry and exit of KVM around 2020, as a list: STI, **VMLOAD**,
# VMRUN, **VMSAVE**, CLI. Between VMRUN and #VMEXIT runs the guest, which in this model overwrites
# everything it can reach. Around all that the kernel exchanges RBX and the like itself: *registers in*,
# *registers out*. How this run ends you know from the start page.

# %%
from svmlib.kvm import exits, run, svm_vcpu_run


def only_run_the_guest(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)


seen = run(check.path(vcpu_enter_exit=only_run_the_guest), exits("kernel"))
trace = seen.trace
for number, step in enumerate(trace):
    print(f"{number:2}  {step.side:5}  GIF {step.gif}  {step.event}")

# %% [markdown]
# ## Watch eight registers
#
# - RIP, CR3: the next instruction, and the page tables.
# - FS base, GS base: the start of the FS and GS segments. User space keeps its thread's data behind FS;
#   the kernel keeps its per-CPU data behind GS.
# - TR: where the TSS lies, with the stacks for NMIs and other events.
# - LSTAR: where SYSCALL enters the kernel.
# - TSC_AUX: a number that RDTSCP hands to user space; Linux puts the CPU's number there.
# - RBX: one of the ordinary registers.
#
# **Question.** Before you step: which of them turn to *guest* at VMRUN, and which turn back to *host* at
# #VMEXIT? Write your guess down, then walk through the list with the arrow keys.

# %%
from svmlib.views import stepper

eight = ["RIP", "CR3", "FS.base", "GS.base", "TR", "LSTAR", "TSC_AUX", "RBX"]
stepper(seen, registers=eight, prices="epyc-2020")

# %% [markdown]
# RIP and CR3 turn at VMRUN and turn back at #VMEXIT. FS base, GS base, TR and LSTAR turned before, at
# VMLOAD, and never turn back. TSC_AUX and RBX were changed by ordinary instructions of the kernel; RBX
# was changed back by them, too.
#
# ## Three carriers
#
# We call whoever moves a register across the switch its **carrier**. There are three: VMRUN (with
# #VMEXIT), VMSAVE (with VMLOAD), and software. The model has a table of all registers with their
# carriers. FS, GS, TR and LDTR count four times each: a selector, and a hidden part of attributes, limit
# and base.
#
# **Question.** After #VMEXIT, which carriers' registers still hold the guest's values? Does VMRUN bring
# all of its own back?

# %%
from svmlib.registers import REGISTERS

at = next(number for number, step in enumerate(trace) if step.event == "#VMEXIT")
state = trace.state(at)
for carrier in ("VMRUN", "VMSAVE", "software"):
    names = [name for name in REGISTERS if REGISTERS[name].carrier == carrier]
    left = [name for name in names if trace.owner(at, name, state[name]) == "guest"]
    print(f"{carrier}: {len(left)} of {len(names)} still the guest's\n   {' '.join(left)}\n")

# %% [markdown]
# All that VMSAVE and software carry is still the guest's, but for a value that happens to be the same on
# both sides: guest and host here have the same TR attributes, for instance. And VMRUN has two exceptions:
# CR2, the address of the last page fault, and DR6, the debug status, are the guest's after an exit. (DR7
# comes back with all breakpoints off.)
#
# The kernel swaps the ordinary registers, debug registers and the like in its own code, whatever the
# path. One that software carries is left to the path: TSC_AUX.
#
# So the course is about what VMSAVE carries, and TSC_AUX. This is where a VMCB page has room for each
# register; a line is 64 bytes, and lines without a register are left out.

# %%
from svmlib.views import vmcb_map

vmcb_map()

# %% [markdown]
# ## 128 bytes
#
# **Question.** Add up in your head what VMSAVE carries: four segment registers of 16 bytes, and eight
# more registers. Then look at the map: do they lie side by side?

# %%
from svmlib.registers import carried_by

sum(REGISTERS[name].bits // 8 for name in carried_by("VMSAVE"))

# %% [markdown]
# 128 bytes, and not side by side: GDTR, IDTR and much else lie between. VMSAVE leaves those bytes alone.
# Here is what the VMSAVE of the run above really changed in the guest's page.

# %%
from svmlib.views import footprint

vmsave = next(step for step in trace if step.event == "VMSAVE")
address, before, after = vmsave.memory[0]
footprint(before, after, address % 4096)

# %% [markdown]
# VMSAVE and VMLOAD do not care whose page it is. They take any page that you name, write or read these
# 128 bytes in it, and know nothing of host or guest. Keep that in mind for the second exercise.
#
# ## What a selector does not tell
#
# A program reads the FS register with `MOV r, FS` and gets its **selector**, a number that picks an entry
# of a table of segments. The base is not in the selector. In 64-bit code it comes from an MSR or from the
# instruction WRFSBASE, and no table knows it.
#
# **Question.** A path saves the FS selector before the guest and loads it again afterwards, and it does
# so correctly. Will the thread find its data behind FS?
#
# `check.restores` lets the first function save, a guest overwrite the registers, and the second function
# restore.


# %%
def save_selector(cpu, vcpu):
    vcpu.host_fs = cpu.mov_from_sreg("FS")


def restore_selector(cpu, vcpu):
    cpu.mov_to_sreg("FS", vcpu.host_fs)


try:
    check.restores(save_selector, restore_selector, ["FS.selector", "FS.attrib", "FS.limit", "FS.base"])
except check.CheckFailed as failed:
    print(failed)

# %% [markdown]
# The selector came back and the base did not. Loading a selector *wrote* the base: with what a descriptor
# in memory says, or with 0. What a path can read is not always what it has to restore; the next lesson
# goes on from there.
#
# ## The window
#
# From the guest's VMLOAD on, GS base is the guest's. The kernel may not touch per-CPU data until it is
# the host's again. This stretch is the **window**. The guest chooses where its GS base points. So far it
# chose an address that the host does not map, and the host died at once.
#
# **Question.** What if the guest chooses an address that the host *does* map?
#
# This path puts GS base back, but an early return skips that on the second exit. There the model's guest
# has a GS base inside the kernel's own memory. `kernel@1` is an exit on CPU 1; the host has two CPUs, 0
# and 1.


# %%
def save_gs(cpu, vcpu):
    vcpu.host_gs_base = cpu.rdgsbase()
    vcpu.count = 0


def returns_early(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    vcpu.count += 1
    if vcpu.count == 2:
        return
    cpu.wrgsbase(vcpu.host_gs_base)


quiet = run(check.path(vcpu_load=save_gs, vcpu_enter_exit=returns_early), exits("kernel@1", "kernel@1"))
print(quiet.violation)

# %%
stepper(quiet, steps=quiet.exits[-1], registers=["GS.base", "KernelGSBase", "TR"], prices="epyc-2020")

# %% [markdown]
# No fault. The kernel read memory that the guest had chosen, and took what it found there for its own CPU
# number. The model looks at that number and stops; a real kernel would have gone on, and written there,
# too.
#
# ## An exit as a picture
#
# A column is a step, a lane is something that has to be right. This is the first of the two exits, in
# which the path put GS base back, and nothing else.

# %%
from svmlib.views import timeline

timeline(quiet, 0)

# %% [markdown]
# Read the lane *GS base* from left to right: the window is where it is not the host's. GIF is 0 for all
# of that stretch. Where GIF becomes 1 again, TR is still the guest's.
#
# ## Three quick questions
#
# 1. LSTAR, RSP, TSC_AUX: who carries each?
#
# <details><summary>Answer</summary>
#
# VMSAVE carries LSTAR, VMRUN carries RSP, software carries TSC_AUX.
#
# </details>
#
# 2. Somebody wants to shorten the window and moves the guest's VMLOAD behind VMRUN. What is wrong with
#    that?
#
# <details><summary>Answer</summary>
#
# What follows VMRUN runs after the #VMEXIT. The guest would have run with the host's FS, GS, LSTAR and
# TR.
#
# </details>
#
# 3. A host reads per-CPU data in the window and nothing happens. Is the host correct?
#
# <details><summary>Answer</summary>
#
# No. It read wherever the guest's GS base pointed. That this was mapped is the worse case.
#
# </details>
#
# ---
#
# **Next:** [Why order matters](01_why_order_matters.ipynb)
