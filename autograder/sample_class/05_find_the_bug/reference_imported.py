"""
what = "The merged path and bhyve's, imported. check.path is to refuse them."

[expect]
test_mend_3 = 0
test_mend_4 = 0
bonus_kill_6 = 2
"""

# %% exercise="mend_3"
import svmlib.paths.vmload_before_stgi

mended_3_save = svmlib.paths.vmload_before_stgi.prepare_switch_to_guest
mended_3_enter_exit = svmlib.paths.vmload_before_stgi.vcpu_enter_exit

# %% exercise="mend_4"
import svmlib.paths.bhyve

mended_4 = svmlib.paths.bhyve.vcpu_enter_exit
