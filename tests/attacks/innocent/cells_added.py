"""
what = "Cells of one's own between the others, before and behind."
start = "solution"
change = '''
import copy
for place in (len(notebook["cells"]), 5, 3, 1):
    notebook["cells"].insert(place, {"cell_type": "code", "id": f"mine-{place}", "metadata": {}, "source": "y = 1", "outputs": [], "execution_count": 7})
notebook["cells"].insert(0, {"cell_type": "markdown", "id": "mine", "metadata": {}, "source": "# My notes"})
'''
"""
