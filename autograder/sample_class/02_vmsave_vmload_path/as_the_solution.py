"""
what = "The solution, bonus and all."

[expect]
bonus_cheaper = 2
"""
