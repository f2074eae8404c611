"""Rows: from files of any format to conversations, the same way wherever rows are read."""
