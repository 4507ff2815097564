"""What people take from finished scenes: their jacobians as one matrix, files for other programs, reports."""
