"""
what = "The solution, bonus included."

[expect]
bonus_limit = 2
"""
