"""
what = "Test and solution have exchanged their ids."
change = '''
blocks = [c["metadata"]["nbgrader"] for c in notebook["cells"] if "nbgrader" in c["metadata"]]
blocks[0]["grade_id"], blocks[1]["grade_id"] = blocks[1]["grade_id"], blocks[0]["grade_id"]
'''
"""
