"""
what = '''
The entry is written out and CLI is missing: an interrupt arrives at STGI. test_window is to catch it.'''

[expect]
test_window = 0
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    host, guest = per_cpu(cpu, vcpu.cpu, "save_area_pa"), vcpu.vmcb_pa
    cpu.sti()
    cpu.vmload(guest)
    cpu.vmrun(guest)
    cpu.vmsave(guest)
    cpu.vmload(host)
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
