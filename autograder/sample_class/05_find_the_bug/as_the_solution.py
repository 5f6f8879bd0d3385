"""
what = "The solution, bonus and all."

[expect]
bonus_kill_6 = 2
"""
