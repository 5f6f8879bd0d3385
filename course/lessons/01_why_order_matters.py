# %% [markdown] difficulty="moderate" minutes=25
# # 1 · Why order matters
#
# After this you can
#
# - tell what the host needs before STGI and what can wait until user space,
# - say what else an instruction writes that only seems to load a selector,
# - estimate what 22 accesses to MSRs cost on every trip to user space.
#
# Comes before the exercise [The legacy path](01_legacy_path.ipynb), in which you write KVM's path of
# 2020. Start page: [Start here](00_start_here.ipynb).

# %%
try:
    from svmlib import check
except ModuleNotFoundError:
    message = "svmlib is not in this kernel: run `make course` in the course's folder and choose its kernel"
    raise ImportError(message) from None

check.begin("01_why_order_matters", svmlib="0.1.0")

# %% [markdown]
# ## The path until 2021
#
# Until Linux 5.12, KVM on AMD restored the host one register at a time. (We follow `svm.c` at commit
# 35a7831912f4 of February 2021, the last state before that changed.) The work was spread over four
# moments:
#
# | when | KVM's function | the path's function here |
# |---|---|---|
# | the vCPU is put on a CPU | `svm_vcpu_load` | `vcpu_load` |
# | before each entry | `svm_prepare_guest_switch` | `prepare_switch_to_guest` |
# | the entry, and until STGI | `svm_vcpu_enter_exit` | `vcpu_enter_exit` |
# | the vCPU leaves the CPU | `svm_vcpu_put` | `prepare_host_switch` |
#
# The time from the first moment to the last we call a **period**. Within one the guest can enter and exit
# many times: exits that the kernel handles by itself. When the thread goes back to user space, or another
# thread gets the CPU, the period ends.
#
# What has to be restored is one question. *When* is the other one: too late and the host dies, too early
# and something overwrites it.
#
# ## Too late, by one line
#
# **Question.** The middle line of this path reads which thread is current. It is ordinary kernel code,
# and it changes nothing. Does the host survive? (RDGSBASE and WRGSBASE read and write GS base.)

# %%
from svmlib.kvm import exits, run, svm_vcpu_run, this_cpu_read
from svmlib.views import show


def save_gs(cpu, vcpu):
    vcpu.host_gs_base = cpu.rdgsbase()


def one_line_early(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    this_cpu_read(cpu, "current_task")
    cpu.wrgsbase(vcpu.host_gs_base)


early = run(check.path(vcpu_load=save_gs, vcpu_enter_exit=one_line_early), exits("kernel"))
show(early)

# %% [markdown]
# It does not. `current` is per-CPU data, and GS base is the guest's until the line after. KVM met this in
# 2018: a call that restores the host's speculation control stood before the WRMSR to GS base, and it
# looks at `current`. Commit 15e6c22fd8e5 (Thomas Gleixner, 17 May 2018) moved it behind.
#
# Compilers and debugging options add such accesses without being asked: a stack canary is per-CPU data,
# too.
#
# ## What an NMI needs
#
# With GS base in place the kernel runs. Then comes STGI, and with it an NMI that has been waiting. You
# saw on the start page that it finds its stack through **TR**. TR is loaded with LTR from the **GDT**,
# the table of segments. 0x40 is the selector of the TSS there.
#
# **Question.** The GDT is untouched: no guest can write it. Is this all it takes?


# %%
def load_tr_again(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrgsbase(vcpu.host_gs_base)
    cpu.ltr(0x40)


busy = run(check.path(vcpu_load=save_gs, vcpu_enter_exit=load_tr_again), exits("kernel+nmi"))
print(busy.violation)

# %% [markdown]
# LTR refuses a TSS that is marked **busy**, and marks busy the one that it loads. The host's TSS has been
# busy since boot. The guest's VMLOAD has replaced TR without asking and without touching any mark.
#
# KVM's function `reload_tss` therefore cleared the mark in the GDT first, and then loaded TR. It ran on
# every exit.
#
# Here you see it at work. We take the model's own legacy path, without its source, and replace its last
# function by one that does nothing. So GS base and TR come back, and nothing else. Find the two steps
# that belong to TR.

# %%
from types import SimpleNamespace
from svmlib.paths import legacy
from svmlib.views import stepper


def nothing(cpu, vcpu):
    pass


def instead(**functions):
    return SimpleNamespace(**vars(legacy) | functions)


both = run(instead(prepare_host_switch=nothing), exits("kernel+nmi", "user"))
stepper(both, steps=range(21, both.exits[0].last), registers=["GS.base", "TR", "FS.base"], prices="epyc-2020")

# %% [markdown]
# The same exit as a picture. GS base and TR are the host's before GIF becomes 1; the user's state is not,
# and nobody minds yet.

# %%
from svmlib.views import timeline

timeline(both, 0)

# %% [markdown]
# ## What user space needs
#
# **Question.** The second exit of this run goes to user space. Which register will be missed?

# %%
print(both.violation.symptom)

# %% [markdown]
# All the rest has to be back before user space, or before another thread that expects its own. KVM kept a
# list of ten MSRs for that, and beside it the selectors in FS and GS and the LDT, a thread's own table of
# segments.
#
# The MSRs alone would be simple: write ten numbers. The selectors make it a puzzle, for **loading a
# selector loads the base as well**, from the segment's descriptor in memory, and that has only 32 bits
# for it.
#
# ## Three loads of FS
#
# Here FS is loaded three times: with 0x2B, a flat segment; with 0x63, one whose descriptor says 0x81000;
# and with 0, the null selector, which stands for no segment. Before that the thread's own FS base is a
# large number.
#
# **Question.** What does FS base hold after each load?

# %%
from svmlib.kvm import Host


def three_loads(cpu, vcpu):
    legacy.vcpu_load(cpu, vcpu)
    for selector in (0x2B, 0x63, 0):
        cpu.mov_to_sreg("FS", selector)


def fs_bases(host):
    trace = run(instead(vcpu_load=three_loads), exits("kernel"), host).trace
    loads = [number for number, step in enumerate(trace) if step.event == "MOV Sreg,r"]
    return [hex(trace.state(number)["FS.base"]) for number in (loads[0] - 1, *loads)]


print("Zen 2 and later:", *fs_bases(Host()))
print("before Zen 2:   ", *fs_bases(Host(null_clears_base=False)))

# %% [markdown]
# The thread's base is gone with the first load. The null selector clears the base on newer processors
# (AMD calls this *NullSelectorClearsBase*) and leaves it alone on older ones. A path that is wrong here
# can work on one machine and fail on the next.
#
# ## GS, which the kernel cannot do without
#
# User space has a GS base, too. While the kernel runs, that one waits in **KernelGSBase**, and the
# instruction **SWAPGS** exchanges the two on the way in and out.
#
# **Question.** The kernel wants to load the *user's* GS selector. It has its own GS base loaded, and a
# load writes the base. What does the function `load_gs_index` do about it? Step through it, with 0x63
# again.

# %%
from svmlib.kvm import load_gs_index


def load_a_gs_selector(cpu, vcpu):
    load_gs_index(cpu, 0x63)


swapped = run(instead(vcpu_load=load_a_gs_selector, vcpu_enter_exit=svm_vcpu_run), exits("kernel"))
stepper(swapped, steps=range(2, 5), registers=["GS.base", "KernelGSBase", "GS.hidden"], prices="epyc-2020")

# %% [markdown]
# It swaps, loads while the user's base is the active one, and swaps back. The kernel's base survives. The
# base from the descriptor, 0x81000, ends up in KernelGSBase, and what was there is lost.
#
# So two of KVM's ten MSRs can be overwritten by a selector load. Which two, and what follows for the
# order, is yours to find in the exercise.
#
# ## A selector into somebody's table
#
# Bit 2 of a selector says which table it picks from: the GDT, or the LDT that **LDTR** points at. LDTR is
# one of the registers that VMRUN leaves alone.
#
# Again only the last function is ours. It loads FS from the selector that was saved, and does that first.
# The thread of host 34 has a selector into its LDT.
#
# **Question.** Where will the processor look for the descriptor?


# %%
def fs_first(cpu, vcpu):
    cpu.mov_to_sreg("FS", vcpu.host_fs)


astray = run(instead(prepare_host_switch=fs_first), exits("user"), Host(seed=34))
print(astray.violation)

# %%
last = len(astray.trace)
stepper(astray, steps=range(last - 4, last), registers=["FS.base", "FS.hidden", "LDTR"])

# %% [markdown]
# In the guest's LDT, at an address of the guest's. The host of this run died of it; on another seed it
# loads a segment that the guest made.
#
# ## What it costs
#
# One trip to user space reads 11 MSRs when the vCPU is loaded and writes 11 when it is put. That makes
# 22, and one more write on every exit, for GS base.
#
# **Question.** Of what such an exit costs, entry and exit included, how much goes to these 22?

# %%
costs = check.bills(legacy)
costs["user"]

# %%
msrs = [line for line in costs["user"].lines if line.event.startswith(("RDMSR", "WRMSR"))]
ticks = sum(line.nominal for line in msrs)
print(f"{ticks:,.0f} of {costs['user'].nominal:,.0f} ticks: {ticks / costs['user'].nominal:.0%}")

# %% [markdown]
# That includes the one write for GS base. Take the number with its source: the prices of RDMSR and WRMSR
# are not measured one by one. They follow from a profile that came with commit e79b91bb3c91: on an EPYC
# of unnamed model, with a guest that does nothing but HLT, 21.31 % of the host's time went to writing
# MSRs in `vcpu_put`, and 12.64 % to reading them in `vcpu_load`.
#
# The same bills by part. An exit that the kernel handles pays for no selector and for one MSR.

# %%
from svmlib.views import compare_bars

compare_bars(
    {kind: costs[kind].by_part() for kind in ("kernel", "user")}, title="The legacy path, by kind of exit"
)

# %% [markdown]
# ## Three quick questions
#
# 1. What has to be the host's when STGI is executed, and why these?
#
# <details><summary>Answer</summary>
#
# GS base, because the kernel finds its per-CPU data through it, and TR, because an NMI that comes with
# STGI takes its stack from the TSS.
#
# </details>
#
# 2. Why can LTR fault where VMLOAD does not?
#
# <details><summary>Answer</summary>
#
# LTR reads the descriptor and refuses a busy TSS. VMLOAD takes the hidden part of TR from a page and
# looks at no descriptor.
#
# </details>
#
# 3. After `load_gs_index`, which base is not what it was: GS base or KernelGSBase?
#
# <details><summary>Answer</summary>
#
# KernelGSBase. Between the two SWAPGS it was the active one, and the load wrote it.
#
# </details>
#
# ---
#
# **Next:** the exercise [The legacy path](01_legacy_path.ipynb)
