"""
what = "The cells stand in the opposite order."
change = '''notebook["cells"].reverse()'''
"""
