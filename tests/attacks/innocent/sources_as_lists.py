"""
what = "Sources as lists of lines, as Jupyter writes them."
start = "solution"
change = '''
for cell in notebook["cells"]: cell["source"] = cell["source"].splitlines(keepends=True)
'''
"""
