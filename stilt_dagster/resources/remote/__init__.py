"""Files of other machines: buckets, web servers, which of them are asked, and how often again."""
