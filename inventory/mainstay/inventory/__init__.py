"""WHO is maintained: the site and its errors, hosts, groups, selectors, secrets by reference, facts and their parsers."""
