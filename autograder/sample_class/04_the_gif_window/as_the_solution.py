"""
what = "The solution, bonus and all."

[expect]
bonus_shortest = 2
"""
