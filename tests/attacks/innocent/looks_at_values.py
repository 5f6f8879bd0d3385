"""
what = "Looks at every value, computes with it, keeps it in lists and dicts."
start = "solution"
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    base = cpu.rdmsr(MSR.GS_BASE)
    assert base and base % 2 == 0 and hex(base) and f"{base:#x}" and base.bit_length() > 0, base
    vcpu.state = {"base": [base ^ 0xFF, 1], "twice": (2 * base) & (1 << 64) - 1}
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    state = vcpu.state
    value, one = state["base"]
    for _ in range(one): value ^= 0xFF
    cpu.wrmsr(MSR.GS_BASE, value)
    reload_tss(cpu, vcpu)
