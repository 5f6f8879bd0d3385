"""
what = "Tests, question and answer are deleted: the solution is graded all the same."
delete = ["test_swap", "test_words", "question_why", "why"]
expect.bonus_arguments = 0.5
remark = "test_words was missing: put back"
"""
