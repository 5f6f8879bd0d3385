"""
what = "A path that does something else each time."
"""

# %% exercise="path"
import time, random
def save_gs_base(cpu, vcpu):
    if time.time_ns() % 2: vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    if random.random() < 2: cpu.wrmsr(MSR.GS_BASE, 0xFFFF_8880_1F20_0000)
    reload_tss(cpu, vcpu)
