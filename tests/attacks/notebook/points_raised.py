"""
what = "Points are raised."
change = '''
for cell in notebook["cells"]:
    if "points" in cell["metadata"].get("nbgrader", {}): cell["metadata"]["nbgrader"]["points"] = 100
'''
"""
