"""
what = "Saved in an older format, without ids."
start = "solution"
change = '''
notebook["nbformat_minor"] = 4
for cell in notebook["cells"]: cell.pop("id")
'''
"""
