"""
what = "The kernel's functions are replaced by nothing."
"""

# %% exercise="path"
import svmlib.kvm.vmenter as v
v.svm_vcpu_run = v.reload_tss = lambda cpu, vcpu: None
def save_gs_base(cpu, vcpu): pass
def vcpu_enter_exit(cpu, vcpu): v.svm_vcpu_run(cpu, vcpu)
