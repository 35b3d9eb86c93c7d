"""What the clock has to remember: watermarks, carried hosts, approvals, notices."""
