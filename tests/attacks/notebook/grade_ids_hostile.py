"""
what = "Grade ids that lead out of a folder."
change = '''
for cell in notebook["cells"]:
    if "nbgrader" in cell["metadata"]: cell["metadata"]["nbgrader"]["grade_id"] = "../../x"
'''
"""
