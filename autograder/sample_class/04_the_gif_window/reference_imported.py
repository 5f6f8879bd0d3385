"""
what = "The reference path, imported and given as the mended ones. check.path is to refuse it."

[expect]
test_mend_a = 0
test_mend_b = 0
"""

# %% exercise="mend_a"
import svmlib.paths.legacy
import svmlib.paths.vmload_before_stgi

mended_a_save = svmlib.paths.vmload_before_stgi.prepare_switch_to_guest
mended_a_enter_exit = svmlib.paths.vmload_before_stgi.vcpu_enter_exit

# %% exercise="mend_b"
mended_b_put = svmlib.paths.legacy.prepare_host_switch
