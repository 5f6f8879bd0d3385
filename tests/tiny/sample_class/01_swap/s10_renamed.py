"""
what = "Another file name: it is known by its cells."
damage = "renamed"
remark = "it was called Untitled.ipynb"
expect.bonus_arguments = 0.5
"""
