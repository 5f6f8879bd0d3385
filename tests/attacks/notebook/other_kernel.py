"""
what = "A kernel of one's own."
change = '''notebook["metadata"]["kernelspec"] = {"name": "bash", "display_name": "x", "language": "bash"}'''
"""
