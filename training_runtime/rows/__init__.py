"""Rows: from files of any format to conversations and prompts, the same way wherever rows are read."""
