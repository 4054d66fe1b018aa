"""The report: page, sections, style, charts and wording."""
