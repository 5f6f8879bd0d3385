"""
what = "Metadata of wrong types."
change = '''
for cell in notebook["cells"]:
    cell["metadata"] = {"nbgrader": [1, 2], "tags": {"a": None}}
'''
"""
