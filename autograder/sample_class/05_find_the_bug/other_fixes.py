"""
what = '''
Each bug mended another way: the page saved every time, one address without the C-bit on both sides,
FRED_RSP0 put back at once.'''

[expect]
bonus_kill_6 = 2
"""


# %% exercise="mend_1"
def mended_1(cpu, vcpu):
    vcpu.guest_state_loaded = 0
    cpu.wrmsr(MSR.TSC_AUX, vcpu.cpu)


# %% exercise="mend_2"
def mended_2(cpu, vcpu):
    page = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    if not vcpu.guest_state_loaded:
        vcpu.guest_state_loaded = True
        cpu.vmsave(page)


# %% exercise="mend_4"
def mended_4(cpu, vcpu):
    pcpu, vmcb_pa, ldt = cpu_kernelmode_gs_base(cpu, vcpu.cpu), vcpu.vmcb_pa, cpu.sldt()
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    cpu.vmsave(vmcb_pa)
    cpu.lldt(ldt)
    cpu.wrmsr(MSR.GS_BASE, pcpu)
    cpu.store(this_cpu_read(cpu, "tss_desc") + 5, 0x89, 1)
    cpu.ltr(TSS_SELECTOR)


# %% exercise="mend_5"
def mended_5(cpu, vcpu):
    host_rsp0 = cpu.rdmsr(MSR.FRED_RSP0)
    enter_exit_5(cpu, vcpu)
    cpu.wrmsr(MSR.FRED_RSP0, host_rsp0)
