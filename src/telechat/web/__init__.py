"""The page evaluator: a generated page is opened in a real browser, operated, and graded by rules that need no model.

`telechat.web.check.check_page` is the way in. What is here knows nothing of the page's task: it finds the controls,
uses each of them, and compares what is to be seen with the same page on which it was not used.
"""
