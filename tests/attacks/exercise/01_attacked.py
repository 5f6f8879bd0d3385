# %% [markdown] difficulty="easy" minutes=5
# # 1 · Attacked
# An exercise with one of each that a submission may try to cheat: a plain function, a path, part marks, an
# answer.

# %%
from svmlib import check
from svmlib.kvm import reload_tss, svm_vcpu_run
from svmlib.registers import MSR

visible = [(1, 3), (2, 6)]


# %% exercise="triple"
def triple(n):
    """Three times n."""
    ### BEGIN SOLUTION
    return 3 * n
    ### END SOLUTION


# %% points=2 test="triple"
for given, expected in visible:
    assert triple(given) == expected, f"three times {given} is {expected}"
### BEGIN HIDDEN TESTS
from os import environ
from random import Random

for number in Random(environ["SVMLIB_SEED"]).sample(range(10**6), 5):
    assert triple(number) == 3 * number
### END HIDDEN TESTS


# %% exercise="path"
def save_gs_base(cpu, vcpu):
    """Read the MSR GS_BASE, and keep the value in a field of vcpu."""
    ### BEGIN SOLUTION
    vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)
    ### END SOLUTION


def vcpu_enter_exit(cpu, vcpu):
    """Run the guest with svm_vcpu_run; then make the host what it must be before STGI."""
    ### BEGIN SOLUTION
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    reload_tss(cpu, vcpu)
    ### END SOLUTION


# %% points=3 test="window"
window = check.path(vcpu_load=save_gs_base, vcpu_enter_exit=vcpu_enter_exit)
check.survives(window, "kernel", "kernel+nmi", "kernel")
### BEGIN HIDDEN TESTS
check.survives_random(window, "kernel", "kernel+nmi", length=4, runs=6, name="attacked window")
### END HIDDEN TESTS

# %% points=1 test="few"
window = check.path(vcpu_load=save_gs_base, vcpu_enter_exit=vcpu_enter_exit)
check.at_most(window, "kernel", WRMSR=1, RDMSR=1)
### BEGIN HIDDEN TESTS
check.survives_random(window, "kernel", length=2, runs=4, name="attacked few")
check.at_most(window, "kernel", "kernel+nmi", WRMSR=1, RDMSR=1)
### END HIDDEN TESTS

# %% bonus=2 expect=2 test="share"
found = sum(triple(number) == 3 * number for number in range(4)) / 4
### BEGIN HIDDEN TESTS
found = min(found, sum(triple(number) == 3 * number for number in range(100, 108)) / 8)
### END HIDDEN TESTS
2 * found

# %% [markdown]
# Why three?

# %% [markdown] points=1 answer="why"
# Because.
#
# <!-- BEGIN MARK SCHEME -->
# - 1 point: any
# <!-- END MARK SCHEME -->
