"""
what = "The text of the exercise is edited."
start = "solution"
change = '''
for cell in notebook["cells"]:
    if cell["cell_type"] == "markdown" and "nbgrader" not in cell["metadata"]: cell["source"] += "\n\nI see."
'''
"""
