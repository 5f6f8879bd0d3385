"""
what = '''
The host is saved on the first load alone: later the thread has moved its bases. test_put is to catch it.'''

[expect]
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="vcpu_load"
def vcpu_load(cpu, vcpu):
    if vcpu.guest_state_loaded:
        return
    save_gs_base(cpu, vcpu)
    vcpu.host_fs = cpu.mov_from_sreg("FS")
    vcpu.host_gs = cpu.mov_from_sreg("GS")
    vcpu.host_ldt = cpu.sldt()
    save_host_msrs(cpu, vcpu)
    vcpu.guest_state_loaded = True


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
