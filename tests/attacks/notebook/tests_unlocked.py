"""
what = "Tests are solutions now, not graded."
change = '''
for cell in notebook["cells"]:
    if "nbgrader" in cell["metadata"]:
        cell["metadata"]["nbgrader"] |= {"grade": False, "locked": False, "solution": True, "points": 0}
'''
"""
