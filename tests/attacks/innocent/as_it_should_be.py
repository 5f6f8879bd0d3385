"""
what = "The solution."
start = "solution"
"""
