"""
what = "Test cells pass by themselves."
change = '''
for cell in notebook["cells"]:
    if cell["metadata"].get("nbgrader", {}).get("grade"): cell["source"] = "pass"
'''
remark = "test_triple was changed: restored"
"""
