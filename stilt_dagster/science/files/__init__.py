"""Files of any kind: which format each is of, and what one from elsewhere may not make its reader do."""
