"""Spreadsheets of OKRs as organisations keep them, read into plans. Bytes in, plan out, no other I/O.

`reader` is the door; `headers` knows what columns are called, `quantities`, `days` and `confidences`
know how people write numbers, dates and confidences, `delimited` and `workbook` open the two kinds of file.
"""
