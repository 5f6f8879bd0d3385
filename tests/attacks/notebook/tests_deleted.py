"""
what = "Tests are taken out."
change = '''
notebook["cells"] = [c for c in notebook["cells"] if not c["metadata"].get("nbgrader", {}).get("grade")]
'''
remark = "test_triple was missing: put back"
"""
