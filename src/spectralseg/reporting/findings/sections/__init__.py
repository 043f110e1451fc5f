"""Sections of a page of findings: functions from its numbers to paragraphs, in Markdown."""
