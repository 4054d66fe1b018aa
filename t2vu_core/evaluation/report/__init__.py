"""The HTML report: page, sections, charts, style sheet, and the scores in words."""
