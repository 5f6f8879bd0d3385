"""
what = "A thread that keeps it."
"""

# %% exercise="path"
import sys
sys.modules["svmlib.watch"].remembered = lambda *f: {}
import threading, time
q = [0]
threading.Thread(target=lambda: time.sleep(30), daemon=True).start()
def save_gs_base(cpu, vcpu):
    q.append(int(cpu.rdmsr(MSR.GS_BASE)))
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, q[-1])
    reload_tss(cpu, vcpu)
