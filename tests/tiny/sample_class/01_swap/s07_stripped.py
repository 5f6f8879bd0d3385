"""
what = "Right, but a tool has stripped nbgrader's metadata."
damage = "stripped"
expect.bonus_arguments = 0.5
"""
