# %% [markdown] difficulty="moderate" minutes=25
# # 5 · What to throw at it
#
# After this you can
#
# - tell on which four things a bug of a path can depend,
# - find out with the explorer which of them one does depend on,
# - read the list of bugs on record, and run any of them.
#
# Comes before the exercise [Find the bug](05_find_the_bug.ipynb). Start page: [Start
# here](00_start_here.ipynb).

# %%
try:
    from svmlib import check
except ModuleNotFoundError:
    message = "svmlib is not in this kernel: run `make course` in the course's folder and choose its kernel"
    raise ImportError(message) from None

check.begin("05_what_to_throw_at_it", svmlib="0.1.0")

# %% [markdown]
# ## The machine it does not die on
#
# KVM's legacy path loads FS from its selector, and writes FS base with WRMSR after that, in its list of
# MSRs. This variant does the same two things in the other order.
#
# **Question.** Loading a selector writes the base as well. So this is wrong. Does it die on every machine?

# %%
from types import SimpleNamespace
from svmlib.kvm import load_gs_index
from svmlib.kvm.hosts import host
from svmlib.paths import legacy


def base_before_selector(cpu, vcpu):
    cpu.lldt(vcpu.host_ldt)
    load_gs_index(cpu, vcpu.host_gs)
    for msr, value in zip(legacy.HOST_SAVE_USER_MSRS, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)
    cpu.mov_to_sreg("FS", vcpu.host_fs)


wrong_order = SimpleNamespace(**vars(legacy) | {"prepare_host_switch": base_before_selector})

# %%
from svmlib.kvm import exits, run

threads = {1: "FS holds the null selector", 3: "FS holds 0x63"}
for seed, thread in threads.items():
    for name in ("family15h", "zen2+fsgsbase"):
        broken = run(wrong_order, exits("user"), host(name, seed=seed)).violation
        print(f"{thread:27} {name:14} {broken or 'nothing'}")

# %% [markdown]
# It depends on the thread: 64-bit programs have the null selector in FS, some others have not. And it depends
# on the CPU: with the null selector an older one leaves the base alone, and nothing is lost.
#
# A developer with the older machine tests this path for a year and finds nothing.
#
# ## Four things
#
# A bug like this can depend on
#
# 1. **the order of exits**: a second period, another CPU, another vCPU, a thread that has changed meanwhile;
# 2. **an event** at one instruction: NMI, machine check, interrupt, reboot;
# 3. **the host's kernel**: how it finds its data, how its NMI enters, what it caches;
# 4. **the CPU**: what a null selector clears, what hardware swaps, whether memory is encrypted.
#
# The explorer goes through the first two by itself. The other two are its second argument.
#
# **Question.** The flag that tells "the host is saved" stays set when the vCPU is put. How many exits and
# how many CPUs does it take until somebody notices?

# %%
from svmlib.explorer import Bounds, explore
from svmlib.paths import vmload_before_stgi
from svmlib.registers import MSR


def forgets_the_flag(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)


still_set = SimpleNamespace(**vars(vmload_before_stgi) | {"prepare_host_switch": forgets_the_flag})
for cpus in (1, 2):
    bounds = Bounds(exits=1, periods=2, events=0, migrations=cpus - 1)
    print(f"--- {cpus} CPU")
    print(explore(still_set, host("zen3+fsgsbase", seed=1, cpus=cpus, vcpus=1), bounds))

# %% [markdown]
# Two exits are enough, on one CPU as on two. On two the page of the second CPU has never been saved. On one
# the same line loses something else: what a thread has changed in user space since. Step through that one:
# where does FS base change for the last time before it comes back old?

# %%
from svmlib.views import stepper

one = explore(still_set, host("zen3+fsgsbase", seed=1, cpus=1, vcpus=1), Bounds(1, 2, 0, 0)).run
stepper(one, steps=range(30, len(one.trace)), registers=["FS.base", "GS.base", "KernelGSBase"])

# %% [markdown]
# ## What remembers has to be told
#
# That flag is a memory of what a page holds. Much goes wrong with such memories:

# %%
from svmlib.bugs import BUGS

for name in ("B33", "B34", "B15", "B16", "B23", "B41"):
    print(f"{name}  {BUGS[name].year}  {BUGS[name].title}\n    {BUGS[name].symptom}")

# %% [markdown]
# A flag that is not cleared; a page that is saved once; a cache of what is in TSC_AUX, and hardware that
# changes TSC_AUX; a flag that begins with the wrong value; a cache of FRED_RSP0. In each case two places
# know the same thing, and one of them is not told.
#
# ## The list
#
# There are more, of KVM, Xen, bhyve and NVMM. Each is a small module with the broken variant, the host on
# which it bites, and the fixed one. In a terminal, `python -m svmlib bugs` runs them all.

# %%
for bug in sorted(BUGS.values(), key=lambda bug: bug.year):
    print(f"{bug.year}  {bug.bug}  {bug.title}")

# %% [markdown]
# **Question.** B24 is of 2026. Xen stores the host's half in a page when a CPU comes up, once. Its fix moved
# that VMSAVE down by some lines. What had been programmed in those lines?

# %%
b24 = BUGS["B24"].module.BROKEN
found = explore(b24.path, b24.host, b24.bounds)
print(found)

# %% [markdown]
# LSTAR, where SYSCALL enters. The page held the value from before, and the first VMLOAD of it brought that
# back.
#
# ## Which designs are safe where
#
# The same question for all designs at once: every one on every kind of host. Here is the row of the merged
# path and that of the lazy one. In a terminal: `python -m svmlib matrix`.

# %%
from svmlib.paths import DESIGNS

kinds = ("zen1-fsgsbase", "zen3+fsgsbase", "i386", "sev_es", "netbsd")
small = Bounds(exits=1, periods=1, events=1, migrations=0)
for name in ("vmload_before_stgi", "lazy"):
    for kind in kinds:
        found = explore(DESIGNS[name].path, host(kind, seed=1, vcpus=1), small)
        first = "safe" if found.clean else str(found).split("\n", 1)[0]
        print(f"{name:20}{kind:16}{first}")

# %% [markdown]
# A guest of SEV-ES loads the host's registers by itself at #VMEXIT, from a page that these two have not
# filled in.
#
# ## Three quick questions
#
# 1. Why does a test on one machine prove so little about loads of selectors?
#
# <details><summary>Answer</summary>
#
# What a null selector does to the base depends on the CPU, and whether there is one in FS depends on the
# thread.
#
# </details>
#
# 2. A path passes the explorer with migrations=0. What can still be wrong with its flag?
#
# <details><summary>Answer</summary>
#
# It may stay set when the vCPU leaves the CPU; on the next CPU nobody saves the host.
#
# </details>
#
# 3. What do a flag "in sync" and a cache of an MSR have in common?
#
# <details><summary>Answer</summary>
#
# Both remember what something else holds, and both are wrong as soon as that changes and they are not told.
#
# </details>
#
# ---
#
# **Next:** the exercise [Find the bug](05_find_the_bug.ipynb)
