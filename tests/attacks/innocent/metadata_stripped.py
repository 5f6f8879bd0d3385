"""
what = "A tool has taken all metadata out and numbered the ids."
start = "solution"
change = '''
for n, cell in enumerate(notebook["cells"]):
    cell["metadata"] = {}; cell["id"] = str(n)
'''
"""
