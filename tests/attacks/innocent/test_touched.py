"""
what = "A line was added to a test by mistake: restored, and no more."
start = "solution"
change = '''
for cell in notebook["cells"]:
    if cell["metadata"].get("nbgrader", {}).get("grade_id") == "test_window": cell["source"] += "\n# ?"
'''
remark = "test_window was changed: restored"
"""
