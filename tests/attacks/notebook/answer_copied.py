"""
what = "The blank answer with another checksum."
change = '''
for cell in notebook["cells"]:
    if cell["metadata"].get("nbgrader", {}).get("grade_id") == "why": cell["metadata"]["nbgrader"]["checksum"] = "0"
'''
"""
