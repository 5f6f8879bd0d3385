"""
what = '''
Only the GS base is saved once for all, so it is right until the vCPU moves. test_migration is to catch
it.'''

[expect]
test_migration = 0
test_budget = 0
"""


# %% exercise="vcpu_load"
def vcpu_load(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        save_gs_base(cpu, vcpu)
        vcpu.guest_state_loaded = True
    vcpu.host_fs = cpu.mov_from_sreg("FS")
    vcpu.host_gs = cpu.mov_from_sreg("GS")
    vcpu.host_ldt = cpu.sldt()
    save_host_msrs(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
