"""
what = "Right: the solution itself, with a written answer."
expect.bonus_arguments = 0.5
"""
