"""
what = "A solution cell was moved above the text before it."
start = "solution"
change = '''
cells = notebook["cells"]
cells.insert(2, cells.pop(4))
'''
"""
